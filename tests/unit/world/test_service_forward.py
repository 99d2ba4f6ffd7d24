"""A supervised forward over a cluster of strict fakes and real sockets."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from bootstrap.core.errors import ApiError, PreconditionError
from bootstrap.core.model import Object, Pending, Ready
from bootstrap.world.kube.port_forward import Traffic
from bootstrap.world.kube.service_forward import Forward, pick_pod
from bootstrap.world.listen import listen

SERVICE: Object = {
    "metadata": {"name": "web", "namespace": "n"},
    "spec": {
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "main"}, {"name": "raw", "port": 81}],
    },
}


def pod(name: str, *, ready: bool = True, born: str = "2026-01-01T00:00:00Z", leaving: bool = False) -> Object:
    metadata = {"name": name, "creationTimestamp": born, **({"deletionTimestamp": born} if leaving else {})}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"ports": [{"name": "main", "containerPort": 8080}]}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


class FakeTunnel:
    """Answers each line of the client with the pod's name; `die` is the death of the pod."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client: socket.socket | None = None
        self._closed = threading.Event()
        self.error = ""

    def carry(self, local: socket.socket) -> Traffic:
        self._client = local
        sent = received = 0
        while not self._closed.is_set() and (data := local.recv(4096)):
            sent += len(data)
            answer = f"{self._name}\n".encode()
            local.sendall(answer)
            received += len(answer)
        return Traffic(sent, received, self.error)

    def close(self) -> None:
        self._closed.set()
        if self._client:
            with suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def die(self) -> None:
        self.error = "the pod is gone"
        self.close()


class FakeCluster:
    def __init__(self, *pods: Object) -> None:
        self.pods = list(pods)
        self.refusing: set[str] = set()
        self.tunnels: list[FakeTunnel] = []
        self.asked: list[tuple[str, int]] = []
        self.service: Object | None = SERVICE

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        assert (api_version, kind, name, namespace) == ("v1", "Service", "web", "n")
        return self.service

    def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        assert (api_version, kind, namespace, labels, fields) == ("v1", "Pod", "n", "app=web", "")
        return self.pods

    def connect(self, namespace: str, pod: str, port: int) -> FakeTunnel:
        self.asked.append((pod, port))
        if pod in self.refusing:
            raise ApiError(f'pods "{pod}" not found', status=404)
        self.tunnels.append(FakeTunnel(pod))
        return self.tunnels[-1]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(pod("a"))


@pytest.fixture
def forward(cluster: FakeCluster) -> Iterator[Forward]:
    with Forward(cluster, "n", "web", 80, 0, wait=1) as made:
        yield made
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "forward-web"])


def dial(forward: Forward) -> socket.socket:
    return socket.create_connection(("127.0.0.1", forward.local_port), timeout=5)


def ask(connection: socket.socket) -> str:
    connection.sendall(b"who\n")
    return connection.recv(100).decode().strip()


def until(condition: object) -> None:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)
    assert condition()  # type: ignore[operator]


def test_connections_lead_to_a_ready_pod_and_are_counted(forward: Forward, cluster: FakeCluster) -> None:
    with closing(dial(forward)) as connection:
        assert ask(connection) == "a"
        assert ask(connection) == "a"
    until(lambda: forward.stats.received)
    stats = forward.stats
    assert (stats.connections, stats.dropped, stats.sent, stats.received, stats.pod) == (1, 0, 8, 4, "a")
    assert cluster.asked == [("a", 8080)]


def test_many_connections_at_once(forward: Forward) -> None:
    connections = [dial(forward) for _ in range(20)]
    assert [ask(each) for each in connections] == ["a"] * 20
    for each in connections:
        each.close()


def test_the_port_survives_the_death_of_the_pod(forward: Forward, cluster: FakeCluster) -> None:
    port = forward.local_port
    with closing(dial(forward)) as connection:
        assert ask(connection) == "a"
        cluster.tunnels[0].die()
        assert connection.recv(1) == b""
    cluster.pods = [pod("b")]
    with closing(dial(forward)) as connection:
        assert ask(connection) == "b"
    assert forward.local_port == port
    until(lambda: forward.stats.dropped)
    assert (forward.stats.dropped, forward.stats.last_error) == (1, "the pod is gone")


