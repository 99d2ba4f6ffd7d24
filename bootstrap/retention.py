"""Which runs a cleanup deletes, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

Object = dict[str, Any]
PIPELINE = "tekton.dev/pipeline"


def expired(runs: Iterable[Object], keep: int, excluded: Collection[str], limit: str) -> list[Object]:
    """The PipelineRuns to delete, the oldest first.

    Deleted is what is over, is older than the limit, and is not among the `keep` newest of its pipeline and result
    (succeeded or not). A run that is not over stays, and so does one whose uid is excluded; neither counts among the
    newest. limit: the moment before which runs are old, RFC 3339 in UTC with whole seconds, as the API writes times:
    such texts can be compared as they are.
    """
    groups: dict[tuple[str, str], list[Object]] = {}
    for run in runs:
        result = outcome(run)
        if result and run["metadata"]["uid"] not in excluded:
            pipeline = (run["metadata"].get("labels") or {}).get(PIPELINE, "")
            groups.setdefault((pipeline, result), []).append(run)
    found: list[Object] = []
    for group in groups.values():
        newest_first = sorted(group, key=finished, reverse=True)
        found += [run for run in newest_first[keep:] if finished(run) < limit]
    return sorted(found, key=finished)


def outcome(run: Object) -> str:
    """ "succeeded" or "failed"; "" while it is not over."""
    conditions = (run.get("status") or {}).get("conditions") or ()
    status = next((str(each.get("status")) for each in conditions if each.get("type") == "Succeeded"), "Unknown")
    return {"True": "succeeded", "False": "failed"}.get(status, "")


def finished(run: Object) -> str:
    """When it was over; a run that never started has no such time."""
    return str((run.get("status") or {}).get("completionTime") or run["metadata"]["creationTimestamp"])
