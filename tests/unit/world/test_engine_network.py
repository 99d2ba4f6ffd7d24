"""The private engine's block of addresses, its names and its packet rules."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.world import host
from bootstrap.world.engine.network import CANDIDATES, EngineNetwork, find_free_block
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell

DEFAULT_ROUTE = IPv4Network("0.0.0.0/0")
NETWORK = EngineNetwork("tb123456", IPv4Network("10.213.0.0/16"))


def test_first_free_block_is_taken() -> None:
    assert find_free_block([DEFAULT_ROUTE, IPv4Network("192.168.1.0/24")]) == CANDIDATES[0]
    assert find_free_block([IPv4Network("10.213.7.0/24"), CANDIDATES[1]]) == CANDIDATES[2]


def test_no_free_block_is_an_error() -> None:
    with pytest.raises(PreconditionError):
        find_free_block([IPv4Network("10.0.0.0/8")])


def test_block_is_chosen_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "list_routes", lambda: [("eth0", CANDIDATES[0])])
    first = EngineNetwork.open(tmp_path)
    assert first.block == CANDIDATES[1]
    monkeypatch.setattr(host, "list_routes", lambda: [("tb", CANDIDATES[1])])  # by now it is our own
    assert EngineNetwork.open(tmp_path) == first


def test_default_bridge_and_pool_do_not_overlap() -> None:
    assert str(NETWORK.gateway) == "10.213.0.1/24"
    assert not NETWORK.gateway.network.overlaps(NETWORK.pool)


def test_bridge_names_fit_the_kernel_and_the_rules(tmp_path: Path) -> None:
    network = EngineNetwork.open(tmp_path)
    name = network.name_bridge("tekton-bootstrap-an-environment-with-a-long-name")
    assert len(name) <= 15
    assert name.startswith(network.prefix)
    assert network.name_bridge("a") != network.name_bridge("b")


def test_rules_that_are_there_are_not_added_again() -> None:
    shell = FakeShell({"ip link": "", "ip address": "", "iptables -w -t nat -C": "", "iptables -w -t filter": ""})
    shell.answers = {**shell.answers, "iptables -w -t filter -C": Output(1, "", "no such rule")}
    NETWORK.create(shell)
    added = [command for command in shell.ran if " -I " in command]
    assert [command.split()[6] for command in added] == ["-i", "-o"]


def test_complete_needs_the_bridge(tmp_path: Path) -> None:
    assert not NETWORK.is_complete(FakeShell())


def test_down_removes_the_rules_that_are_there() -> None:
    shell = FakeShell({"iptables": ""})
    NETWORK.remove(shell)
    assert len([command for command in shell.ran if " -D " in command]) == len(NETWORK.list_rules())
