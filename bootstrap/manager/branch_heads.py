"""Which heads of an application's branches have no run yet: polled ones, and those whose event was lost. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bootstrap.incluster.applications import Application, Environment
from bootstrap.incluster.run_queue import QueuedRun

RECONCILE_SECONDS = 300
"""How often an application whose pushes are announced is looked at all the same."""


@dataclass(frozen=True)
class Arrival:
    """A head that starts a run."""

    environment: Environment
    branch: str
    commit: str


def find_interval(application: Application) -> int:
    """Seconds between two looks at its repository, 0 if nothing is to be found there."""
    if not list_patterns(application):
        return 0
    if application.poll:
        return application.poll
    return RECONCILE_SECONDS if application.webhook else 0


def list_patterns(application: Application) -> list[str]:
    """The branches that go to some environment, names and patterns."""
    return [*dict.fromkeys(branch for each in application.environments for branch in each.branches)]


def find_arrivals(
    application: Application,
    heads: Mapping[str, str],
    known: Mapping[str, str] | None,
    quiet: Mapping[str, str],
    runs: Sequence[QueuedRun],
) -> list[Arrival]:
    """Heads that are new and have no run.

    heads: branch -> commit, as the repository has them now. known: as of the last look, None at the first: then nothing
    is new. quiet: branch -> commit that was pushed so that it starts nothing.
    """
    if known is None:
        return []
    found = []
    for branch, commit in sorted(heads.items()):
        environment = application.find_environment(branch)
        if environment is None or known.get(branch) == commit or quiet.get(branch) == commit:
            continue
        arrival = Arrival(environment, branch, commit)
        # Of an older run of this commit nothing is left: it was undone.
        newest = _find_newest(runs, application, arrival)
        if newest is None or newest.commit != commit:
            found.append(arrival)
    return found


def find_base(
    application: Application, arrival: Arrival, known: Mapping[str, str] | None, runs: Sequence[QueuedRun]
) -> str:
    """The commit that a new head is compared with, where only some files concern the application; "" if there is none.

    That of the newest run that the branch itself has started and that was not superseded: what a run by hand was of,
    the branch may never have been at. Without one the head of the last look: it had its run, or was passed over.
    """
    newest = _find_newest([each for each in runs if each.by != "hand" and not each.superseded], application, arrival)
    return newest.commit if newest else (known or {}).get(arrival.branch, "")


def _find_newest(runs: Iterable[QueuedRun], application: Application, arrival: Arrival) -> QueuedRun | None:
    """The newest run of that branch. One that was promoted or gone back to does not count: the branch was not set back
    with it.
    """
    place = (application.name, arrival.environment.name)
    of_branch = [each for each in runs if each.place == place and each.branch == arrival.branch and each.builds]
    return max(of_branch, key=lambda each: (each.created, each.version), default=None)
