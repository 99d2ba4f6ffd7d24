"""The applications of an environment: what is declared, what its newest run is at, and what serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bootstrap.core.model import Object
from bootstrap.incluster.applications import ApplicationFault, read_application
from bootstrap.objects.readiness import at, condition
from bootstrap.objects.run_status import Run, RunState

Document = dict[str, Any]
ICONS = {
    "new": "fiber_new",
    "queued": "schedule",
    "building": "sync",
    "deploying": "publish",
    "ready": "check_circle",
    "failed": "error",
    "refused": "block",
}
"""Icon of each state, in the font that NiceGUI brings along. A state must not differ by its colour alone."""
Deployed = tuple[str, str, str]
"""Application, environment and commit."""
UNSEEN = "the manager has not looked at it yet"


def list_applications(objects: Iterable[Object], runs: Sequence[Run]) -> list[Document]:
    """A row per application and environment, by the application's name: "app", "environment", "namespace", "state" (of
    ICONS), "icon", "why" (of one that failed or was refused, or that waits for something else than a run), "place" (in
    the queue, 0 for none), "run" (the newest, "" for none), "commit", "branch" and "since" (of what serves, "" for
    nothing), "repository" ("" for one on the environment's own git server).

    runs: newest first; the branch of what serves is that of the run that deployed it.
    """
    deployed = {
        (run.application, run.environment, run.commit): run.branch
        for run in reversed(runs)
        if run.application and run.state is RunState.SUCCEEDED
    }
    ordered = sorted(objects, key=lambda each: str(each["metadata"]["name"]))
    return [row for each in ordered for row in _list_environments(each, deployed)]


def _list_environments(obj: Object, deployed: Mapping[Deployed, str]) -> list[Document]:
    name, ready = str(obj["metadata"]["name"]), condition(obj, "Ready")
    told = {str(each.get("name")): each for each in at(obj, "status", "environments") or ()}
    refused, why = ready.get("reason") == "Refused", str(ready.get("message") or UNSEEN)
    if ready.get("status") == "True":
        refused, why = False, ""
    try:
        application = read_application(obj, "")
    except ApplicationFault as error:  # the API server took it by an older schema
        application, refused, why = read_application({**obj, "spec": {}}, ""), True, str(error)
    rows = []
    for each in application.environments:
        now = told.get(each.name) or {}
        commit = str(now.get("commit") or "")
        state = "refused" if refused else str(now.get("state") or "new")
        failure = str(now.get("why") or "") if state == "failed" else ""
        rows.append(
            {
                "app": name,
                "environment": each.name,
                "namespace": each.namespace,
                "state": state if state in ICONS else "new",
                "icon": ICONS.get(state, ICONS["new"]),
                "why": "; ".join(filter(None, (why, failure))),
                "place": int(now.get("waits") or 0) if state == "queued" else 0,
                "run": str(now.get("run") or ""),
                "commit": commit,
                "branch": deployed.get((name, each.name, commit)) or _read_branch(obj, commit),
                "since": str(now.get("since") or "") if commit else "",
                "repository": "" if application.is_hosted else application.url,
            }
        )
    return rows


def _read_branch(obj: Object, commit: str) -> str:
    """The branch that the status tells, if it is of this commit; for runs that were deleted."""
    status = at(obj, "status") or {}
    return str(status.get("branch") or "") if commit and commit[:7] == status.get("commit") else ""
