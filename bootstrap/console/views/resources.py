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


def parse_quantity(text: object) -> float:
    """A Kubernetes quantity ("250m", "1Gi") as a number, of cores or bytes; 0 for what is not a quantity."""
    match = _QUANTITY.fullmatch(str(text or "0"))
    if not match:
        return 0.0
    return float(match[1]) * (0.001 if match[2] == "m" else _UNITS[match[2] or ""])


def sum_resources(
    nodes: Iterable[Object], pods: Iterable[Object], stats: Mapping[str, Mapping[str, Any]]
) -> list[Document]:
    """Per node, sorted by name: "name", "pods" (how many run there) and, for "cpu" (cores) and "memory" (bytes),
    {"all", "requests", "limits", "used"}.

    "all" is what the node can allocate; requests and limits are sums over its running pods. stats: the summary of each
    node's kubelet (/stats/summary) by name, {} if it did not answer; "used" is then None.
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
                "all": parse_quantity(at(node, "status", "allocatable", kind)),
                "requests": _sum_containers(own, "requests", kind),
                "limits": _sum_containers(own, "limits", kind),
                "used": None if used[kind] is None else float(used[kind]) / per,
            }
        rows.append(row)
    return sorted(rows, key=lambda row: str(row["name"]))


def _sum_containers(pods: Iterable[Object], which: str, kind: str) -> float:
    containers = (each for pod in pods for each in at(pod, "spec", "containers") or ())
    return sum(parse_quantity(at(each, "resources", which, kind)) for each in containers)


def format_cores(number: float | None) -> str:
    """ "0.25", "2"; "?" for None."""
    return "?" if number is None else f"{number:.2f}".rstrip("0").rstrip(".")


def format_bytes(number: float | None) -> str:
    """ "1.2 GiB", "340 MiB"; "?" for None."""
    if number is None:
        return "?"
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
