"""Which heads of an application's branches have no run yet: polled ones, and those whose event was lost. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bootstrap.incluster.applications import Application, Environment
from bootstrap.incluster.branch_patterns import build_branch_regex
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
        environment = find_environment(application, branch)
        if environment is None or known.get(branch) == commit or quiet.get(branch) == commit:
            continue
        if not _has_run(application, environment, branch, commit, runs):
            found.append(Arrival(environment, branch, commit))
    return found


def find_environment(application: Application, branch: str) -> Environment | None:
    """The environment that pushes to a branch go to."""
    for each in application.environments:
        if each.branches and re.fullmatch(build_branch_regex(each.branches), branch):
            return each
    return None


def _has_run(
    application: Application, environment: Environment, branch: str, commit: str, runs: Sequence[QueuedRun]
) -> bool:
    """Whether the newest run of that branch is of that commit: an older one of it does not count, for it was undone.

    Nor does one that was promoted or gone back to: the branch was not set back with it.
    """
    place = (application.name, environment.name)
    of_branch = [each for each in runs if each.place == place and each.branch == branch and each.builds]
    newest = max(of_branch, key=lambda each: (each.created, each.version), default=None)
    return newest is not None and newest.commit == commit
