"""The cluster's runs and Applications and the target's rollout, kept up to date by watches. Nothing is polled."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bootstrap.console.rollout import ObjectCache, Rollout
from bootstrap.console.run_store import RunStore
from bootstrap.console.task_graph import Plan
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object
from bootstrap.incluster.applications import API_VERSION as APPLICATIONS
from bootstrap.incluster.applications import KIND as APPLICATION
from bootstrap.objects.readiness import at
from bootstrap.objects.run_status import PIPELINE_RUN, Run
from bootstrap.world.kube.watch import BACK, LOST, RESET, SYNCED, Event, Stream

if TYPE_CHECKING:
    from bootstrap.world.kube.objects import ObjectStore

API = "tekton.dev/v1"
READERS = 4
"""Threads that read the tasks of runs."""
PATIENCE = 1.0
"""Seconds that a page waits for the first answer of the cluster before it is shown without it."""
AGAIN_SECONDS = 5.0
"""Pause before a kubeconfig that could not be used is tried again."""


class WatchCache:
    """What the watches have told so far. It is started once; threads may share it.

    No method waits for the cluster, except `wait_until_settled`. While the API server cannot be reached, what was last
    seen stays, and `lost` says why.
    """

    def __init__(
        self, cluster: Callable[[], ObjectStore], target: Callable[[], ObjectStore], namespace: str, name: str
    ) -> None:
        """cluster, target: return the clients of both clusters; they are called in threads, and may raise
        BootstrapError. namespace, name: of the Deployment in `target` that the pipeline updates."""
        self._cluster = cluster
        self._target = target
        self._place = (namespace, name)
        self._wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._store = RunStore(self._wanted.put)
        self._objects = {kind: ObjectCache() for kind in (APPLICATION, "Deployment", "ReplicaSet", "Pod")}
        self._lock = threading.Lock()
        self._streams: list[Stream[Event]] = []
        self._closed = threading.Event()
        self._lost: dict[str, str] = {}
        self._synced: set[str] = set()
        self.settled = threading.Event()
        """Set once the runs were read, or could not be read, or the cache was closed."""
        self._version = 0

    # -- for the pages ------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """A number that grows with each change of what the cache holds."""
        return self._version

    @property
    def lost(self) -> str:
        """The error of the API server that cannot be read, "" while both can be."""
        with self._lock:
            return next(iter(self._lost.values()), "")

    @property
    def synced(self) -> bool:
        """Whether the runs were read at least once."""
        return "PipelineRun" in self._synced

    @property
    def seen(self) -> frozenset[str]:
        """The kinds that were read at least once, and Application also where the cluster refused it."""
        return frozenset(self._synced)

    def list_runs(self) -> list[Run]:
        """All runs, newest first."""
        return self._store.list_runs()

    def get_run(self, name: str) -> Run | None:
        """The run, without tasks unless `has_tasks`; None if there is none of that name."""
        return self._store.get_run(name)

    def get_plan(self, name: str) -> Plan:
        """The tasks that the run's pipeline has; () as long as that is not known."""
        return self._store.get_plan(name)

    def has_tasks(self, name: str) -> bool:
        """Whether the run's tasks are known."""
        return self._store.has_tasks(name)

    def request_tasks(self, wanted: Iterable[str]) -> None:
        """Have the tasks of these runs read, unless they are known. `version` grows when they are there."""
        self._store.request_tasks(wanted)

    def list_applications(self) -> list[Object]:
        """All Applications, in any order; none where the cluster does not know the kind."""
        return [*self._objects[APPLICATION].by_name.values()]

    def get_rollout(self) -> Rollout:
        """The Deployment, ReplicaSets and pods as they are known now."""
        deployments, sets, pods = (self._objects[kind].by_name for kind in ("Deployment", "ReplicaSet", "Pod"))
        return Rollout(deployments.get(self._place[1]), tuple(sets.values()), tuple(pods.values()))

    # -- start and end ------------------------------------------------------------------------------------

    def wait_until_settled(self) -> None:
        """Wait until the runs were read or could not be read, for at most PATIENCE seconds."""
        self.settled.wait(PATIENCE)

    def start(self) -> None:
        """Start the threads that watch and read."""
        namespace, name = self._place
        self._start_thread(self._follow_runs)
        self._start_thread(self._follow_tasks, later=True)
        self._start_thread(self._follow_objects, self._cluster, APPLICATIONS, APPLICATION, constants.RUNS, later=True)
        only = f"metadata.name={name}"
        for kind, api_version, fields in (
            ("Deployment", "apps/v1", only),
            ("ReplicaSet", "apps/v1", ""),
            ("Pod", "v1", ""),
        ):
            self._start_thread(self._follow_objects, self._target, api_version, kind, namespace, fields, later=True)
        for _ in range(READERS):
            self._start_thread(self._read_tasks)

    def close(self) -> None:
        """End every watch, and let the threads end; does not wait for them."""
        self._closed.set()
        self.settled.set()
        with self._lock:
            streams = [*self._streams]
        for stream in streams:
            stream.close()
        for _ in range(READERS):
            self._wanted.put("")

    def _start_thread(self, target: Callable[..., None], *arguments: Any, later: bool = False) -> None:
        """later: wait until the runs were read, because a page shows these first."""

        def run() -> None:
            if later:
                self.wait_until_settled()
            target(*arguments)

        threading.Thread(target=run, name=f"watch-{target.__name__.strip('_')}", daemon=True).start()

    # -- each of these is what a thread does from start to end ---------------------------------------

    def _follow_runs(self) -> None:
        fresh: set[str] | None = None
        for event, document in self._follow_events(self._cluster, API, "PipelineRun", constants.RUNS):
            if event == RESET:
                fresh = set()
            elif event == SYNCED and fresh is not None:
                self._store.keep_only(fresh)
                fresh = None
            elif event == "DELETED":
                self._store.forget(str(document["metadata"]["name"]))
            else:
                run = self._store.apply_run(document)
                if fresh is not None:
                    fresh.add(run.name)
            if fresh is None:
                self._count_change()

    def _follow_tasks(self) -> None:
        """Follow the TaskRuns from now on; those of earlier runs are read when a page asks for them."""
        for event, document in self._follow_events(self._cluster, API, "TaskRun", constants.RUNS, from_now=True):
            if event == SYNCED:
                self._store.request_live_tasks()
            elif event in ("ADDED", "MODIFIED"):
                self._store.apply_tasks(str(at(document, "metadata", "labels", PIPELINE_RUN) or ""), [document])
                self._count_change()

    def _follow_objects(
        self, cluster: Callable[[], ObjectStore], api_version: str, kind: str, namespace: str, fields: str = ""
    ) -> None:
        objects = self._objects[kind]
        for event, document in self._follow_events(cluster, api_version, kind, namespace, fields=fields):
            if objects.apply_event(event, document):
                self._count_change()

    def _read_tasks(self) -> None:
        while (name := self._wanted.get()) and not self._closed.is_set():
            try:
                run = self._cluster().get(API, "PipelineRun", name, constants.RUNS)
                tasks = self._cluster().list(API, "TaskRun", constants.RUNS, labels=f"{PIPELINE_RUN}={name}")
            except BootstrapError:
                self._store.accept_failure(name)
                continue
            self._store.accept_answer(name, run, tasks)
            self._count_change()

    def _follow_events(
        self, cluster: Callable[[], ObjectStore], api_version: str, kind: str, namespace: str, **options: Any
    ) -> Iterator[Event]:
        """The events of a watch, without LOST and BACK, which are handled here. Ends when the cache is closed."""
        while not self._closed.is_set():
            try:
                stream = cluster().follow(api_version, kind, namespace, **options)
            except BootstrapError as error:  # a kubeconfig that cannot be used, of a target elsewhere
                self._set_lost(kind, error.message)
                self._closed.wait(AGAIN_SECONDS)
                continue
            with self._lock:
                self._streams.append(stream)
                if self._closed.is_set():
                    return
            for event, document in stream:
                if event == LOST:
                    self._set_lost(kind, str(document["message"]))
                    continue
                if event in (SYNCED, BACK):
                    self._set_lost(kind, "")
                    self._synced.add(kind)
                    if self.synced:
                        self.settled.set()
                if event != BACK:
                    yield event, document
            return

    def _set_lost(self, kind: str, why: str) -> None:
        if kind == APPLICATION:
            # An environment may be without that kind. Of a server that does not answer the watch of the runs tells.
            self._synced.add(kind)
            self._count_change()
            return
        with self._lock:
            before = self._lost.get(kind, "")
            if why:
                self._lost[kind] = why
                self.settled.set()
            else:
                self._lost.pop(kind, None)
        if before != why:
            self._count_change()

    def _count_change(self) -> None:
        with self._lock:
            self._version += 1
