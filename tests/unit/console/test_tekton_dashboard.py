"""The forward to Tekton Dashboard: there where it is installed, on its port or another, and gone afterwards."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

from bootstrap.console.serve import forward_tekton_dashboard
from bootstrap.core.errors import ApiError
from bootstrap.settings.config import Config, DashboardSettings
from bootstrap.steps.registry import find_free_port
from tests.unit.step_world import StepWorld, make

SERVICE = {"kind": "Service", "metadata": {"name": "tekton-dashboard", "namespace": "tekton-pipelines"}}


def world_with(tmp_path: Path, port: int) -> StepWorld:
    world = make(tmp_path, replace(Config(), dashboard=DashboardSettings(tekton_port=port)))
    world.kube.put(SERVICE)
    return world


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_it_is_forwarded_to_its_port_while_the_block_runs(tmp_path: Path) -> None:
    port = find_free_port()
    world = world_with(tmp_path, port)
    with forward_tekton_dashboard(world.open()) as address:
        assert address == f"http://127.0.0.1:{port}"
        assert listens(port)
    assert not listens(port)
    assert world.report.printed == [("line", f"Tekton Dashboard, which only reads: http://127.0.0.1:{port}")]


def test_another_port_is_taken_and_told_where_its_own_is_not_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        world = world_with(tmp_path, port)
        with forward_tekton_dashboard(world.open()) as address:
            assert address != f"http://127.0.0.1:{port}"
            assert listens(int(address.rpartition(":")[2]))
    assert [kind for kind, *_ in world.report.printed] == ["warn", "line"]


def test_there_is_nothing_to_forward_without_it(tmp_path: Path) -> None:
    world = make(tmp_path)
    with forward_tekton_dashboard(world.open()) as address:
        assert address == ""
    world.kube.error = ApiError("the API server does not answer", status=0)
    with forward_tekton_dashboard(world.open()) as address:
        assert address == ""
    assert world.report.printed == []
