"""Commands on runs: start one and follow it, list them, read their logs, run again, cancel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bootstrap.commands import follow_run
from bootstrap.commands.application_login import require_login
from bootstrap.commands.find_application import choose_environment, find_application, find_settled
from bootstrap.core import constants, terminal_layout
from bootstrap.core.errors import (
    BootstrapError,
    Interrupted,
    NotFound,
    PreconditionError,
    RunFailed,
    TimedOut,
    UsageError,
)
from bootstrap.core.model import Object, Ready
from bootstrap.core.text import suggest_word
from bootstrap.incluster.applications import DEFAULT_BRANCH, Application, ApplicationFault
from bootstrap.incluster.repository_address import is_ssh
from bootstrap.incluster.run_names import APPLICATION, COMMIT, ENVIRONMENT, make_triggered_run_name, to_label_value
from bootstrap.objects import run_spec
from bootstrap.objects.run_status import PIPELINE_RUN, WAYS, Run, RunState, make_row, parse_runs
from bootstrap.steps.deploy_target import TargetStep
from bootstrap.world import World

COLUMNS = ["run", "commit", "branch", "by", "state", "sec", "image"]
KEYS = {"sec": "seconds"}
WIDTH, NARROWEST = 80, 8
"""Of the table, and of a branch in it."""
ARRIVED = {"push": "started by your push", "poll": "started by the poller"}
"""How a run may have come by itself, and how that is told."""
CANCEL = {"spec": {"status": "CancelledRunFinally"}}


def test_run(world: World, *, app: str = "", env: str = "", revision: str = "", minutes: int = 0) -> int:
    """0: it serves. 1: it failed, or was superseded. 124: it took too long. 130: interrupted (the run goes on).

    app: an application, "" for the demo. env: one of its environments, "" for the first. A run of that commit that a
    push, say, has started and that is not over yet is followed in place of a new one.
    """
    if app:
        return _test_application(world, find_settled(world, app), env, revision, minutes)
    wanted = revision or world.config.git.revision
    commit = follow_run.resolve_commit(world, wanted)
    arrived = _find_triggered(world, commit)
    if arrived is None:
        return start_run(world, wanted, commit, minutes)
    _renew_target(world)
    begun = world.clock.now() - follow_run.get_seconds(arrived)
    return follow_to_end(world, arrived.name, commit, ARRIVED[arrived.trigger], minutes, begun)


def _test_application(world: World, application: Application, env: str, revision: str, minutes: int) -> int:
    environment = choose_environment(application, env, "--env")
    if application.login:
        require_login(world, application)
    wanted = revision or next((each for each in environment.branches if "*" not in each), DEFAULT_BRANCH)
    commit = follow_run.resolve_commit(world, wanted, application)
    if not commit:
        message = f"{application.url} has no branch {wanted}, or does not answer"
        raise PreconditionError(message, hint=_suggest_revision(application))
    begun = world.clock.now()
    labels = f"{APPLICATION}={application.name},{ENVIRONMENT}={environment.name},{COMMIT}={to_label_value(commit)}"
    arrived = [each for each in list_runs(world, labels=labels) if each.trigger in ARRIVED and not each.state.is_over]
    if arrived:
        begun -= follow_run.get_seconds(arrived[0])
        return follow_to_end(world, arrived[0].name, commit, ARRIVED[arrived[0].trigger], minutes, begun)
    run = follow_run.compose_application_run(world, application, environment.name, wanted, commit)
    name = str(world.kube.create(run)["metadata"]["name"])
    return follow_to_end(world, name, commit, f"{application.name} to {environment.namespace}", minutes, begun)


def _suggest_revision(application: Application) -> str:
    if application.is_hosted:
        return f"invoke clone --app {application.name}, and push"
    if is_ssh(application.url):
        return f"git ls-remote {application.url} has to work with your own ssh; or --revision COMMIT, in full"
    return "invoke test-run --revision"


def rerun(world: World, *, run: str = "", app: str = "") -> int:
    """Run the repository and commit of an earlier run again; answers the exit code."""
    begun = world.clock.now()
    earlier = _find_run(world, run, app)
    return follow_to_end(world, create_again(world, earlier), earlier.commit, _get_revision(earlier), 0, begun)


def _find_run(world: World, name: str, app: str) -> Run:
    """The run of that name; without one the newest, of an application if one is named.

    Raises NotFound, PreconditionError; UsageError if both are given.
    """
    if name and app:
        raise UsageError(
            "--run and --app: a run is of one application; give one of them", hint=f"invoke runs --app {app}"
        )
    if app:
        find_application(world, app)
    return follow_run.read_run(world, name or follow_run.find_newest(world, app))


def create_again(world: World, earlier: Run) -> str:
    """Create a run of the same application, repository and commit; answers its name."""
    if earlier.application:
        application = find_application(world, earlier.application)
        try:
            run = _compose_again(world, application, earlier)
        except ApplicationFault as error:
            raise PreconditionError(str(error), hint=f"invoke app-show {application.name}") from None
        return str(world.kube.create(run)["metadata"]["name"])
    return create_run(world, _get_revision(earlier), earlier.commit, {"REPO": earlier.params.get("REPO", "")})


def _compose_again(world: World, application: Application, earlier: Run) -> Object:
    """What an application's run did: build its commit, or deploy its image. Raises ApplicationFault."""
    if earlier.builds:
        return follow_run.compose_application_run(
            world, application, earlier.environment, _get_revision(earlier), earlier.commit
        )
    return follow_run.compose_image_run(
        world,
        application,
        earlier.environment,
        image=earlier.image,
        commit=earlier.commit,
        branch=earlier.branch,
        source=earlier.source,
    )


