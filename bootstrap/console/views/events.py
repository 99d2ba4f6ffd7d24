"""Kubernetes events of a run, its tasks and its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

Document = dict[str, Any]


def list_events(objects: Iterable[Object], names: Mapping[str, str]) -> list[Document]:
    """Events about objects of these names, warnings first, then newest last: "when", "type" (Normal or Warning),
    "about" (task and kind), "reason", "message" (one line), "count".

    objects: Event objects of the core API, in any order. names: name of an object -> the task that it is of, "" for the
    run itself.
    """
    rows = [
        {
            "when": _read_time(event),
            "type": str(event.get("type") or ""),
            "about": " · ".join(filter(None, (names[name], str(at(event, "involvedObject", "kind") or "")))),
            "reason": str(event.get("reason") or ""),
            "message": " ".join(str(event.get("message") or "").split()),
            "count": int(at(event, "series", "count") or event.get("count") or 1),
        }
        for event in objects
        if (name := str(at(event, "involvedObject", "name") or "")) in names
    ]
    return sorted(rows, key=lambda row: (row["type"] != "Warning", str(row["when"])))


def _read_time(event: Object) -> str:
    keys = (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("metadata", "creationTimestamp"))
    return next((str(found) for path in keys if (found := at(event, *path))), "")
