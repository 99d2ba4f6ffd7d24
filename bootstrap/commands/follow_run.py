"""One run, from its creation to the proof that what it built serves."""

from __future__ import annotations

import json
import secrets
import string
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bootstrap.commands import clone
from bootstrap.commands.application_login import require_login
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError, NotFound, PreconditionError, RunFailed, TimedOut
from bootstrap.core.model import Failed, Object, Pending, Ready, Secret, Verdict
from bootstrap.core.text import suggest_word
from bootstrap.core.wait import until
from bootstrap.incluster import rollout
from bootstrap.incluster.applications import Application, make_image_run, make_run
from bootstrap.incluster.applications import make_run_name as make_application_run_name
from bootstrap.incluster.git_login import PASSWORD, USERNAME
from bootstrap.incluster.repository_address import find_origin, is_ssh
from bootstrap.incluster.run_names import (
    APPLICATION,
    BRANCH,
    COMMIT,
    TRIGGER,
    make_run_name,
    to_dns_label,
    to_label_value,
)
from bootstrap.objects import manifests, run_spec
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import PIPELINE_RUN, Run, RunState, TaskState, parse_run
from bootstrap.world import World, git_refs
from bootstrap.world.terminal import StepLine

if TYPE_CHECKING:
    from bootstrap.world.kube.client import Kube

API = "tekton.dev/v1"
SUFFIX = 5
SERVED_LIMIT = 60.0
LOG_LIMIT = 3.0
"""Seconds that the last lines of a log may come after the end of what wrote them."""
TAIL = 20


def resolve_commit(world: World, revision: str, application: Application | None = None) -> str:
    """The commit that `revision` names now, asked from this machine; "" if the server does not answer."""
    if len(revision) in (40, 64) and set(revision) <= set(string.hexdigits):
        return revision.lower()
    return git_refs.find_commit(_read_references(world, application), revision)


def list_branches(world: World) -> list[str]:
    """The branches of the repository that runs clone, sorted; [] if the server does not answer."""
    prefix = "refs/heads/"
    return sorted(name.removeprefix(prefix) for name in _read_references(world) if name.startswith(prefix))


def _read_references(world: World, application: Application | None = None) -> dict[str, str]:
    """The commit of each reference by its full name, {} if the server does not answer; of the demo without one."""
    settings = world.config.git
    try:
        if application and not application.is_hosted:
            return _read_elsewhere(world, application)
        if settings.url and not application:
            return git_refs.read_refs(settings.url, settings.username, settings.password)
        own = clone.find_address(world, application.repository) if application else clone.find_address(world)
        return git_refs.read_refs(own, settings.username, world.identity.ensure_git_password(settings))
    except PreconditionError:
        return {}


def _read_elsewhere(world: World, application: Application) -> dict[str, str]:
    """With the application's own login, or that of `git.url` if both are at one host. Raises PreconditionError."""
    url, settings = application.url, world.config.git
    if is_ssh(url):
        return git_refs.read_refs_by_ssh(world.shell, url)
    if application.login:
        files = require_login(world, application).files
        return git_refs.read_refs(url, files[USERNAME], Secret(files[PASSWORD]))
    if settings.url and find_origin(settings.url) == find_origin(url):
        return git_refs.read_refs(url, settings.username, settings.password)
    return git_refs.read_refs(url)


def compose_run(world: World, revision: str, commit: str, *, repository: str = "") -> Object:
    """The PipelineRun for a revision: manifests/test/pipelinerun.yaml with our parameters.

    repository: "" is that of the settings.
    """
    [run] = manifests.load(world.project / run_spec.MANIFEST)
    name = make_run_name(world.config.pipeline.deployment, commit or revision, _make_suffix())
    run["metadata"] |= {"name": name, "namespace": constants.RUNS}
    labels = run["metadata"].setdefault("labels", {})
    labels |= {TRIGGER: "hand", COMMIT: to_label_value(commit), BRANCH: to_label_value(revision)}
    annotations = run["metadata"].setdefault("annotations", {})
    annotations |= {COMMIT: commit, BRANCH: revision.removeprefix("refs/heads/")}  # in full
    run_spec.fill(run, world.config, repository or run_spec.get_repository(world.config), commit or revision)
    return run


def compose_application_run(
    world: World, application: Application, environment: str, revision: str, commit: str
) -> Object:
    """The PipelineRun of an application for a revision, which waits for the manager.

    Raises ApplicationFault; PreconditionError if the Secret that it names is no login for its repository.
    """
    if application.login:
        require_login(world, application)
    run = run_spec.load_template(world.project, world.config)
    place = application.get_environment(environment)
    name = make_application_run_name(application, place, commit or to_dns_label(revision, 12), _make_suffix())
    branch = "" if revision == commit else revision.removeprefix("refs/heads/")
    return make_run(run, application, place, name=name, branch=branch, commit=commit, by="hand")


