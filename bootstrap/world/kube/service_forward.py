"""A port of this machine that always leads to some ready pod behind a Service.

The local port is kept from `start` to `stop`, whatever becomes of the pods: each connection is
carried to a pod that is ready at that moment, and waits a little when there is none.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bootstrap.core.errors import ApiError, BootstrapError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.objects.readiness import at, condition
from bootstrap.world import probe
from bootstrap.world.kube.port_forward import Traffic, Tunnel
from bootstrap.world.listen import listen

WAIT_SECONDS = 15.0
"""How long a connection waits for a ready pod before it is dropped."""
PAUSES = (0.2, 0.4, 0.8, 1.6, 2.0)
"""Between two looks for a pod; the last one repeats."""
ACCEPT_SECONDS = 0.5
JOIN_SECONDS = 3.0


class ForwardKube(Protocol):
    """What a forward needs of `Kube`. All raise ApiError."""

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        """An object, None if it is not there."""
        ...

    def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Sequence[Object]:
        """The objects that a label selector chooses."""
        ...

    def connect(self, namespace: str, pod: str, port: int) -> Tunnel:
        """Open a connection to a port of a pod."""
        ...


@dataclass
class Stats:
    """What a forward did.

    connections: taken so far. dropped: of those, closed without a pod or ended by a fault. sent, received: bytes to and
    from pods, counted when a connection ends. pod: the latest one used. last_error: why a connection was dropped or had
    to look for another pod, "" if never.
    """

    connections: int = 0
    dropped: int = 0
    sent: int = 0
    received: int = 0
    pod: str = ""
    last_error: str = ""


class Forward:
    """A port of this machine, 127.0.0.1:local_port, that leads to `port` (number or name) of a Service.

    A `with` block starts and stops it. local_port 0 takes a free one; `local_port` then says which. wait: seconds for a
    ready pod.
    """

    def __init__(
        self,
        kube: ForwardKube,
        namespace: str,
        service: str,
        port: int | str,
        local_port: int,
        *,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.local_port = local_port
        self.stats = Stats()
        self._kube = kube
        self._namespace = namespace
        self._service = service
        self._port = port
        self._wait = wait
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._endings: set[Callable[[], None]] = set()
        self._threads: set[threading.Thread] = set()

    def start(self) -> None:
        """Listen on the port.

        Raises PreconditionError if it is taken, with the process that has it where that can be found.
        """
        listener = listen(self.local_port)
        self.local_port = listener.getsockname()[1]
        self._spawn(self._accept, listener)

    def stop(self) -> None:
        """End every connection. Afterwards the port is free and no thread is left. May be called again."""
        self._stopping.set()
        for _ in range(2):  # a connection may just have been taken: the second round has it
            with self._lock:
                endings, threads = [*self._endings], [*self._threads]
            for end in endings:
                end()
            for thread in threads:
                thread.join(JOIN_SECONDS)

    def __enter__(self) -> Forward:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self, path: str = "/", *, seconds: float = 5) -> Verdict:
        """Send one HTTP request through the forward. Any answer proves the way, an error page too."""
        status = probe.read_local_status(self.local_port, f"/{path.lstrip('/')}", seconds)
        return Ready(f"HTTP {status}") if status else Pending(self.stats.last_error or "no answer yet")

    def _spawn(self, target: Callable[[socket.socket], None], sock: socket.socket) -> None:
        def run() -> None:
            with sock:
                target(sock)
            with self._lock:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name=f"forward-{self._service}", daemon=True)
        with self._lock:  # `stop` must not meet one that does not run yet
            thread.start()
            self._threads.add(thread)

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(ACCEPT_SECONDS)
        with self._ended_by(lambda: hang_up(listener)):
            while not self._stopping.is_set():
                try:
                    client, _ = listener.accept()
                except TimeoutError:
                    continue
                except OSError:  # out of file descriptors, say: the port is kept all the same
                    self._stopping.wait(ACCEPT_SECONDS)
                    continue
                self._count(connections=1)
                self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with self._ended_by(lambda: hang_up(client)):
            tunnel = self._tunnel()
            if tunnel is None:
                return
            with self._ended_by(tunnel.close):
                self._account(tunnel.carry(client))

    def _tunnel(self) -> Tunnel | None:
        """A tunnel to a ready pod, None when none was found in time or the forward is being stopped."""
        end = time.monotonic() + self._wait
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            try:
                pod, port = self.choose_pod()
                tunnel = self._kube.connect(self._namespace, pod, port)
            except BootstrapError as error:
                self._count(error=error.message)
            else:
                self.stats.pod = pod
                return tunnel
            if self._stopping.wait(min(pause, max(0.0, end - time.monotonic()))) or time.monotonic() >= end:
                break
        self._count(dropped=not self._stopping.is_set())
        return None

    def choose_pod(self) -> tuple[str, int]:
        """The pod, and its port, that a connection made now would lead to. Raises ApiError when there is none."""
        service = self._kube.get("v1", "Service", self._service, self._namespace)
        if service is None:
            raise ApiError(f"there is no service {self._namespace}/{self._service}", status=404)
        selector = at(service, "spec", "selector") or {}
        if not selector:
            raise ApiError(f"service {self._namespace}/{self._service} selects no pods", status=404)
        labels = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        pods = self._kube.list("v1", "Pod", self._namespace, labels=labels)
        return pick_pod(service, pods, self._port)

    def _account(self, traffic: Traffic) -> None:
        fault = traffic.error if not self._stopping.is_set() else ""
        self._count(sent=traffic.sent, received=traffic.received, dropped=bool(fault), error=fault)

    def _count(
        self, *, connections: int = 0, dropped: bool = False, sent: int = 0, received: int = 0, error: str = ""
    ) -> None:
        with self._lock:
            self.stats.connections += connections
            self.stats.dropped += dropped
            self.stats.sent += sent
            self.stats.received += received
            self.stats.last_error = error or self.stats.last_error

    @contextlib.contextmanager
    def _ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        """`stop` calls `end` while the block runs, and at once if the forward is being stopped already."""
        with self._lock:
            self._endings.add(end)
        try:
            if self._stopping.is_set():
                end()
            yield
        finally:
            with self._lock:
                self._endings.discard(end)


def pick_pod(service: Object, pods: Sequence[Object], port: int | str) -> tuple[str, int]:
    """The name of a ready pod of the Service, and the number of the port that its container listens on for `port`.

    The youngest ready pod is taken: after a rollout the old ones are about to go. Raises ApiError when there is none.
    """
    name = f"{at(service, 'metadata', 'namespace')}/{at(service, 'metadata', 'name')}"
    ports = at(service, "spec", "ports") or []
    wanted = next((each for each in ports if port in (each.get("port"), each.get("name"))), None)
    if wanted is None:
        raise ApiError(f"service {name} has no port {port}", status=404)
    ready = [each for each in pods if _is_ready(each)]
    if not ready:
        raise ApiError(f"no ready pod behind service {name}", status=503)
    pod = max(ready, key=lambda each: str(at(each, "metadata", "creationTimestamp") or ""))
    return pod["metadata"]["name"], _find_container_port(pod, wanted)


def _is_ready(pod: Object) -> bool:
    leaving = at(pod, "metadata", "deletionTimestamp")
    return not leaving and condition(pod, "Ready").get("status") == "True"


def _find_container_port(pod: Object, port: Mapping[str, Any]) -> int:
    """targetPort: absent means the same number, a text is the name of a container's port."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int) or str(target).isdigit():
        return int(target)
    containers = at(pod, "spec", "containers") or []
    named = [each for container in containers for each in container.get("ports") or () if each.get("name") == target]
    if not named:
        raise ApiError(f"pod {pod['metadata']['name']} has no port called {target}", status=404)
    return int(named[0]["containerPort"])


def hang_up(sock: socket.socket) -> None:
    """End reading and writing on a socket, also in another thread; fine if it is closed already."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