def test_a_connection_waits_for_the_next_pod(forward: Forward, cluster: FakeCluster) -> None:
    cluster.refusing = {"a"}
    with closing(dial(forward)) as connection:
        until(lambda: cluster.asked)
        cluster.pods = [pod("b")]
        assert ask(connection) == "b"
    assert forward.stats.dropped == 0
    assert forward.stats.last_error == 'pods "a" not found'


def test_without_a_pod_the_connection_is_dropped_in_time(forward: Forward, cluster: FakeCluster) -> None:
    cluster.pods = []
    start = time.monotonic()
    with closing(dial(forward)) as connection:
        assert connection.recv(1) == b""
    assert 0.9 < time.monotonic() - start < 3
    until(lambda: forward.stats.dropped)
    assert forward.stats.last_error == "no ready pod behind service n/web"


def test_stop_ends_open_and_waiting_connections_and_frees_the_port(cluster: FakeCluster) -> None:
    forward = Forward(cluster, "n", "web", 80, 0, wait=30)
    forward.start()
    busy = dial(forward)
    assert ask(busy) == "a"
    cluster.pods = []
    waiting = dial(forward)
    until(lambda: forward.stats.last_error)
    start = time.monotonic()
    forward.stop()
    forward.stop()
    assert time.monotonic() - start < 2
    assert (busy.recv(1), waiting.recv(1)) == (b"", b"")
    assert forward.stats.dropped == 0, "what stop ends is no fault"
    listen(forward.local_port).close()
    busy.close()
    waiting.close()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "forward-web"])


def test_a_taken_port_names_its_holder(cluster: FakeCluster) -> None:
    with closing(listen(0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PreconditionError) as caught:
            Forward(cluster, "n", "web", 80, port).start()
    assert caught.value.message.startswith(f"port {port} is taken by process {os.getpid()} (")


def test_check_takes_any_answer_for_a_proof(forward: Forward, cluster: FakeCluster) -> None:
    class Http(FakeTunnel):
        def carry(self, local: socket.socket) -> Traffic:
            local.recv(4096)
            local.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")
            return Traffic(0, 0, "")

    cluster.connect = lambda namespace, pod, port: Http(pod)  # type: ignore[method-assign]
    assert forward.check("/version") == Ready("HTTP 404")
    cluster.service = None
    assert forward.check() == Pending("there is no service n/web")


@pytest.mark.parametrize(
    ("pods", "port", "expected"),
    [
        ([pod("a")], 80, ("a", 8080)),
        ([pod("a")], "http", ("a", 8080)),
        ([pod("a")], 81, ("a", 81)),
        ([pod("old"), pod("new", born="2026-01-02T00:00:00Z")], 80, ("new", 8080)),
        ([pod("old"), pod("new", born="2026-01-02T00:00:00Z", ready=False)], 80, ("old", 8080)),
        ([pod("old"), pod("new", born="2026-01-02T00:00:00Z", leaving=True)], 80, ("old", 8080)),
    ],
)
def test_pick(pods: list[Object], port: int | str, expected: tuple[str, int]) -> None:
    assert pick_pod(SERVICE, pods, port) == expected


@pytest.mark.parametrize(
    ("pods", "port", "message"),
    [
        ([], 80, "no ready pod behind service n/web"),
        ([{"metadata": {"name": "half"}}], 80, "no ready pod"),
        ([pod("a")], 99, "service n/web has no port 99"),
        ([{**pod("a"), "spec": {}}], 80, "pod a has no port called main"),
    ],
)
def test_pick_says_what_is_missing(pods: list[Object], port: int, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        pick_pod(SERVICE, pods, port)


def test_an_end_that_meets_a_connection_just_begun_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a thread is about to run, another one ends the forward."""
    forward = Forward(FakeCluster(pod("a")), "n", "web", 80, 0)
    start, failures = threading.Thread.start, list[BaseException]()

    def stop() -> None:
        try:
            forward.stop()
        except RuntimeError as error:
            failures.append(error)

    stopping = threading.Thread(target=stop)

    def late(thread: threading.Thread) -> None:
        if stopping.ident is None:
            start(stopping)
            stopping.join(0.1)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", late)
    forward.start()
    stopping.join(10)
    forward.stop()
    assert failures == []
