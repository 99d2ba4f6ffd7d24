"""Which parts run, in what order, how an error ends it, and that the estimate is an honest one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from bootstrap.core.errors import CommandError
from bootstrap.supply import build_scheduler
from bootstrap.supply.build_scheduler import (
    Progress,
    Task,
    compute_critical_paths,
    find_missing,
    format_minutes,
    run_tasks,
)
from tests.unit.fakes import FakeClock, FakeLine

LIMIT = 10.0


@dataclass
class Site:
    """Parts that are built in memory. works: what a part does besides; built: names in order of their end."""

    there: set[str] = field(default_factory=set)
    built: list[str] = field(default_factory=list)
    works: dict[str, Callable[[], object]] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def task(self, name: str, *needs: str, cost: int = 10, compiles: bool = False) -> Task:
        def build(say: Callable[[str], None]) -> None:
            say("at work")
            self.works.get(name, lambda: None)()
            self.built.append(name)
            self.there.add(name)

        return Task(name, name, cost, needs, lambda: name in self.there, build, compiles)

    def run(self, tasks: Iterable[Task], line: FakeLine | None = None) -> None:
        run_tasks({task.name: task for task in tasks}, FakeClock(), line or FakeLine("images"), self.stopped.set)


def test_only_what_the_roots_need_and_is_not_there_is_missing() -> None:
    site = Site(there={"base", "other"})
    tasks = {
        task.name: task
        for task in (site.task("base"), site.task("image", "base"), site.task("node", "image"), site.task("other"))
    }
    assert set(find_missing(tasks, ["node", "other"])) == {"image", "node"}
    site.there.add("node")
    assert find_missing(tasks, ["node"]) == {}, "what a finished part was made from is not looked at"


def test_each_runs_after_what_it_needs() -> None:
    site = Site()
    site.run([site.task("c", "b"), site.task("b", "a"), site.task("a")])
    assert site.built == ["a", "b", "c"]


def test_a_need_outside_counts_as_done() -> None:
    site = Site()
    site.run([site.task("image", "built long ago")])
    assert site.built == ["image"]


def test_nothing_to_do_is_fine() -> None:
    Site().run([])


def test_what_downloads_runs_beside_what_compiles() -> None:
    site = Site()
    meet = threading.Barrier(2, timeout=LIMIT)
    site.works = {"compile": meet.wait, "download": meet.wait}
    site.run([site.task("compile", compiles=True), site.task("download")])
    assert len(site.built) == 2


def test_one_compiles_at_a_time_and_does_not_take_the_place_of_others() -> None:
    site = Site()
    busy = threading.Lock()

    def alone() -> None:
        assert busy.acquire(blocking=False), "two compile at the same time"
        busy.release()

    compiling = [f"c{number}" for number in range(6)]
    site.works = dict.fromkeys(compiling, alone)
    site.run([*(site.task(name, compiles=True) for name in compiling), site.task("image", "c0"), site.task("download")])
    assert len(site.built) == 8


def test_of_those_that_could_start_the_one_with_most_behind_it_does() -> None:
    """A long part that little depends on would otherwise be begun first, and what needs the other would wait for it."""
    site = Site()
    site.run(
        [
            site.task("short", cost=20, compiles=True),
            site.task("long", cost=30, compiles=True),
            site.task("image", "short", cost=40),
            site.task("node", "image", "long", cost=5),
        ]
    )
    assert site.built.index("short") < site.built.index("long")


def test_a_critical_path_is_the_longest_chain_to_the_end() -> None:
    site = Site()
    tasks = [site.task("a", cost=1), site.task("b", "a", cost=10), site.task("c", "a", "elsewhere", cost=3)]
    tasks.append(site.task("d", "b", "c", cost=100))
    assert compute_critical_paths({task.name: task for task in tasks}) == {"d": 100, "b": 110, "c": 103, "a": 111}


def test_the_first_error_stops_the_others_and_is_raised() -> None:
    site = Site()

    def fail() -> None:
        raise CommandError("go build failed with code 1", code=1)

    def long() -> None:
        assert site.stopped.wait(LIMIT), "nobody told it to stop"
        raise CommandError("it was stopped", code=143)

    site.works = {"bad": fail, "long": long}
    with pytest.raises(CommandError, match="go build failed"):
        site.run([site.task("bad"), site.task("long", compiles=True), site.task("never", "bad"), site.task("later")])
    assert "never" not in site.built


def test_what_does_not_hear_of_the_stop_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_scheduler, "STOP_LIMIT", 0.1)
    site, deaf = Site(), threading.Event()

    def fail() -> None:
        raise CommandError("failed", code=1)

    site.works = {"bad": fail, "deaf": lambda: deaf.wait(LIMIT)}
    try:
        with pytest.raises(CommandError):
            site.run([site.task("deaf"), site.task("bad")])
        assert not deaf.is_set()
    finally:
        deaf.set()


def test_the_line_tells_how_far_it_is() -> None:
    site, line = Site(), FakeLine("images")
    site.run([site.task("only", cost=300, compiles=True)], line)
    assert ("cause", "0 of 1 parts, about 5m left") in line.said
    assert ("progress", "only (at work)") in line.said
    assert line.said[-2:] == [("cause", "1 of 1 parts, about 5s left"), ("progress", "")]


def test_the_estimate_falls_while_a_part_runs_and_never_below_nothing() -> None:
    site, clock = Site(), FakeClock()
    tasks = {name: site.task(name, cost=100, compiles=True) for name in ("one", "two", "three")}
    progress = Progress(tasks, clock, FakeLine("images"))
    seen = [progress.estimate_remaining()]
    for task in tasks.values():
        progress.start_task(task)
        for _ in range(20):
            clock.time += 10  # each takes twice what the list says
            seen.append(progress.estimate_remaining())
        progress.finish_task(task)
    assert seen[0] == pytest.approx(300)
    assert all(left >= 0 for left in seen)
    within = [seen[start : start + 20] for start in (1, 21, 41)]
    assert all(part == sorted(part, reverse=True) for part in within), "it grows while a part runs"
    assert progress.estimate_remaining() == 0


def test_the_estimate_learns_the_machines_pace() -> None:
    site, clock = Site(), FakeClock()
    tasks = {name: site.task(name, cost=100, compiles=True) for name in ("one", "two")}
    progress = Progress(tasks, clock, FakeLine("images"))
    progress.start_task(tasks["one"])
    clock.time += 300
    progress.finish_task(tasks["one"])
    assert 200 < progress.estimate_remaining() < 300


def test_a_part_that_says_nothing_is_still_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_scheduler, "BEAT", 0.01)
    site, clock = Site(), FakeClock()
    told = threading.Event()

    def silent() -> None:
        clock.time += 200
        assert told.wait(LIMIT)

    class Line(FakeLine):
        def show_progress(self, text: str) -> None:
            super().show_progress(text)
            if text == "long (at work) for 3m":
                told.set()

    line = Line("images")
    site.works = {"long": silent}
    run_tasks({"long": site.task("long", cost=300)}, clock, line, site.stopped.set)
    assert site.built == ["long"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "5s"), (1, "5s"), (12, "10s"), (89, "90s"), (90, "2m"), (965, "16m")]
)
def test_times_are_round(seconds: float, text: str) -> None:
    assert format_minutes(seconds) == text
