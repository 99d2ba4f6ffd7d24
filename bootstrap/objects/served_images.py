"""Which images of an application have served where, as its runs and its Deployments tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bootstrap.core.model import Object
from bootstrap.incluster import rollout
from bootstrap.objects.run_status import Run, RunState


@dataclass(frozen=True)
class ServedImage:
    """An image that became ready in an environment.

    image: HOST/PATH@DIGEST. commit: that it was built from, in full. branch: "" if that is not known.
    """

    image: str
    commit: str
    branch: str
    environment: str


def list_succeeded(runs: Iterable[Run], environments: Sequence[str]) -> list[ServedImage]:
    """What the runs to these environments brought to serve, newest first, each once.

    runs: newest first.
    """
    found = [
        ServedImage(run.image, run.commit, run.branch, run.environment)
        for run in runs
        if run.environment in environments and run.state is RunState.SUCCEEDED and "@" in run.image and run.commit
    ]
    return _drop_repeated(found)


def list_earlier(deployment: Object, container: str, runs: Sequence[Run], environment: str) -> list[ServedImage]:
    """What an environment can go back to: other images than the present one, the one that served last first.

    The Deployment's own record comes first, for it also tells what was set by other means than runs; images whose
    rollout failed are not in it. Of what it no longer tells, the runs do. runs: newest first.
    """
    present = rollout.image_of(deployment, container)
    own = [run for run in runs if run.environment == environment]
    found = [*_list_recorded(deployment, own, environment), *list_succeeded(own, [environment])]
    return [each for each in _drop_repeated(found) if each.image != present]


def _list_recorded(deployment: Object, runs: Sequence[Run], environment: str) -> Iterator[ServedImage]:
    built = {run.image: run for run in reversed(runs) if run.image}
    good = {run.image for run in runs if run.state is RunState.SUCCEEDED}
    later = ""
    for record in rollout.read_history(deployment):
        image, run = record["image"], built.get(record["image"])
        undone, later = later == rollout.UNDO, record["how"]
        commit = record["commit"] or (run.commit if run else "")
        if undone or not commit or "@" not in image or (run and image not in good):
            continue
        yield ServedImage(image, commit, run.branch if run else "", environment)


def _drop_repeated(found: Iterable[ServedImage]) -> list[ServedImage]:
    seen: dict[tuple[str, str, str], ServedImage] = {}
    for each in found:  # two commits may have one image: what differs between them is not in it
        seen.setdefault((each.environment, each.image, each.commit), each)
    return list(seen.values())


def find_commit(served: Iterable[ServedImage], commit: str) -> list[ServedImage]:
    """Those of the commits that begin so, newest first; of each commit the newest image only."""
    found: dict[str, ServedImage] = {}
    for each in served:
        if each.commit.startswith(commit):
            found.setdefault(each.commit, each)
    return list(found.values())
