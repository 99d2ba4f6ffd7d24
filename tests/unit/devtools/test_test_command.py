"""The order of the checks, what ends them, and what is said at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

import pytest

import tasks
from bootstrap.core.errors import PreconditionError, UsageError
from bootstrap.core.paths import PROJECT
from bootstrap.devtools import test_command
from bootstrap.devtools.lanes import Lane
from bootstrap.supply.source import Source
from bootstrap.world import World
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeReport
from tests.unit.page_world import FakeKube, make_world

RUFF, FORMAT, MYPY = (f"{sys.executable} -m {words}" for words in ("ruff check", "ruff format", "mypy"))
PYTEST = f"{sys.executable} -m pytest"
CLOSING = "===== 3 passed in 0.10s ====="
GOOD: Mapping[str, str | Output] = {RUFF: "fine\n", FORMAT: "", MYPY: "Success\n", PYTEST: f"...\n\n{CLOSING}\n"}


def world_of(folder: Path, answers: Mapping[str, str | Output]) -> tuple[World, FakeShell, FakeReport]:
    shell, report = FakeShell(answers), FakeReport()
    world = replace(make_world(folder, FakeKube(), report=report), shell=shell, project=folder)
    return world, shell, report


def lines(report: FakeReport) -> list[str]:
    return [said[1] for said in report.printed if said[0] == "line"]


def test_fast_is_the_quick_ones(tmp_path: Path) -> None:
    world, shell, report = world_of(tmp_path, GOOD)
    assert test_command.test(world, fast=True) == 0
    assert sorted(ran.split()[2] for ran in shell.ran) == ["mypy", "pytest", "ruff", "ruff"]
    [tests] = [ran for ran in shell.ran if "pytest" in ran]
    assert re.search(r" -n \d+ tests/unit tests/golden ", tests)
    assert lines(report)[-1] == CLOSING


def test_all_quick_ones_run_and_the_first_failure_decides(tmp_path: Path) -> None:
    bad: dict[str, str | Output] = {
        **GOOD,
        FORMAT: Output(7, "1 file would be reformatted\n", ""),
        MYPY: Output(2, "", ""),
    }
    world, shell, report = world_of(tmp_path, bad)
    assert test_command.test(world) == 7
    assert len(shell.ran) == 4, "what takes minutes is not begun"
    [table] = [said for said in report.printed if said[0] == "table"]
    assert [row[0] for row in table[2]] == ["ok", "FAIL", "FAIL", "ok"]
    assert table[2][1][2] == "1 file would be reformatted"
    assert "ruff format failed with code 7; its output: build/test/style.log" in lines(report)


def test_missing_tools_are_named_with_the_command_that_installs_them() -> None:
    with pytest.raises(PreconditionError) as missing:
        test_command.require_tools(("ruff", "no_such_tool"))
    assert "(no-such-tool)" in missing.value.message
    assert missing.value.hint == "pip install -r requirements-dev.txt"


def test_a_supply_that_does_not_build_is_refused(tmp_path: Path) -> None:
    world, _, _ = world_of(tmp_path, GOOD)
    with pytest.raises(PreconditionError, match="supply source"):
        test_command.provide(world)


class Go:
    """A toolchain for another machine than this one."""

    toolchain = cast(Any, type("Toolchain", (), {"go": Path("/go")}))

    def make_environment(self) -> dict[str, str]:
        return {"GOOS": "linux", "GOARCH": "riscv", "GOFLAGS": "-mod=readonly"}


class Supply:
    def provide_go(self, _: object) -> Go:
        return Go()


def test_go_code_is_tested_for_this_machine() -> None:
    checks = test_command.go_checks(cast(Source, Supply()))
    assert [check.argv for check in checks[:2]] == [("/go", "vet", "./..."), ("/go", "test", "-count=1", "./...")]
    assert {check.env["GOARCH"] for check in checks} == {""}
    assert all((PROJECT / check.cwd / "go.mod").exists() for check in checks)


def test_every_module_with_go_tests_is_tested() -> None:
    found = {path.parent for root in ("images", "demo") for path in (PROJECT / root).rglob("*_test.go")}
    assert found <= {PROJECT / module for module in test_command.OWN_MODULES}


def slow(keep: bool = False) -> dict[str, Lane]:
    return {lane.name: lane for lane in test_command.slow_lanes(cast(Source, Supply()), "/programs", keep)}


def test_the_cluster_tests_get_their_programs_and_the_wish_to_keep() -> None:
    [integration], [e2e] = slow(keep=True)["integration"].checks, slow(keep=True)["e2e"].checks
    assert integration.env["TEKTON_BOOTSTRAP_TEST_BIN"] == "/programs"
    assert {"--e2e", "--keep"} <= set(e2e.argv)
    assert "--keep" not in slow()["e2e"].checks[0].argv


def test_every_end_to_end_test_is_in_one_lane() -> None:
    [main], [others] = slow()["e2e"].checks, slow()["e2e-others"].checks
    [pattern] = [word.partition("=")[2] for word in main.argv if word.startswith("--ignore-glob=")]
    everything = {f"tests/e2e/{path.name}" for path in (PROJECT / "tests/e2e").glob("test_*.py")}
    named = {word for word in others.argv if word.startswith("tests/e2e/")}
    assert named == {path for path in everything if fnmatch(path, pattern)}
    assert named < everything


def test_lanes_have_the_names_that_can_be_chosen() -> None:
    assert tuple(lane.name for lane in test_command.quick_lanes()) == test_command.QUICK
    assert tuple(slow()) == test_command.SLOW
    assert all(name in tasks.test.help["lane"] for name in test_command.QUICK + test_command.SLOW)


def test_a_lane_runs_alone(tmp_path: Path) -> None:
    world, shell, _ = world_of(tmp_path, GOOD)
    assert test_command.test(world, lane="style") == 0
    assert [ran.split()[2] for ran in shell.ran] == ["ruff", "ruff", "mypy"]
    assert test_command.choose_lanes("e2e, go", fast=False) == ["e2e", "go"]


def test_a_lane_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    world, shell, _ = world_of(tmp_path, GOOD)
    with pytest.raises(UsageError, match="no lane gp"):
        test_command.test(world, lane="go,gp")
    assert shell.ran == []


def test_evidence_of_an_earlier_run_is_gone(tmp_path: Path) -> None:
    world, _, _ = world_of(tmp_path, GOOD)
    old = tmp_path / "build/test/evidence/test_old"
    old.mkdir(parents=True)
    test_command.test(world, fast=True)
    assert not old.exists()


@pytest.mark.parametrize(
    ("cores", "memory", "width"), [(1, 1.0, 1), (2, 23.0, 2), (4, 7.8, 1), (4, 15.6, 3), (16, 64, 4)]
)
def test_slow_lanes_are_side_by_side_where_the_machine_allows(cores: int, memory: float, width: int) -> None:
    assert test_command.slow_width(cores, memory) == width


def test_files_of_the_python_tests_that_go_tests_read_are_there() -> None:
    """Go's tests run long after these."""
    sources = [path for root in ("images", "demo") for path in (PROJECT / root).rglob("*_test.go")]
    named = {
        path.parent / found for path in sources for found in re.findall(r'"((?:\.\./)+tests[^"]*)"', path.read_text())
    }
    assert named
    assert sorted(str(path) for path in named if not path.exists()) == []
