"""Checks in lanes: those of one lane run one after another, the lanes side by side."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.core.errors import TimedOut
from bootstrap.world import World

LOGS = Path("build/test")
"""In the checkout: everything that the checks printed, a file per lane, and what tests that failed left as evidence."""
CAUSES = ("FAILED ", "ERROR ")
"""How the lines begin by which pytest names what failed."""
TOO_LONG = 124
"""Exit code of a check that did not end in time, as `timeout` has it."""


@dataclass(frozen=True)
class Check:
    """One program to run in the checkout. limit: seconds. env: added to ours, "" removes a name."""

    name: str
    argv: Sequence[str]
    limit: float
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."


@dataclass(frozen=True)
class Lane:
    name: str
    checks: Sequence[Check]


@dataclass(frozen=True)
class Result:
    """closing: the last line that the program printed, which says how it went. causes: what pytest said failed."""

    lane: str
    name: str
    code: int
    seconds: float
    closing: str
    causes: Sequence[str] = ()


def run_lanes(world: World, lanes: Sequence[Lane], width: int) -> list[Result]:
    """Run all checks, also after one that failed; `width` lanes at the same time. Results are in the order of lanes.

    Every line that a check prints is shown with the lane's name before it, and kept in a file of the lane in LOGS.
    Raises Interrupted.
    """
    if not lanes:
        return []
    pool = ThreadPoolExecutor(width, thread_name_prefix="lane")
    try:
        futures = [pool.submit(_run_lane, world, lane) for lane in lanes]
        return [result for future in futures for result in future.result()]
    except BaseException:
        world.cancel.request()  # the threads wait for programs: those end first
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _run_lane(world: World, lane: Lane) -> list[Result]:
    with _Output.of(world, lane.name) as output:
        return [_run(world, check, output) for check in lane.checks]


class _Output:
    """Where a lane's lines go: to the terminal, with its name before them, and to its file."""

    def __init__(self, world: World, lane: str, log: Path) -> None:
        self.lane = lane
        self._world = world
        self._lock = threading.Lock()
        self._file = log.open("w")

    @staticmethod
    @contextmanager
    def of(world: World, lane: str) -> Iterator[_Output]:
        folder = world.project / LOGS
        folder.mkdir(parents=True, exist_ok=True)
        output = _Output(world, lane, folder / f"{lane}.log")
        with output._file:
            yield output

    def line(self, text: str) -> None:
        """Of stdout and stderr, which two threads read."""
        text = text.rstrip("\n")
        with self._lock:
            self._file.write(f"{text}\n")
            self._file.flush()
        self._world.report.line(f"{self.lane} | {text}")


def _run(world: World, check: Check, output: _Output) -> Result:
    words = shlex.join([Path(check.argv[0]).name, *check.argv[1:]])
    place = "" if check.cwd == "." else f" (in {check.cwd})"
    output.line(f"== {check.name}: {words}{place}")
    start = world.clock.now()
    try:
        ended = world.shell.run(
            check.argv,
            env=check.env,
            cwd=world.project / check.cwd,
            limit=check.limit,
            check=False,
            on_line=output.line,
        )
        code, closing, causes = ended.code, closing_line(ended.stdout), causes_in(ended.stdout)
    except TimedOut as error:  # the other lanes go on
        code, closing, causes = TOO_LONG, error.message, []
    seconds = world.clock.now() - start
    output.line(f"== {check.name}: {f'exit {code}' if code else 'ok'}, {seconds:.1f} s")
    return Result(output.lane, check.name, code, seconds, closing, causes)


def closing_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def causes_in(text: str) -> list[str]:
    """The lines of pytest's summary that name what failed."""
    return [line for line in text.splitlines() if line.startswith(CAUSES)]


def conclude(world: World, results: Sequence[Result]) -> int:
    """A table of all; below it what failed and where its output is, and pytest's closing lines as they were.

    Answers the code of the first that failed, else 0.
    """
    rows = [
        ["FAIL" if result.code else "ok", result.name, result.closing.strip("= "), f"{result.seconds:.1f} s"]
        for result in results
    ]
    world.report.line("")
    world.report.table(["", "check", "", ""], rows)
    failed = [result for result in results if result.code]
    for result in failed:
        world.report.line(f"{result.name} failed with code {result.code}; its output: {LOGS / result.lane}.log")
        for cause in result.causes:
            world.report.line(f"  {cause}")
    for result in results:
        if result.closing.startswith("="):
            world.report.line(result.closing)
    return failed[0].code if failed else 0
