"""How long each step of the last `up` took, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bootstrap.console.views.times import format_duration

Document = dict[str, Any]


def describe_timeline(record: Mapping[str, Any]) -> list[Document]:
    """A bar per step: "name", "start" and "width" (percent of the whole), "length" ("6m12s"), "changed".

    record: of `commands.up.last_up`; [] for an empty one.
    """
    steps = [each for each in record.get("steps") or () if isinstance(each, Mapping)]
    whole = max((float(each["start"]) + float(each["seconds"]) for each in steps), default=0.0) or 1.0
    return [_describe_bar(step, whole) for step in steps]


def _describe_bar(step: Mapping[str, Any], whole: float) -> Document:
    start, seconds = float(step["start"]), float(step["seconds"])
    return {
        "name": str(step["name"]),
        "start": round(100 * start / whole, 2),
        "width": max(0.4, round(100 * seconds / whole, 2)),
        "length": format_duration(seconds) if seconds >= 1 else f"{seconds:.1f} s",
        "changed": bool(step.get("changed")),
    }