def compose_image_run(
    world: World, application: Application, environment: str, *, image: str, commit: str, branch: str, source: str
) -> Object:
    """The PipelineRun that deploys an image of an application, built from that commit, and builds nothing.

    source: the environment in which the image served. Raises ApplicationFault.
    """
    run = run_spec.load_template(world.project, world.config)
    place = application.get_environment(environment)
    name = make_application_run_name(application, place, commit, _make_suffix())
    return make_image_run(run, application, place, name=name, branch=branch, commit=commit, image=image, source=source)


def _make_suffix() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(SUFFIX))


def read_run(world: World, name: str) -> Run:
    """The run and its tasks as they are now. Raises NotFound if there is no such run."""
    found = world.kube.get(API, "PipelineRun", name, constants.RUNS)
    if found is None:
        known = [str(each["metadata"]["name"]) for each in world.kube.list(API, "PipelineRun", constants.RUNS)]
        raise NotFound(f"there is no run {name}{suggest_word(name, known)}", hint="invoke runs")
    return parse_run(found, world.kube.list(API, "TaskRun", constants.RUNS, labels=f"{PIPELINE_RUN}={name}"))


def find_newest(world: World, app: str = "") -> str:
    """The name of the newest run, of an application if one is named. Raises PreconditionError if there is none."""
    labels = f"{APPLICATION}={app}" if app else ""
    found = world.kube.list(API, "PipelineRun", constants.RUNS, labels=labels)
    if not found:
        whose, more = (f" of {app}", f" --app {app}") if app else ("", "")
        raise PreconditionError(f"there is no run{whose} yet", hint=f"invoke test-run{more}")
    return str(max(found, key=lambda run: str(at(run, "metadata", "creationTimestamp")))["metadata"]["name"])


class Follower:
    """Shows a run's tasks and their logs as they come, until the run is over."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._lines: dict[str, StepLine] = {}
        self._logs: dict[str, threading.Thread] = {}
        self._closed: set[str] = set()

    def wait_until_over(self, limit: float) -> Run:
        """Show the run until it is over.

        Raises TimedOut after `limit` seconds, with the cause of the wait; RunFailed if the run was deleted.
        """
        last = Run(self._name, constants.RUNS, RunState.PENDING)

        def probe() -> Verdict:
            nonlocal last
            try:
                last = read_run(self._world, self._name)
            except NotFound:
                raise RunFailed(f"run {self._name} was deleted", hint="invoke runs") from None
            except ApiError as error:  # the API server may be away for a moment
                return Pending(error.message)
            self._show(last)
            return Ready() if last.state.is_over else Pending(_explain_wait(last))

        until(probe, clock=self._world.clock, limit=limit, what=f"run {self._name}", every=0.4)
        for thread in self._logs.values():
            thread.join(timeout=LOG_LIMIT)
        return last

    def _show(self, run: Run) -> None:
        for task in run.tasks:
            if task.state is RunState.PENDING or task.name in self._closed:
                continue
            line = self._lines.get(task.name) or self._lines.setdefault(task.name, self._world.report.step(task.name))
            for attempt in (*task.tries, task):
                self._log(attempt, line)
            if task.state.is_over:
                self._close(run, task, line)
            elif task.why:
                line.show_cause(task.why)

    def _log(self, task: TaskState, line: StepLine) -> None:
        for step in task.steps:
            key = f"{task.pod}/{step.container}"
            if task.pod and key not in self._logs and step.state is not RunState.PENDING:
                thread = threading.Thread(target=self._stream, args=(task.pod, step.container, line), daemon=True)
                self._logs[key] = thread
                thread.start()

    def _stream(self, pod: str, container: str, line: StepLine) -> None:
        try:
            for text in self._world.kube.follow_log(constants.RUNS, pod, container):
                line.show_log(text)
        except BootstrapError as error:
            line.show_log(f"(the log ended: {error.message})")

    def _close(self, run: Run, task: TaskState, line: StepLine) -> None:
        self._closed.add(task.name)
        for key, thread in self._logs.items():
            if task.pod and key.startswith(f"{task.pod}/"):
                thread.join(timeout=LOG_LIMIT)
        if task.state is RunState.SUCCEEDED:
            line.end_ready(summarize_task(run, task), changed=True)
        elif task.state in (RunState.SKIPPED, RunState.SUPERSEDED):
            line.end_skipped(task.why)
        else:
            line.end_failed(task.why or task.state.value)


def make_superseded(run: Run) -> RunFailed:
    """The error of a run that another took the place of: what was asked for does not serve, so 0 would be a lie."""
    hint = f"invoke logs --run {run.superseded_by}" if run.superseded_by else "invoke runs"
    return RunFailed(f"run {run.name} was {run.why}", hint=hint)


def summarize_task(run: Run, task: TaskState) -> str:
    """The result of a finished task in a few words: its commit, image or notification."""
    if task.name == "git-clone":
        return run.commit[:7]
    if task.name == "build-image":
        return shorten_image(run.image)
    return task.results.get("notification") or task.results.get("summary") or ""


def shorten_image(reference: str) -> str:
    """ "demo/go-echo@sha256:81ab0c1d2e3f"; a registry that is not the environment's own is named."""
    path, _, digest = reference.removeprefix(f"{constants.REGISTRY}/").partition("@")
    return f"{path}@{digest[:19]}" if digest else path


