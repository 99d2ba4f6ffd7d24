"""Kubernetes events of a run, its tasks and its pods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

Document = dict[str, Any]


def list_events(objects: Iterable[Object], names: Iterable[str]) -> list[Document]:
    """Events about objects of these names, newest last: "when", "type" (Normal or Warning), "about" (kind and name),
    "reason", "message" (one line), "count".

    objects: Event objects of the core API, in any order.
    """
    wanted = {*names}
    rows = [
        {
            "when": _read_time(event),
            "type": str(event.get("type") or ""),
            "about": f"{at(event, 'involvedObject', 'kind')} {at(event, 'involvedObject', 'name')}",
            "reason": str(event.get("reason") or ""),
            "message": " ".join(str(event.get("message") or "").split()),
            "count": int(at(event, "series", "count") or event.get("count") or 1),
        }
        for event in objects
        if at(event, "involvedObject", "name") in wanted
    ]
    return sorted(rows, key=lambda row: str(row["when"]))


def _read_time(event: Object) -> str:
    keys = (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("metadata", "creationTimestamp"))
    return next((str(found) for path in keys if (found := at(event, *path))), "")