def _get_revision(run: Run) -> str:
    return run.branch or run.params.get("REVISION", "")


def start_run(world: World, revision: str, commit: str, minutes: int) -> int:
    """Create a run, follow it, prove it; answers the exit code."""
    begun = world.clock.now()
    return follow_to_end(world, create_run(world, revision, commit, {}), commit, revision, minutes, begun)


def create_run(world: World, revision: str, commit: str, params: Mapping[str, str]) -> str:
    """Create a run; answers its name. params: values that replace those of the settings, or are added; "" is none."""
    _renew_target(world)
    wanted = follow_run.compose_run(world, revision, commit, repository=params.get("REPO", ""))
    for each in wanted["spec"]["params"]:
        if each["name"] not in ("REPO", "REVISION") and params.get(each["name"]):
            each["value"] = params[each["name"]]
    there = {each["name"] for each in wanted["spec"]["params"]}
    wanted["spec"]["params"] += [
        {"name": name, "value": value} for name, value in params.items() if value and name not in there
    ]
    return str(world.kube.create(wanted)["metadata"]["name"])


def _find_triggered(world: World, commit: str) -> Run | None:
    """The run of the commit that a push or poll started, while it is not over; None if there is none."""
    if not commit:
        return None
    try:
        repository, names = run_spec.get_repository(world.config), run_spec.list_bare_names(world.config)
        run = follow_run.read_run(world, make_triggered_run_name(repository, commit, names))
    except NotFound:
        return None
    return run if run.trigger in ARRIVED and not run.state.is_over else None


def follow_to_end(world: World, name: str, commit: str, about: str, minutes: int, begun: float) -> int:
    """Follow a run to its end, and prove what it deployed; answers the exit code.

    about: the end of the first line. begun: the start, by our clock. Raises RunFailed and TimedOut.
    """
    shown = f" · commit {commit[:7]}" if commit else ""
    world.report.line(f"run {name}{shown} · {about}")
    limit = (minutes or world.config.pipeline.timeout_minutes) * 60
    goes_on = f"it goes on: invoke logs --run {name} · invoke cancel --run {name}"
    try:
        run = follow_run.Follower(world, name).wait_until_over(limit)
    except TimedOut as error:
        raise TimedOut(error.message, evidence=error.evidence, hint=goes_on) from None
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(f"run {name} is no longer followed", hint=goes_on) from None
    if run.state is not RunState.SUCCEEDED:
        raise _make_failure(world, run)
    follow_run.prove_deployment(world, run)
    place = follow_run.find_place(world, run)
    proof = f"{place.namespace}/{place.deployment} runs" if run.application else "/version answers"
    world.report.line(f"succeeded in {world.clock.now() - begun:.0f} s · {proof} {run.commit[:7]}")
    return 0


def _renew_target(world: World) -> None:
    """The pipeline's kubeconfig is short-lived; a run must not start with one that is about to end."""
    step = TargetStep()
    if not isinstance(step.check(world), Ready):
        step.apply(world)


def _make_failure(world: World, run: Run) -> BootstrapError:
    if run.state is RunState.SUPERSEDED:
        return follow_run.make_superseded(run)
    task = run.failed_task
    evidence = follow_run.read_tail(world, task) if task else ""
    serving = "" if run.application else _report_serving(world)
    message = f"failed in {follow_run.get_seconds(run):.0f} s: {run.why or run.state.value}" + (
        f". {serving}" if serving else ""
    )
    kind = TimedOut if run.state is RunState.TIMED_OUT else RunFailed
    return kind(message, evidence=evidence, hint=f"invoke logs --run {run.name} · invoke rerun --run {run.name}")


