"""What was deployed where and when, and what became of it, as runs and Deployments tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bootstrap.core.model import Object
from bootstrap.incluster import rollout
from bootstrap.incluster.applications import Application
from bootstrap.objects.run_status import Run, RunState

SERVES, REPLACED, AGAIN, GONE = "serves", "replaced", "deployed again", "gone"
"""What becomes of an image that got ready: the last, if the Deployment is no longer there."""
FAILED, SUPERSEDED = "failed", "superseded"
UNDER_WAY = {RunState.PENDING: "waits", RunState.RUNNING: "under way"}
ENDED = {RunState.CANCELLED: "cancelled", RunState.TIMED_OUT: "timed out"}


@dataclass(frozen=True)
class Deployed:
    """One image that an environment was given, or was to be given.

    when: it was given, else when the run ended or was created, as ISO 8601. by: author of the commit, or who rolled
    back; "" if that is not known. how: "run NAME", "promoted from ENVIRONMENT", "rollback" or "undone". run: "" if it
    was none, or is not known. image: "" before it was built. became: what became of it, in two or three words.
    """

    when: str
    app: str
    environment: str
    commit: str
    by: str
    how: str
    run: str
    image: str
    became: str

    def to_row(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def list_deployed(
    application: Application, deployments: Mapping[str, Object | None], runs: Sequence[Run]
) -> list[Deployed]:
    """All of an application, newest first.

    deployments: environment -> its Deployment, None if there is none. runs: of the application, newest first.
    """
    containers = {each.name: each.container for each in application.environments}
    names = [*dict.fromkeys([*containers, *(run.environment for run in runs)])]
    found: list[Deployed] = []
    for name in names:
        deployment, container = deployments.get(name), containers.get(name, "")
        own = [run for run in runs if run.environment == name]
        records = rollout.read_history(deployment) if deployment else []
        rows = [*_list_runs(own, records, runs), *_list_other_records(application.name, name, own, records, runs)]
        present = rollout.image_of(deployment, container) if deployment else ""
        found += _tell_what_became(sort_newest_first(rows), present, own, is_there=deployment is not None)
    return sort_newest_first(found)


def sort_newest_first(rows: Iterable[Deployed]) -> list[Deployed]:
    """By when they were."""
    return sorted(rows, key=lambda each: _parse_time(each.when), reverse=True)


def _parse_time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _list_runs(own: Iterable[Run], records: Sequence[Mapping[str, str]], runs: Sequence[Run]) -> Iterator[Deployed]:
    """A row for each run. The record tells best when it was: a run may have waited long before it deployed."""
    given = {each["run"]: each["when"] for each in records if each["run"]}
    for run in own:
        moment = run.finished or run.created
        yield Deployed(
            when=given.get(run.name) or (moment.isoformat() if moment else ""),
            app=run.application,
            environment=run.environment,
            commit=run.commit,
            by=run.author or _find_author(run.image, runs),
            how=_describe_run(run),
            run=run.name,
            image=run.image,
            became=_tell_end(run, runs),
        )


def _describe_run(run: Run) -> str:
    if run.builds:
        return f"run {run.name}"
    return "rollback" if run.source in ("", run.environment) else f"promoted from {run.source}"


def _tell_end(run: Run, runs: Sequence[Run]) -> str:
    """What became of a run by itself; "" of one that succeeded."""
    if run.state is RunState.SUCCEEDED:
        return ""
    if run.state is RunState.SUPERSEDED:
        later = next((each for each in runs if each.name == run.superseded_by), None)
        return f"{SUPERSEDED} by {later.commit[:7]}" if later and later.commit else SUPERSEDED
    return UNDER_WAY.get(run.state) or ENDED.get(run.state) or FAILED


def _list_other_records(
    app: str, environment: str, own: Sequence[Run], records: Sequence[Mapping[str, str]], runs: Sequence[Run]
) -> Iterator[Deployed]:
    """A row for each record of which no run tells: what was undone, set by a person, or by a run that is deleted."""
    names, images = {run.name for run in own}, {run.image for run in own}
    for record, undone in zip(records, list_undone(records), strict=True):
        how, image = record["how"], record["image"]
        told = record["run"] in names if record["run"] else image in images  # older records do not name their run
        if how == rollout.RUN and told:
            continue
        built = next((run.commit for run in runs if run.image == image and run.commit), "")
        yield Deployed(
            when=record["when"],
            app=app,
            environment=environment,
            commit=record["commit"] or built,
            by=record["by"] or ("" if how == rollout.UNDO else _find_author(image, runs)),
            how={rollout.UNDO: "undone", rollout.ROLLBACK: "rollback"}.get(how, f"run {record['run']}".strip()),
            run=record["run"],
            image=image,
            became=FAILED if undone else "",
        )


def list_undone(records: Sequence[Mapping[str, str]]) -> list[bool]:
    """For each record, newest first: whether the next one after it took it back, because its rollout failed."""
    later = ["", *(each["how"] for each in records)]
    return [how == rollout.UNDO for how in later[: len(records)]]


def _find_author(image: str, runs: Iterable[Run]) -> str:
    """Of the commit that an image was built from."""
    return next((run.author for run in runs if image and run.image == image and run.author), "")


def _tell_what_became(
    rows: Sequence[Deployed], present: str, own: Sequence[Run], *, is_there: bool
) -> Iterator[Deployed]:
    """Of each that got ready: whether it serves, or what came in its place. rows: of one environment, newest first."""
    going = {run.image for run in own if not run.state.is_over and run.image}
    later: Deployed | None = None
    for row in rows:
        if row.became:
            yield row
            continue
        if later is None:
            # While the next one rolls out, the Deployment has that one's image, and this one's pods still serve.
            serves = present == row.image or present in going
            became = SERVES if serves else REPLACED if is_there else GONE
        elif later.image == row.image:
            became = AGAIN
        else:
            became = f"{REPLACED} by {later.commit[:7]}" if later.commit else REPLACED
        later = row
        yield replace(row, became=became)
