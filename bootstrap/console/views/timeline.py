"""How long each step of the last `up` took, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.console.views.times import length

Document = dict[str, Any]


def timeline(record: Mapping[str, Any]) -> list[Document]:
    """Bars of the steps: "name", "start" and "width" in percent of the whole, "length", "changed"."""
    steps = [each for each in record.get("steps") or () if isinstance(each, Mapping)]
    whole = max((float(each["start"]) + float(each["seconds"]) for each in steps), default=0.0) or 1.0
    return [
        {
            "name": str(each["name"]),
            "start": round(100 * float(each["start"]) / whole, 2),
            "width": max(0.4, round(100 * float(each["seconds"]) / whole, 2)),
            "length": length(float(each["seconds"]))
            if float(each["seconds"]) >= 1
            else f"{float(each['seconds']):.1f} s",
            "changed": bool(each.get("changed")),
        }
        for each in steps
    ]
