"""What runs beside what, what is shown of it and kept, and what is said at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import Interrupted, TimedOut
from bootstrap.devtools import lanes
from bootstrap.devtools.lanes import Check, Lane, Result
from bootstrap.world import World
from bootstrap.world.shell import Output
from tests.unit.fakes import FakeReport
from tests.unit.page_world import FakeKube, make_world

CLOSING = "===== 1 failed, 3 passed in 0.10s ====="


@dataclass
class Programs:
    """What each program does; it is told where its lines go. Any other fails the test."""

    known: dict[str, Callable[[Callable[[str], None]], Output]]
    ran: list[str] = field(default_factory=list)

    def run(self, argv: list[str], *, on_line: Callable[[str], None], **_: Any) -> Output:
        self.ran.append(argv[0])
        return self.known[argv[0]](on_line)


def world_of(folder: Path, **known: Callable[[Callable[[str], None]], Output]) -> tuple[World, Programs, FakeReport]:
    programs, report = Programs(known), FakeReport()
    world = make_world(folder, FakeKube(), report=report)
    return replace(world, shell=cast(Any, programs), project=folder), programs, report


def lane(name: str, *programs: str) -> Lane:
    return Lane(name, [Check(program, (program,), 60) for program in programs])


def said(report: FakeReport) -> list[str]:
    return [each[1] for each in report.printed if each[0] == "line"]


def prints(text: str, code: int = 0) -> Callable[[Callable[[str], None]], Output]:
    def run(on_line: Callable[[str], None]) -> Output:
        for line in text.splitlines(keepends=True):
            on_line(line)
        return Output(code, text, "")

    return run


def test_lanes_run_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=30)

    def meets(_: Callable[[str], None]) -> Output:
        both.wait()  # breaks when the other one does not come
        return Output(0, "met\n", "")

    world, _, _ = world_of(tmp_path, a=meets, b=meets)
    found = lanes.run_lanes(world, [lane("one", "a"), lane("two", "b")], 2)
    assert [(each.lane, each.closing) for each in found] == [("one", "met"), ("two", "met")]


def test_checks_of_a_lane_run_in_order_also_after_one_that_failed(tmp_path: Path) -> None:
    world, programs, _ = world_of(tmp_path, a=prints("", 3), b=prints(""), c=prints(""))
    found = lanes.run_lanes(world, [lane("one", "a", "b"), lane("two", "c")], 1)
    assert programs.ran == ["a", "b", "c"]
    assert [each.code for each in found] == [3, 0, 0]


def test_every_line_is_shown_with_its_lane_and_kept_in_its_file(tmp_path: Path) -> None:
    world, _, report = world_of(tmp_path, a=prints("first\nsecond\n"))
    lanes.run_lanes(world, [lane("one", "a")], 1)
    assert [line for line in said(report) if "==" not in line] == ["one | first", "one | second"]
    kept = (tmp_path / "build/test/one.log").read_text().splitlines()
    assert kept[1:3] == ["first", "second"]


def test_a_check_that_takes_too_long_fails_and_the_others_go_on(tmp_path: Path) -> None:
    def hangs(_: Callable[[str], None]) -> Output:
        raise TimedOut("a did not end within 60 s")

    world, _, _ = world_of(tmp_path, a=hangs, b=prints(""))
    found = lanes.run_lanes(world, [lane("one", "a", "b")], 1)
    assert [(each.code, each.closing) for each in found] == [(124, "a did not end within 60 s"), (0, "")]
    assert lanes.conclude(world, found) == 124


def test_an_interruption_ends_what_runs_beside(tmp_path: Path) -> None:
    stopped = threading.Event()

    def is_interrupted(_: Callable[[str], None]) -> Output:
        raise Interrupted("stopped")

    def waits(_: Callable[[str], None]) -> Output:
        assert stopped.wait(30), "nobody was told to stop"
        raise Interrupted("stopped")

    world, _, _ = world_of(tmp_path, a=is_interrupted, b=waits)
    world.cancel.on_request(stopped.set)
    with pytest.raises(Interrupted):
        lanes.run_lanes(world, [lane("one", "a"), lane("two", "b")], 2)


def test_the_end_names_what_failed_and_repeats_the_closing_lines(tmp_path: Path) -> None:
    summary = f"...\nFAILED tests/unit/test_a.py::test_b - assert 1 == 2\n{CLOSING}\n"
    world, _, report = world_of(tmp_path, a=prints(summary, 1), b=prints("fine\n"))
    found = lanes.run_lanes(world, [lane("one", "a"), lane("two", "b")], 2)
    report.printed.clear()
    assert lanes.conclude(world, found) == 1
    assert said(report)[1:] == [
        "a failed with code 1; its output: build/test/one.log",
        "  FAILED tests/unit/test_a.py::test_b - assert 1 == 2",
        CLOSING,
    ]
    [table] = [each for each in report.printed if each[0] == "table"]
    assert [row[:3] for row in table[2]] == [["FAIL", "a", CLOSING.strip("= ")], ["ok", "b", "fine"]]


def test_the_code_is_that_of_the_first_that_failed(tmp_path: Path) -> None:
    world, _, _ = world_of(tmp_path)
    found = [Result("one", name, code, 0.1, "") for name, code in (("a", 0), ("b", 7), ("c", 2))]
    assert lanes.conclude(world, found) == 7
    assert lanes.conclude(world, found[:1]) == 0


@pytest.mark.parametrize(
    ("text", "closing"), [("", ""), ("a\n\n  \n", "a"), (f"x\n{CLOSING}\n", CLOSING), ("one line", "one line")]
)
def test_closing_line(text: str, closing: str) -> None:
    assert lanes.closing_line(text) == closing
