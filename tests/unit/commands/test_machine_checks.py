"""Machines that are not Debian: what is asked of them, and what is said where something cannot be had there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.commands import check_results, machine_checks
from bootstrap.commands.check_results import Finding
from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.paths import Paths
from bootstrap.settings.config import Config
from bootstrap.supply import rootfs
from bootstrap.world import host
from bootstrap.world.engine import runc_filter
from bootstrap.world.engine.docker import DockerEngine
from bootstrap.world.engine.protocol import Engine, EngineMachine
from tests.unit.fake_shell import FakeShell
from tests.unit.step_world import FakeEngine, make


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS as far as it matters: no /proc, no /sys, no affinity, no apt."""

    def no_such_file(*_: object, **__: object) -> Any:
        raise FileNotFoundError("/proc")

    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for name in ("is_linux", "has_apt"):
        monkeypatch.setattr(host, name, lambda *_: False)
    for name in ("find_cgroup_version", "find_filesystem", "list_routes", "list_processes"):
        monkeypatch.setattr(host, name, no_such_file)
    monkeypatch.setattr(host, "read_memory_gib", lambda measure=host.read_memory_gib: measure(tmp_path))
    monkeypatch.setattr(host, "find_listener", lambda port, look=host.find_listener: look(port, tmp_path))
    monkeypatch.setattr(runc_filter, "read_missing_capabilities", no_such_file)
    monkeypatch.setattr(machine_checks, "examine_network", lambda *_, **__: [])


def paths(home: Path) -> Paths:
    return Paths.of("demo", {"HOME": str(home)})


@pytest.mark.usefixtures("mac")
def test_doctor_has_nothing_of_linux_to_say(tmp_path: Path) -> None:
    engine = FakeEngine()
    found = machine_checks.examine(FakeShell(), cast(Engine, engine), Config(), paths(tmp_path), cold=True)
    names = {finding.name: finding for finding in found}
    assert names["cores, memory, disk"].what.startswith(f"{os.cpu_count()}, ")
    assert names["engine's machine"].what == "Debian GNU/Linux 12, 2 cores, 15.0 GiB"
    assert names["supply"].level == "fail"
    assert not {"kernel", "capabilities"} & set(names)


@pytest.mark.usefixtures("mac")
def test_source_is_refused_before_anything_begins(tmp_path: Path) -> None:
    world = make(tmp_path)
    assert machine_checks.is_cold(world.open())
    with pytest.raises(PreconditionError) as raised:
        machine_checks.check_before_up(FakeShell(), cast(Engine, _Chosen()), Config(), world.paths, cold=True)
    assert "source builds on Debian or Ubuntu only" in raised.value.evidence
    assert "--bundle FILE" in raised.value.evidence


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize("supply", ["bundle", "mirror"])
def test_other_supplies_are_not(tmp_path: Path, supply: str) -> None:
    found = check_results.judge_builder(supply, builds=host.has_apt(), built=False)
    assert found == Finding("ok", "supply", supply)


class _Chosen(FakeEngine):
    choice = "docker"


def test_a_fedora_says_what_to_use_instead(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=fedora\nVERSION_ID=42\n")
    with pytest.raises(PreconditionError) as raised:
        rootfs.read_machine_sources(tmp_path)
    assert "--bundle FILE" in raised.value.hint


@pytest.mark.parametrize(
    ("memory", "rootless", "cgroups", "level"),
    [(15, False, 1, "ok"), (15, True, 2, "ok"), (15, True, 1, "fail"), (2, False, 2, "warn")],
)
def test_the_engines_own_machine(memory: float, rootless: bool, cgroups: int, level: str) -> None:
    found = check_results.judge_engine_machine("Docker Desktop", 4, memory, rootless=rootless, cgroups=cgroups)
    assert found.level == level
    assert ("rootless" in found.what) is rootless


INFO = """{"OperatingSystem": "Docker Desktop", "NCPU": 4, "MemTotal": 8589934592, "CgroupVersion": "2",
"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}"""


def test_what_docker_says_of_it(tmp_path: Path) -> None:
    shell = FakeShell({"docker version": "27.0\n", "docker info": INFO}, {"docker": "/docker"})
    found = DockerEngine(shell, paths(tmp_path), "docker").read_machine()
    assert found == EngineMachine("Docker Desktop", 4, 8.0, rootless=True, cgroups=2)


def test_an_engine_that_does_not_answer_is_told_once() -> None:
    class Silent(FakeEngine):
        def read_machine(self) -> EngineMachine:
            raise CommandError("docker info failed", code=1)

    assert machine_checks.examine_engine_machine(cast(Engine, Silent())) == []