def _explain_wait(run: Run) -> str:
    running = [task for task in run.tasks if task.state is RunState.RUNNING]
    return running[0].why or running[0].name if running else run.why or "its first task"


@dataclass(frozen=True)
class DeploymentPlace:
    """The Deployment that a run has set the image of, and the cluster that it is in."""

    kube: Kube
    namespace: str
    deployment: str
    container: str


def find_place(world: World, run: Run) -> DeploymentPlace:
    """Where a run deploys to: an application's parameters say so, for the demo the settings do."""
    if run.application:
        return DeploymentPlace(world.kube, *(run.params.get(key, "") for key in ("NAMESPACE", "NAME", "CONTAINER")))
    pipeline = world.config.pipeline
    return DeploymentPlace(world.target, world.config.target.namespace, pipeline.deployment, pipeline.container)


def prove_deployment(world: World, run: Run) -> None:
    """Check that the running pods have the run's image and that /version of the demo answers its commit.

    Of an application nothing but its pods is known. Raises RunFailed.
    """
    place = find_place(world, run)
    if "@" not in run.image:
        raise RunFailed(f"run {run.name} succeeded, but does not tell which image it deployed")

    def look() -> Verdict:
        deployment = place.kube.get("apps/v1", "Deployment", place.deployment, place.namespace)
        labels = at(deployment, "spec", "selector", "matchLabels") or {}
        if not labels:
            return Failed(f"there is no Deployment {place.deployment} in namespace {place.namespace}")
        wanted = rollout.image_of(deployment or {}, place.container)
        if wanted and wanted.rpartition("@")[2] != run.image.rpartition("@")[2]:
            return Failed(f"Deployment {place.deployment} has another image by now, of another run or set by hand")
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        wrong = _find_other_images(place.kube.list("v1", "Pod", place.namespace, labels=selector), run)
        if wrong:
            return Pending(wrong)
        return Ready() if run.application else _judge_version(world, run)

    def probe() -> Verdict:
        try:
            return look()
        except ApiError as error:  # the API server may be away for a moment
            return Pending(error.message)

    try:
        verdict = until(probe, clock=world.clock, limit=SERVED_LIMIT, what="the new version", every=0.3)
    except TimedOut as error:
        raise RunFailed("the run succeeded, but its version does not serve", evidence=error.evidence) from None
    if isinstance(verdict, Failed):
        raise RunFailed(verdict.why)


def _find_other_images(pods: list[Object], run: Run) -> str:
    digest = run.image.rpartition("@")[2]
    going = ("Succeeded", "Failed")  # evicted, say
    alive = [
        pod for pod in pods if not at(pod, "metadata", "deletionTimestamp") and at(pod, "status", "phase") not in going
    ]
    if not alive:
        return "no pod runs"
    for pod in alive:
        references = [str(status.get("imageID", "")) for status in at(pod, "status", "containerStatuses") or ()]
        if not any(reference.endswith(digest) for reference in references):
            return f"pod {pod['metadata']['name']} still runs another image"
    return ""


def read_served_commit(world: World) -> str:
    """The commit that /version answers. Raises ApiError; ValueError when it answers something else."""
    target, pipeline = world.config.target, world.config.pipeline
    answer = world.target.get_from_service(target.namespace, pipeline.deployment, 80, "/version")
    try:
        return str(json.loads(answer)["commit"])
    except (ValueError, KeyError, TypeError):
        raise ValueError("/version does not answer JSON with a commit") from None


def _judge_version(world: World, run: Run) -> Verdict:
    try:
        commit = read_served_commit(world)
    except ApiError as error:
        return Pending(f"/version: {error.message}")
    except ValueError as error:
        return Failed(str(error))
    return Ready(commit) if commit == run.commit else Pending(f"/version answers {commit[:7]}, not {run.commit[:7]}")


def read_logs(world: World, run: Run, each: Callable[[str, str], None]) -> None:
    """Call `each(task, line)` for every line of the run's logs, in the pipeline's order, earlier tries first."""
    for task in run.tasks:
        for attempt in (*task.tries, task):
            for line in _read_lines(world, attempt):
                each(task.name, line)


def _read_lines(world: World, task: TaskState) -> Iterator[str]:
    """The log of a task, or of one try of it."""
    for step in task.steps if task.pod else ():
        try:
            yield from world.kube.read_log(constants.RUNS, task.pod, step.container).splitlines()
        except ApiError as error:
            yield f"(no log: {error.message})"


def read_tail(world: World, task: TaskState) -> str:
    """The last lines of the log of the step that failed, "" if there is none."""
    step = next((each for each in task.steps if each.name == task.failed_step), None)
    if step is None or not task.pod:
        return ""
    try:
        return world.kube.read_log(constants.RUNS, task.pod, step.container, tail_lines=TAIL)
    except ApiError:
        return ""


def get_seconds(run: Run) -> float:
    """Seconds from a run's start to its end, or to now."""
    return run.elapsed(datetime.now(UTC))
