"""`invoke dashboard` and `invoke listener`: from their first line to Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import listener
from bootstrap.commands.listener import ForwardWatch
from bootstrap.console import serve
from bootstrap.console.server import Console
from bootstrap.core.errors import ApiError, Interrupted, PreconditionError
from bootstrap.core.model import Object
from bootstrap.world import World
from bootstrap.world.kube.service_forward import Stats
from tests.unit import page_world as stage
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.page_world import FakeKube


def lines(report: FakeReport) -> list[str]:
    assert not [kind for kind, *_ in report.printed if kind != "line"]
    return [text for _, text in report.printed]


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "nothing happened within 5 s"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def interrupted_after(action: Callable[[], None]) -> threading.Thread:
    """Runs `action` beside the command, then sends the Ctrl-C, whatever came of the action."""

    def run() -> None:
        try:
            action()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# dashboard


def test_the_dashboard_prints_an_address_with_a_token_of_its_own_and_ends_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch, interrupted=True)
    report, port = FakeReport(), free_port()
    for _ in range(2):
        world = stage.make_world(tmp_path, stage.kube(), report=report)
        assert serve.dashboard(world, port=port) == 0
        assert world.cancel.is_requested
    start, end = f"environment demo: http://127.0.0.1:{port}/?token=", "   (Ctrl-C ends it)"
    tokens = {line.removeprefix(start).removesuffix(end) for line in lines(report)}
    assert len(tokens) == 2
    assert all(len(token) == 32 for token in tokens)


def served(monkeypatch: pytest.MonkeyPatch, *, interrupted: bool = False) -> list[str]:
    """The addresses that consoles listen on, in place of serving."""
    bound: list[str] = []

    def serve(self: Console) -> None:
        bound.append(self._socket.getsockname()[0])
        self._socket.close()
        self.watch_cache.close()  # as the real one does, however it ends
        if interrupted:
            raise KeyboardInterrupt

    monkeypatch.setattr(Console, "serve", serve)
    return bound


def test_the_dashboard_listens_on_loopback_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = served(monkeypatch)
    world = with_ports(stage.make_world(tmp_path, stage.kube()), dashboard=free_port())
    assert serve.dashboard(world) == 0
    world.config = replace(world.config, dashboard=replace(world.config.dashboard, host="0.0.0.0"))  # noqa: S104
    assert serve.dashboard(world) == 0
    assert bound == ["127.0.0.1", "0.0.0.0"]  # noqa: S104


def test_the_port_of_the_settings_gives_way_to_the_next_free_one_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch)
    report = FakeReport()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        world = with_ports(stage.make_world(tmp_path, stage.kube(), report=report), dashboard=taken)
        assert serve.dashboard(world) == 0
    told, address = lines(report)
    found = re.fullmatch(rf"port {taken} is taken by process {os.getpid()}.*; the console takes (\d+)", told)
    assert found
    assert f"http://127.0.0.1:{found[1]}/" in address


def with_ports(world: World, **ports: int) -> World:
    groups: dict[str, Any] = {name: replace(getattr(world.config, name), port=port) for name, port in ports.items()}
    world.config = replace(world.config, **groups)
    return world


@pytest.mark.parametrize(("found", "warned"), [(True, []), (False, ["no browser was found; open "])])
def test_the_browser_is_opened_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool, warned: list[str]
) -> None:
    opened: list[str] = []

    def open_(url: str) -> bool:
        opened.append(url)
        return found

    monkeypatch.setattr("webbrowser.open", open_)
    served(monkeypatch)
    report, port = FakeReport(), free_port()
    world = stage.make_world(tmp_path, stage.kube(), report=report)
    assert serve.dashboard(world, port=port) == 0
    assert opened == []
    assert serve.dashboard(world, port=port, browse=True) == 0
    assert [url.partition("=")[0] for url in opened] == [f"http://127.0.0.1:{port}/?token"]
    assert [text.removesuffix(opened[0]) for kind, text in report.printed if kind == "warn"] == warned


def test_tekton_dashboard_is_linked_when_it_is_found_and_let_go_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    @contextlib.contextmanager
    def forwarded(_: World) -> Iterator[str]:
        yield "http://127.0.0.1:9097"
        told.append("let go")

    def serve_once(self: Console) -> None:
        self.watch_cache.settled.set()
        until(lambda: self.links)
        told.append(self.links["Tekton Dashboard"])
        self._socket.close()

    monkeypatch.setattr(serve, "forward_tekton_dashboard", forwarded)
    monkeypatch.setattr(Console, "serve", serve_once)
    assert serve.dashboard(stage.make_world(tmp_path, stage.kube()), port=free_port()) == 0
    assert told == ["http://127.0.0.1:9097", "let go"]


def test_an_api_server_that_does_not_answer_keeps_no_address_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def silent(_: World) -> Any:
        answered.wait(10)
        raise ApiError("it did not answer", status=0)

    def serve_once(self: Console) -> None:
        assert len(lines(report)) == 1
        self.watch_cache.settled.set()
        answered.set()
        self._socket.close()

    monkeypatch.setattr(serve, "forward_tekton_dashboard", silent)
    monkeypatch.setattr(Console, "serve", serve_once)
    report = FakeReport()
    assert serve.dashboard(stage.make_world(tmp_path, stage.kube(), report=report), port=free_port()) == 0
    assert [kind for kind, *_ in report.printed] == ["line", "warn"]


@pytest.mark.parametrize("command", [serve.dashboard, listener.listener])
def test_a_taken_port_names_its_holder_and_what_to_type(tmp_path: Path, command: Callable[..., int]) -> None:
    world = stage.make_world(tmp_path, listener_kube())
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PreconditionError) as caught:
            command(world, port=port)
    assert f"port {port} is taken by process {os.getpid()}" in caught.value.message
    assert caught.value.hint == f"invoke {command.__name__} --port {port + 1}"


# listener


def listener_kube(*pods: str) -> FakeKube:
    kube = stage.kube()
    kube.objects["Service"] = [
        {
            "metadata": {"name": "el-demo-listener", "namespace": "cicd"},
            "spec": {"selector": {"eventlistener": "demo"}, "ports": [{"port": 8080, "targetPort": 8080}]},
        }
    ]
    kube.objects["Pod"] = [pod(name) for name in pods]
    return kube


def pod(name: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "cicd", "labels": {"eventlistener": "demo"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def listen(tmp_path: Path, kube: FakeKube, *events: Callable[[], None], end: BaseException) -> list[str]:
    """What `invoke listener` printed: each event happens during one of its pauses, then `end` comes."""
    report, todo = FakeReport(), [*events]

    def on_sleep(_: float) -> None:
        if not todo:
            raise end
        todo.pop(0)()

    world = stage.make_world(tmp_path, kube, report=report, clock=FakeClock(on_sleep=on_sleep))
    assert listener.listener(world, port=free_port()) == 0
    return lines(report)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), Interrupted("stopped")])
def test_the_listener_tells_what_changes_and_ends_with_0(tmp_path: Path, end: BaseException) -> None:
    kube = listener_kube("el-1")

    def pods(*names: str) -> Callable[[], None]:
        return lambda: kube.objects.update(Pod=[pod(name) for name in names])

    def down() -> None:
        kube.error = ApiError("the API does not answer", status=0)

    def up() -> None:
        kube.error = None

    said = listen(tmp_path, kube, pods("el-1"), pods(), pods(), pods("el-2"), down, up, end=end)
    assert said[0].startswith("http://127.0.0.1:")
    assert said[1:] == [
        "connected to pod el-1",
        "waiting: no ready pod behind service cicd/el-demo-listener",
        "reconnected to pod el-2",
        "waiting: the API does not answer",
        "reconnected to pod el-2",
        "ended after 0 connections, 0 dropped",
    ]


def test_without_a_listener_the_next_command_is_said(tmp_path: Path) -> None:
    kube = listener_kube()
    kube.objects["Service"] = []
    with pytest.raises(PreconditionError) as caught:
        listener.listener(stage.make_world(tmp_path, kube))
    assert "no webhook listener (Service cicd/el-demo-listener)" in caught.value.message
    assert caught.value.hint == "invoke up · invoke status"


def test_drops_are_said_once_with_their_cause() -> None:
    watch = ForwardWatch()
    assert watch.list_changes(Stats(), "a", "") == ["connected to pod a"]
    dropped = Stats(connections=3, dropped=2, last_error="the pod went away")
    assert watch.list_changes(dropped, "a", "") == ["2 connections dropped, 2 in all: the pod went away"]
    assert watch.list_changes(dropped, "a", "") == []
    assert watch.list_changes(Stats(dropped=3), "b", "") == [
        "1 connection dropped, 3 in all: no cause is known",
        "reconnected to pod b",
    ]


def test_a_wait_is_said_once_and_each_new_cause_again() -> None:
    watch = ForwardWatch()
    assert watch.list_changes(Stats(), "", "no pod") == ["waiting: no pod"]
    assert watch.list_changes(Stats(), "", "no pod") == []
    assert watch.list_changes(Stats(), "", "no service") == ["waiting: no service"]
    assert watch.list_changes(Stats(), "a", "") == ["connected to pod a"]
