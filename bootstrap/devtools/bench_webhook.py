"""Signed pushes to the listener of an environment that lives, and how long each takes to become a run.

They come as those of a git host do that reaches us by `invoke listener` or `invoke tunnel`: each by a connection of its
own, forwarded to one pod of the listener, however many there are.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bootstrap.commands import follow_run, webhook
from bootstrap.commands.listener import LISTENER_PORT
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, TimedOut
from bootstrap.core.model import Object, Pending, Ready, Secret, Verdict
from bootstrap.core.wait import until
from bootstrap.incluster.run_names import COMMIT
from bootstrap.objects.readiness import at, judge
from bootstrap.world import World, webhook_sender
from bootstrap.world.kube.service_forward import Forward
from bootstrap.world.kube.watch import Event, Stream

BURST, SIDE_BY_SIDE = 50, 10
LOST_AFTER = 30.0
WATCH_LIMIT = 1800.0
CONTROLLER = ("apps/v1", "Deployment", "tekton-pipelines-controller", constants.TEKTON)
CONTROLLER_PODS = "app=tekton-pipelines-controller"
CONTROLLER_LIMIT = 120.0

Figures = dict[str, float]


def measure(world: World, times: int) -> dict[str, Figures]:
    """ "one": `times` x 10 pushes, each after the one before has its run; "burst": `times` x 50, ten at once.

    Each has p50, p95 and max, in seconds from the sending until the PipelineRun is heard of, and how many events were
    lost (no run after 30 seconds) and how many had two. The runs do not start, and are deleted in the end. Raises
    ApiError if a push is not accepted, TimedOut if none becomes a run.
    """
    before = list_run_names(world)
    with stop_controller(world), RunWatch(world, before) as heard:
        try:
            with Forward(world.kube, constants.RUNS, constants.LISTENER, LISTENER_PORT, 0) as forward:
                sender = Sender(world, f"http://127.0.0.1:{forward.local_port}/", heard)
                sender.send()  # does not count: by it the watch is known to be open
                one = [sender.send() for _ in range(times * 10)]
                with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="push") as pool:
                    burst = [each for _ in range(times) for each in pool.map(lambda _: sender.send(), range(BURST))]
            return {"one": compute_figures(one, heard), "burst": compute_figures(burst, heard)}
        finally:
            for name in list_run_names(world) - before:
                world.kube.delete(follow_run.API, "PipelineRun", name, constants.RUNS)


def list_run_names(world: World) -> set[str]:
    """The names of all."""
    return {each["metadata"]["name"] for each in world.kube.list(follow_run.API, "PipelineRun", constants.RUNS)}


@dataclass(frozen=True)
class Sent:
    """seconds: None if no run came of it."""

    commit: str
    seconds: float | None


def compute_figures(sent: Sequence[Sent], heard: RunWatch) -> Figures:
    """Raises TimedOut if no push became a run."""
    seconds = sorted(each.seconds for each in sent if each.seconds is not None)
    if not seconds:
        raise TimedOut(f"none of {len(sent)} pushes became a run in {LOST_AFTER:.0f} s", hint="invoke webhook")
    found = {
        name: round(find_percentile(seconds, part), 3) for name, part in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }
    doubled = sum(max(0, heard.count(each.commit) - 1) for each in sent)
    return {**found, "lost": len(sent) - len(seconds), "doubled": doubled}


def find_percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that at least that part of all does not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


@dataclass
class Sender:
    """url: where the listener is reached."""

    world: World
    url: str
    heard: RunWatch
    _key: Secret = field(init=False)

    def __post_init__(self) -> None:
        self._key = webhook.read_secret(self.world)

    def send(self) -> Sent:
        """A push of a commit that nobody has. Raises ApiError if it is not accepted."""
        commit = secrets.token_hex(20)
        event = webhook.make_push(constants.GIT_URL, "", "main", commit)
        body = json.dumps(event).encode()
        headers = webhook.make_headers(str(uuid.uuid4()), body, self._key)
        start = self.world.clock.now()
        status, _ = webhook_sender.post_webhook(self.url, body, headers)
        if status != webhook.ACCEPTED:
            raise ApiError(f"the listener answers {status}", status=status, hint="invoke status")
        when = self.heard.wait(commit, LOST_AFTER)
        return Sent(commit, when - start if when is not None else None)


class RunWatch:
    """The runs that come while the block lasts, as a watch tells of them; but for those called as in `before`."""

    def __init__(self, world: World, before: set[str]) -> None:
        self._world = world
        self._before = before
        self._news = threading.Condition()
        self._runs: dict[str, dict[str, float]] = {}
        self._stream: Stream[Event] | None = None

    def __enter__(self) -> RunWatch:
        self._stream = self._world.kube.watch(follow_run.API, "PipelineRun", constants.RUNS, seconds=WATCH_LIMIT)
        threading.Thread(target=self._listen, args=(self._stream,), name="heard", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def _listen(self, stream: Stream[Event]) -> None:
        with contextlib.suppress(ApiError):  # what is not heard of any more counts as lost
            for kind, run in stream:
                if kind == "ADDED" and run["metadata"]["name"] not in self._before:
                    self._note(run)

    def _note(self, run: Object) -> None:
        commit, now = str(at(run, "metadata", "labels", COMMIT) or ""), self._world.clock.now()
        with self._news:
            self._runs.setdefault(commit, {}).setdefault(run["metadata"]["name"], now)
            self._news.notify_all()

    def wait(self, commit: str, limit: float) -> float | None:
        """When its first run was heard of; None if there is none after `limit` seconds."""
        with self._news:
            self._news.wait_for(lambda: commit in self._runs, limit)
            return min(self._runs[commit].values()) if commit in self._runs else None

    def count(self, commit: str) -> int:
        with self._news:
            return len(self._runs.get(commit, ()))


@contextlib.contextmanager
def stop_controller(world: World) -> Iterator[None]:
    """Tekton's controller rests meanwhile: runs are admitted and stored as ever, and nothing is made of them."""

    def gone() -> Verdict:
        pods = world.kube.list("v1", "Pod", constants.TEKTON, labels=CONTROLLER_PODS)
        return Pending("its pod is there") if pods else Ready()

    _scale(world, 0)
    try:
        until(gone, clock=world.clock, limit=CONTROLLER_LIMIT, what="the end of Tekton's controller")
        yield
    finally:
        _scale(world, 1)
        until(
            lambda: judge(world.kube.get(*CONTROLLER)),
            clock=world.clock,
            limit=CONTROLLER_LIMIT,
            what="Tekton's controller",
        )


def _scale(world: World, replicas: int) -> None:
    world.kube.patch(*CONTROLLER, patch={"spec": {"replicas": replicas}})


def make_rows(found: dict[str, Any]) -> list[list[str]]:
    """For the benchmarks' table."""
    return [
        [f"webhook {part} {key}", "", f"{value:.3f}" if isinstance(value, float) else str(value)]
        for part, values in found.items()
        for key, value in values.items()
    ]
