"""What the nodes have of CPU and memory, and what is used of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

Document = dict[str, Any]
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?\d+)?)(m|[kMGT]i?|Ki)?")


def quantity(text: object) -> float:
    """Of a Kubernetes quantity: cores or bytes; 0 for what is none."""
    match = _QUANTITY.fullmatch(str(text or "0"))
    if not match:
        return 0.0
    return float(match[1]) * (0.001 if match[2] == "m" else _UNITS[match[2] or ""])


def resources(
    nodes: Iterable[Object], pods: Iterable[Object], stats: Mapping[str, Mapping[str, Any]]
) -> list[Document]:
    """Per node: "name" and, for "cpu" (cores) and "memory" (bytes), {"all", "requests", "limits", "used"}.

    stats: what each node's kubelet summarises, {} where it does not; used is then None.
    """
    running_pods = [each for each in pods if at(each, "status", "phase") not in ("Succeeded", "Failed")]
    rows = []
    for node in nodes:
        name = str(at(node, "metadata", "name"))
        own = [each for each in running_pods if at(each, "spec", "nodeName") == name]
        summary = stats.get(name) or {}
        used = {
            "cpu": at(summary, "node", "cpu", "usageNanoCores"),
            "memory": at(summary, "node", "memory", "workingSetBytes"),
        }
        row: Document = {"name": name, "pods": len(own)}
        for kind, per in (("cpu", 1e9), ("memory", 1)):
            row[kind] = {
                "all": quantity(at(node, "status", "allocatable", kind)),
                "requests": _asked(own, "requests", kind),
                "limits": _asked(own, "limits", kind),
                "used": None if used[kind] is None else float(used[kind]) / per,
            }
        rows.append(row)
    return sorted(rows, key=lambda row: str(row["name"]))


def _asked(pods: Iterable[Object], which: str, kind: str) -> float:
    containers = (each for pod in pods for each in at(pod, "spec", "containers") or ())
    return sum(quantity(at(each, "resources", which, kind)) for each in containers)


def cores(number: float | None) -> str:
    return "?" if number is None else f"{number:.2f}".rstrip("0").rstrip(".")


def size(number: float | None) -> str:
    """ "1.2 GiB", "340 MiB"."""
    if number is None:
        return "?"
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
