"""What the status of an Application tells, worked out from its runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.incluster.applications import Application, Environment
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.run_queue import Phase, QueuedRun, find_newest, list_waiting

LIVE = {Phase.WAITS: "queued", Phase.BUILDS: "building", Phase.DEPLOYS: "deploying"}
WHY_LENGTH = 200


def make_status(application: Application, runs: Sequence[QueuedRun], faults: Sequence[str]) -> Object:
    """The status but for its conditions, and the generation that those are of.

    runs: of all applications, because they share one queue.
    """
    environments = [_describe(application, each, runs) for each in application.environments]
    serving = [each for each in environments if each["commit"]]
    first = serving[0] if serving else environments[0]
    unsettled = next((each for each in environments if each["state"] not in ("ready", "new")), None)
    state = "refused" if faults else (unsettled or first)["state"]
    return {
        "repository": "(own server)" if application.is_hosted else application.url,
        "state": state,
        "commit": first["commit"][:7],
        "branch": first.pop("branch"),
        "where": ", ".join(dict.fromkeys(each["namespace"] for each in environments)),
        "environments": [{key: value for key, value in each.items() if key != "branch"} for each in environments],
    }


def _describe(application: Application, environment: Environment, runs: Sequence[QueuedRun]) -> Object:
    place = (application.name, environment.name)
    newest = find_newest(runs, place)
    good = max((each for each in runs if each.place == place and each.succeeded), key=_by_arrival, default=None)
    queue = [each.name for each in list_waiting(runs)]
    return {
        "name": environment.name,
        "namespace": environment.namespace,
        "state": _name_state(newest),
        "commit": good.commit if good else "",
        "branch": good.branch if good else "",
        "run": newest.name if newest else "",
        "since": good.ended if good else "",
        "why": newest.why[:WHY_LENGTH] if newest and _name_state(newest) == "failed" else "",
        "waits": queue.index(newest.name) + 1 if newest and newest.name in queue else 0,
    }


def _by_arrival(run: QueuedRun) -> int:
    return run.arrival


def _name_state(newest: QueuedRun | None) -> str:
    if newest is None:
        return "new"
    if newest.phase is not Phase.OVER:
        return LIVE[newest.phase]
    return "ready" if newest.succeeded else "failed"


def describe_settled(application: Application) -> str:
    """What an Application has got, in one sentence."""
    places = ", ".join(f"{each.name} in {each.namespace}" for each in application.environments)
    branches = ", ".join(dict.fromkeys(branch for each in application.environments for branch in each.branches))
    starts = f"pushes to {branches} start runs" if application.webhook and branches else "runs start by hand"
    return f"{starts}; deployed to {places}"
