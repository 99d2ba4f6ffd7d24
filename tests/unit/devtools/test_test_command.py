"""The order of the checks, what ends them, and what is said at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.core.paths import PROJECT
from bootstrap.devtools import test_command
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

    def environ(self) -> dict[str, str]:
        return {"GOOS": "linux", "GOARCH": "riscv", "GOFLAGS": "-mod=readonly"}


class Supply:
    def go(self, _: object) -> Go:
        return Go()


def test_go_code_is_tested_for_this_machine() -> None:
    checks = test_command.go_checks(cast(Source, Supply()))
    assert [check.argv for check in checks[:2]] == [("/go", "vet", "./..."), ("/go", "test", "-count=1", "./...")]
    assert {check.env["GOARCH"] for check in checks} == {""}
    assert all((PROJECT / check.cwd / "go.mod").exists() for check in checks)


def test_every_module_with_go_tests_is_tested() -> None:
    found = {path.parent for root in ("images", "demo") for path in (PROJECT / root).rglob("*_test.go")}
    assert found <= {PROJECT / module for module in test_command.OWN_MODULES}


def test_the_cluster_tests_get_their_programs_and_the_wish_to_keep() -> None:
    integration, e2e = test_command.cluster_checks("/programs", keep=True)
    assert integration.env["TEKTON_BOOTSTRAP_TEST_BIN"] == "/programs"
    assert {"--e2e", "--keep"} <= set(e2e.argv)
    assert "--keep" not in test_command.cluster_checks("/programs", keep=False)[1].argv
