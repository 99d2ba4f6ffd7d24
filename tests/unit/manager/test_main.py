"""The program `manager`: it waits for the Lease, leads, and gives the Lease back. kopf itself is not run."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from bootstrap.incluster.kube_api import Api
from bootstrap.manager import __main__ as program
from tests.unit.incluster.lease_server import LeaseServer, make_lease

ENVIRON = {"NAMESPACE": "cicd", "POD": "manager-1"}


class Way(LeaseServer):
    """In the place of ApiLeases."""

    def __call__(self, api: Any, namespace: str, name: str) -> Way:
        assert (api, namespace, name) == ("api", "cicd", "manager")
        return self


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Way:
    made = Way()
    monkeypatch.setattr(Api, "from_environ", lambda environ, seconds: "api")
    monkeypatch.setattr(program, "ApiLeases", made)
    return made


def operate(monkeypatch: pytest.MonkeyPatch, server: Way, raised: Exception | None = None) -> list[str]:
    """Who held the Lease each time that the operator ran."""
    held: list[str] = []

    async def operator(*, standalone: bool, namespaces: list[str], memo: Any, stop_flag: asyncio.Event) -> None:
        assert (standalone, namespaces) == (True, ["cicd"])
        held.append(server.spec["holderIdentity"])
        if raised:
            raise raised

    monkeypatch.setattr("kopf.operator", operator)
    return held


def test_the_operator_runs_while_the_lease_is_held(monkeypatch: pytest.MonkeyPatch, server: Way) -> None:
    held = operate(monkeypatch, server)
    asyncio.run(program.lead(ENVIRON, 0))
    assert (held, server.spec["holderIdentity"]) == (["manager-1"], "")


def test_the_lease_is_given_back_whatever_ends_the_operator(monkeypatch: pytest.MonkeyPatch, server: Way) -> None:
    operate(monkeypatch, server, RuntimeError("kopf"))
    with pytest.raises(RuntimeError, match="kopf"):
        asyncio.run(program.lead(ENVIRON, 0))
    assert server.spec["holderIdentity"] == ""


def test_one_that_is_ended_while_it_waits_has_done_nothing(monkeypatch: pytest.MonkeyPatch, server: Way) -> None:
    held = operate(monkeypatch, server)
    server.put(make_lease("manager-0"))

    async def run() -> None:
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await program.lead(ENVIRON, 0)

    asyncio.run(run())
    assert (held, server.spec["holderIdentity"]) == ([], "manager-0")
    assert "write" not in server.log
