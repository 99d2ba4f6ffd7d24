"""What Kubernetes noted of a run, its tasks and its pods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bootstrap.core.model import Object
from bootstrap.objects.readiness import at

Document = dict[str, Any]


def events(found: Iterable[Object], names: Iterable[str]) -> list[Document]:
    """Those of the objects of these names, the newest last: "when", "type", "about", "reason", "message", "count"."""
    wanted = {*names}
    rows = [
        {
            "when": _event_time(each),
            "type": str(each.get("type") or ""),
            "about": f"{at(each, 'involvedObject', 'kind')} {at(each, 'involvedObject', 'name')}",
            "reason": str(each.get("reason") or ""),
            "message": " ".join(str(each.get("message") or "").split()),
            "count": int(at(each, "series", "count") or each.get("count") or 1),
        }
        for each in found
        if at(each, "involvedObject", "name") in wanted
    ]
    return sorted(rows, key=lambda row: str(row["when"]))


def _event_time(event: Object) -> str:
    keys = (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("metadata", "creationTimestamp"))
    return next((str(found) for path in keys if (found := at(event, *path))), "")
