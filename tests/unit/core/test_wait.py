from __future__ import annotations

import threading
import time

import pytest

from bootstrap.core import wait
from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import Interrupted, TimedOut
from bootstrap.core.model import Failed, Pending, Ready, Unknown, Verdict
from tests.unit.fakes import FakeClock


@pytest.mark.parametrize("end", [Ready("there"), Failed("broken", "fix it")])
def test_ends_with_the_first_answer_that_is_final(end: Ready | Failed) -> None:
    clock = FakeClock()
    left: list[Verdict] = [Pending("pulling"), Unknown("no answer"), end, Ready("too late")]
    assert wait.until(lambda: left.pop(0), clock=clock, limit=60, what="it", every=2) == end
    assert clock.slept == [2, 2]
    assert left == [Ready("too late")]


def test_a_ready_thing_costs_no_sleep() -> None:
    clock = FakeClock()
    wait.until(lambda: Ready(), clock=clock, limit=0, what="it")
    assert clock.slept == []


def test_each_new_cause_is_heard_once() -> None:
    causes = ["a", "a", "b", "b", "a"]
    heard: list[str] = []

    def probe() -> Verdict:
        return Pending(causes.pop(0)) if causes else Ready()

    wait.until(probe, clock=FakeClock(), limit=60, what="it", on_change=lambda news: heard.append(news.why))
    assert heard == ["a", "b", "a"]


def test_the_limit_is_kept_and_the_last_cause_told() -> None:
    clock = FakeClock(time=0)
    asked: list[float] = []

    def probe() -> Verdict:
        asked.append(clock.now())
        return Pending("pulling the image")

    with pytest.raises(TimedOut, match=r"^tekton was not ready within 10 s$") as caught:
        wait.until(probe, clock=clock, limit=10, what="tekton", every=4)
    assert caught.value.evidence == "pulling the image"
    assert asked == [0, 4, 8, 10]  # the last look is at the limit itself


def test_a_slow_probe_is_not_asked_beyond_the_limit() -> None:
    clock = FakeClock(time=0)
    asked: list[float] = []

    def probe() -> Verdict:
        asked.append(clock.now())
        clock.time += 30
        return Pending("slow")

    with pytest.raises(TimedOut):
        wait.until(probe, clock=clock, limit=10, what="it")
    assert asked == [0]


def test_a_requested_stop_wakes_the_sleeper() -> None:
    cancel = Cancel()
    threading.Timer(0.05, cancel.request).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        wait.until(lambda: Pending("never"), clock=SystemClock(cancel), limit=60, what="it", every=30)
    assert time.monotonic() - start < 5
