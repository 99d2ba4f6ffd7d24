"""Which runs a cleanup deletes, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.run_names import APPLICATION, ENVIRONMENT, SUPERSEDED, SUPERSEDED_BY

PIPELINE, TASK = "tekton.dev/pipeline", "tekton.dev/task"
ENDED_BY_REQUEST = ("Cancelled", "Stopped")
"""How the reasons of runs begin that Tekton was asked to end."""
METADATA = (
    "name",
    "uid",
    "resourceVersion",
    "labels",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
)


def find_expired(runs: Iterable[Object], keep: int, excluded: Collection[str], limit: str) -> list[Object]:
    """The runs to delete, the oldest first. runs: PipelineRuns, or TaskRuns without one; see `trim_run`.

    Deleted is what is over, is older than the limit, and is not among the `keep` newest of its pipeline, application,
    environment and result (succeeded, superseded, or neither). So nothing younger than the limit goes, however much
    there is of it, and the newest stay, however old they are. A run that is not over stays, and so do those whose uid
    is excluded, that another object owns, or that are being deleted already; none of these counts among the newest.
    limit: the moment before which runs are old, RFC 3339 in UTC with whole seconds, as the API writes times: such
    texts can be compared as they are.
    """
    groups: dict[tuple[str, ...], list[Object]] = {}
    for run in runs:
        result = read_outcome(run)
        if result and run["metadata"]["uid"] not in excluded and not _is_left_alone(run):
            groups.setdefault((*_read_owner(run), result), []).append(run)
    found: list[Object] = []
    for group in groups.values():
        newest_first = sorted(group, key=read_finish_time, reverse=True)
        found += [run for run in newest_first[keep:] if read_finish_time(run) < limit]
    return sorted(found, key=read_finish_time)


def trim_run(run: Object) -> Object:
    """The fields of a run that `find_expired` and its deletion need: thousands are held in memory at once."""
    metadata, status, superseder = run["metadata"], run.get("status") or {}, _read_superseder(run)
    kept = {"annotations": {SUPERSEDED_BY: superseder}} if superseder else {}
    return {
        "metadata": {key: metadata[key] for key in METADATA if key in metadata} | kept,
        "status": {key: status[key] for key in ("conditions", "completionTime") if key in status},
    }


def _read_owner(run: Object) -> tuple[str, ...]:
    """(pipeline, application, environment): a service that is pushed rarely keeps its runs beside busy ones."""
    labels = run["metadata"].get("labels") or {}
    return _read_pipeline(run), labels.get(APPLICATION, ""), labels.get(ENVIRONMENT, "")


def _read_pipeline(run: Object) -> str:
    """The pipeline's name by Tekton's label, "" for none. The label of a run with an embedded pipeline is its own name,
    which groups nothing."""
    labels = run["metadata"].get("labels") or {}
    named = str(labels.get(PIPELINE) or labels.get(TASK) or "")
    return "" if named == run["metadata"]["name"] else named


def _is_left_alone(run: Object) -> bool:
    """Whether something else deletes it: it is being deleted already, or an object with a controller owns it."""
    owners = run["metadata"].get("ownerReferences") or ()
    return bool(run["metadata"].get("deletionTimestamp")) or any(each.get("controller") for each in owners)


def read_outcome(run: Object) -> str:
    """ "succeeded", "superseded" or "failed"; "" while it is not over.

    A run whose deploy task found out that it was superseded counts as failed: only its TaskRun says so, and that is not
    read here.
    """
    conditions = (run.get("status") or {}).get("conditions") or ()
    done: Object = next((each for each in conditions if each.get("type") == "Succeeded"), {})
    outcome = {"True": "succeeded", "False": "failed"}.get(str(done.get("status")), "")
    cancelled = outcome == "failed" and str(done.get("reason", "")).startswith(ENDED_BY_REQUEST)
    return SUPERSEDED if cancelled and _read_superseder(run) else outcome


def _read_superseder(run: Object) -> str:
    return str((run["metadata"].get("annotations") or {}).get(SUPERSEDED_BY, ""))


def read_finish_time(run: Object) -> str:
    """When the run ended, RFC 3339; when it was created if it never started."""
    return str((run.get("status") or {}).get("completionTime") or run["metadata"]["creationTimestamp"])
