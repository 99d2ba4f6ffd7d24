"""`invoke deployments`: what was deployed where, when, by whom and how, and what became of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bootstrap.commands import runs
from bootstrap.commands.find_application import find_application, list_applications
from bootstrap.core import terminal_layout
from bootstrap.core.errors import UsageError
from bootstrap.core.model import Object
from bootstrap.core.text import format_age
from bootstrap.incluster.applications import Application
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.objects.deployment_history import Deployed, list_deployed, sort_newest_first
from bootstrap.world import World

COLUMNS = ["when", "app", "env", "commit", "by", "how", "what became of it"]
WIDTH, AGO = 80, " ago"
NARROWEST = (("by", 8), ("how", 12), ("by", 6), ("env", 8), ("app", 8))
"""How far columns are shortened, in this order, until the table fits."""
FEW = 4
"""How many Deployments are read one by one."""


def deployments(world: World, *, app: str = "", limit: int = 20, as_json: bool = False) -> int:
    """The newest `limit` of an application, or of all."""
    objects = list_applications(world)
    applications = [find_application(world, app, objects)] if app else _list_readable(world, objects)
    known = runs.list_runs(world, labels=f"{APPLICATION}={app}" if app else APPLICATION)
    there = _read_deployments(world, applications)
    found: list[Deployed] = []
    for application in applications:
        own = [run for run in known if run.application == application.name]
        live = {each.name: there.get((each.namespace, each.deployment)) for each in application.environments}
        found += list_deployed(application, live, own)
    found = sort_newest_first(found)[:limit]
    if as_json:
        world.report.json([each.to_row() for each in found])
        return 0
    if not found:
        hint = f"invoke test-run --app {applications[0].name}" if applications else "invoke app-add NAME-OR-URL"
        world.report.line(f"nothing was deployed yet.  next: {hint}")
        return 0
    columns, *rows = make_table(found, datetime.now(UTC), with_app=not app)
    world.report.table(columns, rows)
    return 0


def _list_readable(world: World, objects: Sequence[Object]) -> list[Application]:
    """All but those that are at fault: they hide no other, and invoke app-list tells of them."""
    found = []
    for each in objects:
        with contextlib.suppress(UsageError):
            found.append(find_application(world, str(each["metadata"]["name"]), objects))
    return found


def _read_deployments(world: World, applications: Sequence[Application]) -> dict[tuple[str, str], Object]:
    """(namespace, name) -> Deployment. Many are read at once: each request of its own would take its time."""
    places = [(each.namespace, each.deployment) for one in applications for each in one.environments]
    if len(places) > FEW:
        live = world.kube.list("apps/v1", "Deployment")
    else:
        found = (world.kube.get("apps/v1", "Deployment", name, namespace) for namespace, name in places)
        live = [each for each in found if each]
    return {(str(each["metadata"]["namespace"]), str(each["metadata"]["name"])): each for each in live}


def make_table(found: Sequence[Deployed], now: datetime, *, with_app: bool) -> list[list[str]]:
    """Header and rows for 80 columns. What became of a deployment stays whole; `--json` has all else in full."""
    lines = [COLUMNS, *(_format(each, now) for each in found)]
    shown = [column for column in COLUMNS if with_app or column != "app"]
    cells = {column: [line[COLUMNS.index(column)] for line in lines] for column in shown}
    if _count_surplus(cells) > 0:
        cells["when"] = [text.removesuffix(AGO) for text in cells["when"]]
    for column, least in NARROWEST:
        if column in cells:
            room = max(map(len, cells[column])) - max(_count_surplus(cells), 0)
            cells[column] = [terminal_layout.shorten(text, max(room, least)) for text in cells[column]]
    return [[*line] for line in zip(*cells.values(), strict=True)]


def _count_surplus(cells: Mapping[str, Sequence[str]]) -> int:
    """By how many characters the table is too wide."""
    return sum(max(map(len, texts)) for texts in cells.values()) + 2 * (len(cells) - 1) - WIDTH


def _format(each: Deployed, now: datetime) -> list[str]:
    age = format_age(each.when, now)
    by = each.by.partition(" <")[0] or "-"
    return [f"{age}{AGO}" if age else "-", each.app, each.environment, each.commit[:7], by, each.how, each.became]