def _report_serving(world: World) -> str:
    """What still serves, for the last line of a failure."""
    try:
        return f"{world.config.pipeline.deployment} still serves {follow_run.read_served_commit(world)[:7]}"
    except (BootstrapError, ValueError):
        return ""


def list_runs(world: World, *, labels: str = "") -> list[Run]:
    """The runs of the environment, newest first. labels: a selector, "" for all."""
    pipeline_runs = world.kube.list(follow_run.API, "PipelineRun", constants.RUNS, labels=labels)
    of_these = ",".join(filter(None, (PIPELINE_RUN, labels)))  # Tekton hands the labels of a run on to its TaskRuns
    return parse_runs(pipeline_runs, world.kube.list(follow_run.API, "TaskRun", constants.RUNS, labels=of_these))


def runs(
    world: World,
    *,
    limit: int = 20,
    app: str = "",
    state: str = "",
    branch: str = "",
    by: str = "",
    as_json: bool = False,
) -> int:
    """The newest `limit` of those that all filters let pass. Raises UsageError for a filter that can match nothing."""
    wanted = [_match_word("--state", state, [each.value for each in RunState]), branch, _match_word("--by", by, WAYS)]
    labels = f"{APPLICATION}={find_application(world, app).name}" if app else ""
    known = list_runs(world, labels=labels)
    found = [run for run in known if _matches(wanted, [run.state.value, run.branch, run.trigger])][:limit]
    now = datetime.now(UTC)
    if as_json:
        world.report.json([make_row(run, now) for run in found])
        return 0
    if not found:
        world.report.line("no such run.  next: invoke runs" if any(wanted) else "no run yet.  next: invoke test-run")
        return 0
    columns, *rows = table([make_row(run, now) for run in found])
    world.report.table(columns, rows)
    return 0


def _match_word(flag: str, word: str, words: Sequence[str]) -> str:
    """The one of `words` that is meant, whatever the case of its letters; "" for "". Raises UsageError."""
    found = next((each for each in words if each.lower() == word.lower()), "")
    if word and not found:
        raise UsageError(
            f"{flag}: {word} is none of {', '.join(words).lower()}{suggest_word(word, words)}", hint="invoke runs"
        )
    return found


def _matches(wanted: Sequence[str], values: Sequence[str]) -> bool:
    return all(not each or each == value for each, value in zip(wanted, values, strict=True))


def table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Header and rows for 80 columns. A run's name stays whole: it is what one types next.

    Branches are shortened to what is left; the images go first where names are so long that nothing is.
    """
    lines = [COLUMNS, *([_format_cell(row, column) for column in COLUMNS] for row in rows)]
    branch = COLUMNS.index("branch")
    for count in (len(COLUMNS), len(COLUMNS) - 1):
        lines = [line[:count] for line in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        room = WIDTH - (sum(widths) + 2 * (count - 1) - widths[branch])
        if room >= NARROWEST:
            break
    return [
        [*line[:branch], terminal_layout.shorten(line[branch], max(room, NARROWEST)), *line[branch + 1 :]]
        for line in lines
    ]


def _format_cell(row: Mapping[str, Any], column: str) -> str:
    if column == "image":
        return str(row["image"]).rpartition("@")[2].removeprefix("sha256:")[:12]
    return str(row["commit"])[:7] if column == "commit" else str(row[KEYS.get(column, column)])


def logs(world: World, *, run: str = "", app: str = "") -> int:
    """Print the logs of a run, the newest by default, or the newest of an application."""
    found = _find_run(world, run, app)
    follow_run.read_logs(world, found, lambda task, line: world.report.line(f"[{task}] {line}"))
    return 0


def request_cancel(world: World, run: str) -> None:
    """Tekton cancels its tasks; those of `finally` still run."""
    world.kube.patch(follow_run.API, "PipelineRun", run, constants.RUNS, patch=CANCEL)


def cancel(world: World, *, run: str = "", app: str = "") -> int:
    """Cancel a run; its notification is still sent."""
    found = _find_run(world, run, app)
    if found.state.is_over:
        world.report.line(f"run {found.name} is over already: {found.state.value}")
        return 0
    request_cancel(world, found.name)
    world.report.line(f"run {found.name} is being cancelled; its notification is still sent")
    return 0
