"""What the cluster holds, kept up to date by watches: no loop asks, and an idle cluster costs next to nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bootstrap.console.rollout import Objects, Rollout
from bootstrap.console.run_store import KnownRuns
from bootstrap.console.task_graph import Plan
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import PIPELINE_RUN, Run
from bootstrap.world.kube.watch import BACK, LOST, RESET, SYNCED, Event, Stream

if TYPE_CHECKING:
    from bootstrap.world.kube.objects import ObjectStore

API = "tekton.dev/v1"
READERS = 4
"""Threads that read the tasks of runs."""
PATIENCE = 1.0
"""Seconds that are waited for a feed that has just begun, before what is known is shown."""
AGAIN_SECONDS = 5.0
"""After a kubeconfig that cannot be used."""


class Feed:
    """Started once. Threads may share it."""

    def __init__(
        self, cluster: Callable[[], ObjectStore], target: Callable[[], ObjectStore], namespace: str, name: str
    ) -> None:
        """namespace, name: of the Deployment that the pipeline deploys to, in `target`."""
        self._cluster = cluster
        self._target = target
        self._place = (namespace, name)
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._known = KnownRuns(self._wanted.put)
        self._objects = {kind: Objects() for kind in ("Deployment", "ReplicaSet", "Pod")}
        self._lock = threading.Lock()
        self._streams: list[Stream[Event]] = []
        self._closed = threading.Event()
        self._lost: dict[str, str] = {}
        self._synced: set[str] = set()
        self.settled = threading.Event()
        """Set once the runs were read, or could not be, or nobody will."""
        self._version = 0

    # -- for whoever shows it ------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Another number after each change."""
        return self._version

    @property
    def lost(self) -> str:
        """Why the API server cannot be read, "" while it can."""
        with self._lock:
            return next(iter(self._lost.values()), "")

    @property
    def synced(self) -> bool:
        """Whether the runs were read once."""
        return "PipelineRun" in self._synced

    @property
    def seen(self) -> frozenset[str]:
        """The kinds that were read once."""
        return frozenset(self._synced)

    def runs(self) -> list[Run]:
        """Newest first."""
        return self._known.all()

    def run(self, name: str) -> Run | None:
        return self._known.get(name)

    def plan(self, name: str) -> Plan:
        return self._known.plan(name)

    def whole(self, name: str) -> bool:
        """Whether the run's tasks are known."""
        return self._known.whole(name)

    def want(self, wanted: Iterable[str]) -> None:
        """Read the tasks of those runs, if that was not done yet; the version tells when they are there."""
        self._known.want(wanted)

    def rollout(self) -> Rollout:
        deployments, sets, pods = (self._objects[kind].by_name for kind in ("Deployment", "ReplicaSet", "Pod"))
        return Rollout(deployments.get(self._place[1]), tuple(sets.values()), tuple(pods.values()))

    # -- its life ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until the feed is settled, PATIENCE at most."""
        self.settled.wait(PATIENCE)

    def start(self) -> None:
        namespace, name = self._place
        self._spawn(self._follow_runs)
        self._spawn(self._follow_tasks, later=True)
        only = f"metadata.name={name}"
        for kind, api_version, fields in (
            ("Deployment", "apps/v1", only),
            ("ReplicaSet", "apps/v1", ""),
            ("Pod", "v1", ""),
        ):
            self._spawn(self._follow_objects, api_version, kind, namespace, fields, later=True)
        for _ in range(READERS):
            self._spawn(self._read_tasks)

    def close(self) -> None:
        self._closed.set()
        self.settled.set()
        with self._lock:
            streams = [*self._streams]
        for stream in streams:
            stream.close()
        for _ in range(READERS):
            self._wanted.put("")

    def _spawn(self, target: Callable[..., None], *arguments: Any, later: bool = False) -> None:
        """later: not beside the first reading of the runs, which a reader sees first."""

        def live() -> None:
            if later:
                self.settle()
            target(*arguments)

        threading.Thread(target=live, name=f"feed-{target.__name__}", daemon=True).start()

    # -- what comes in; each of these is a thread's whole life ---------------------------------------

    def _follow_runs(self) -> None:
        fresh: set[str] | None = None
        for kind, each in self._events(self._cluster, API, "PipelineRun", constants.RUNS):
            if kind == RESET:
                fresh = set()
            elif kind == SYNCED and fresh is not None:
                self._known.keep_only(fresh)
                fresh = None
            elif kind == "DELETED":
                self._known.forget(str(each["metadata"]["name"]))
            else:
                run = self._known.take(each)
                if fresh is not None:
                    fresh.add(run.name)
            if fresh is None:
                self._changed()

    def _follow_tasks(self) -> None:
        """Only what happens from now on; the tasks of earlier runs are read when they are wanted."""
        for kind, each in self._events(self._cluster, API, "TaskRun", constants.RUNS, from_now=True):
            if kind == SYNCED:
                self._known.want_live()
            elif kind in ("ADDED", "MODIFIED"):
                self._known.take_tasks(str(at(each, "metadata", "labels", PIPELINE_RUN) or ""), [each])
                self._changed()

    def _follow_objects(self, api_version: str, kind: str, namespace: str, fields: str) -> None:
        objects = self._objects[kind]
        for event, each in self._events(self._target, api_version, kind, namespace, fields=fields):
            if objects.take(event, each):
                self._changed()

    def _read_tasks(self) -> None:
        while (name := self._wanted.get()) and not self._closed.is_set():
            try:
                run = self._cluster().get(API, "PipelineRun", name, constants.RUNS)
                tasks = self._cluster().list(API, "TaskRun", constants.RUNS, labels=f"{PIPELINE_RUN}={name}")
            except BootstrapError:
                self._known.unread(name)
                continue
            self._known.read(name, run, tasks)
            self._changed()

    def _events(
        self, cluster: Callable[[], ObjectStore], api_version: str, kind: str, namespace: str, **options: Any
    ) -> Iterator[Event]:
        """Those of a watch, without LOST and BACK, which are dealt with here. Ends when the feed is closed."""
        while not self._closed.is_set():
            try:
                stream = cluster().follow(api_version, kind, namespace, **options)
            except BootstrapError as error:  # a kubeconfig that cannot be used, of a target elsewhere
                self._lose(kind, error.message)
                self._closed.wait(AGAIN_SECONDS)
                continue
            with self._lock:
                self._streams.append(stream)
                if self._closed.is_set():
                    return
            for event, each in stream:
                if event == LOST:
                    self._lose(kind, str(each["message"]))
                    continue
                if event in (SYNCED, BACK):
                    self._lose(kind, "")
                    self._synced.add(kind)
                    if self.synced:
                        self.settled.set()
                if event != BACK:
                    yield event, each
            return

    def _lose(self, kind: str, why: str) -> None:
        with self._lock:
            before = self._lost.get(kind, "")
            if why:
                self._lost[kind] = why
                self.settled.set()
            else:
                self._lost.pop(kind, None)
        if before != why:
            self._changed()

    def _changed(self) -> None:
        with self._lock:
            self._version += 1
