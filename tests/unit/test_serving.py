"""`invoke dashboard` and `invoke listener`: from their first line to Ctrl-C."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap import serving
from bootstrap.errors import ApiError, Interrupted, PreconditionError
from bootstrap.model import Object
from bootstrap.serving import Watch
from bootstrap.world import World
from bootstrap.world.forward import Stats
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


def test_the_dashboard_serves_on_the_port_it_prints_and_ends_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, port = FakeReport(), free_port()
    world = stage.make_world(tmp_path, stage.kube(), report=report)
    monkeypatch.setattr("bootstrap.serving.flows.steps", lambda _: [])
    answers: list[int] = []

    def read() -> None:
        until(lambda: report.printed)
        for path in ("/", "/api/status"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            answers.append(connection.getresponse().status)
            connection.close()

    reader = interrupted_after(read)
    assert serving.dashboard(world, port=port) == 0
    reader.join(5)
    assert lines(report) == [f"environment demo: http://127.0.0.1:{port}/   (Ctrl-C ends it)"]
    assert answers == [200, 200]
    assert world.cancel.requested
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again


def test_the_dashboard_listens_on_loopback_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[str] = []
    monkeypatch.setattr(
        "bootstrap.serving.Server.serve_forever", lambda self: bound.append(self.socket.getsockname()[0])
    )
    world = with_ports(stage.make_world(tmp_path, stage.kube()), dashboard=free_port())
    assert serving.dashboard(world) == 0
    assert bound == ["127.0.0.1"]


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
    monkeypatch.setattr("bootstrap.serving.Server.serve_forever", lambda _: None)
    report, port = FakeReport(), free_port()
    world = stage.make_world(tmp_path, stage.kube(), report=report)
    assert serving.dashboard(world, port=port) == 0
    assert opened == []
    assert serving.dashboard(world, port=port, browse=True) == 0
    assert opened == [f"http://127.0.0.1:{port}/"]
    assert [text.removesuffix(opened[0]) for kind, text in report.printed if kind == "warn"] == warned


@pytest.mark.parametrize("command", ["dashboard", "listener"])
def test_a_taken_port_names_its_holder_and_what_to_type(tmp_path: Path, command: str) -> None:
    world = stage.make_world(tmp_path, listener_kube())
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PreconditionError) as caught:
            getattr(serving, command)(world, port=port)
    assert f"port {port} is taken by process {os.getpid()}" in caught.value.message
    assert caught.value.hint == f"invoke {command} --port {port + 1}"


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
    assert serving.listener(world, port=free_port()) == 0
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
        serving.listener(stage.make_world(tmp_path, kube))
    assert "no webhook listener (Service cicd/el-demo-listener)" in caught.value.message
    assert caught.value.hint == "invoke up · invoke status"


def test_drops_are_said_once_with_their_cause() -> None:
    watch = Watch()
    assert watch.news(Stats(), "a", "") == ["connected to pod a"]
    dropped = Stats(connections=3, dropped=2, last_error="the pod went away")
    assert watch.news(dropped, "a", "") == ["2 connections dropped, 2 in all: the pod went away"]
    assert watch.news(dropped, "a", "") == []
    assert watch.news(Stats(dropped=3), "b", "") == [
        "1 connection dropped, 3 in all: no cause is known",
        "reconnected to pod b",
    ]


def test_a_wait_is_said_once_and_each_new_cause_again() -> None:
    watch = Watch()
    assert watch.news(Stats(), "", "no pod") == ["waiting: no pod"]
    assert watch.news(Stats(), "", "no pod") == []
    assert watch.news(Stats(), "", "no service") == ["waiting: no service"]
    assert watch.news(Stats(), "a", "") == ["connected to pod a"]
