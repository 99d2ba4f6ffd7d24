from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from graphlib import CycleError

import pytest

from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError, BootstrapError, Interrupted, PreconditionError, StepError, TimedOut
from bootstrap.core.model import Failed, Pending, Ready, Unknown, Verdict
from bootstrap.objects.apply_plan import Change, Plan
from bootstrap.steps import reconcile as module
from bootstrap.steps.reconcile import check_steps, converge, find_needed_steps, plan_steps, sort_steps
from bootstrap.world.shell import SystemShell
from tests.unit.fakes import FakeClock, FakeReport


@dataclass
class World:
    """made: names of the steps that are there. log: ("apply", name)... in order."""

    made: set[str] = field(default_factory=set)
    log: list[tuple[str, str]] = field(default_factory=list)


def nothing(_: World) -> None:
    pass


@dataclass
class Part:
    """A step: Ready once its name is in world.made. on_check may answer in place of that, or raise."""

    name: str
    needs: tuple[str, ...] = ()
    limit: float = 5
    on_apply: Callable[[World], None] = nothing
    on_check: Callable[[World], Verdict | None] = lambda _: None

    def check(self, world: World) -> Verdict:
        world.log.append(("check", self.name))
        verdict = self.on_check(world)
        return verdict or (Ready(f"{self.name} is there") if self.name in world.made else Pending("absent"))

    def apply(self, world: World) -> None:
        world.log.append(("apply", self.name))
        self.on_apply(world)
        world.made.add(self.name)

    def undo(self, world: World) -> None:
        raise AssertionError("converge undoes nothing")


def run(*steps: Part, world: World | None = None, report: FakeReport | None = None) -> list[module.Outcome]:
    return converge(steps, world or World(), FakeClock(), report or FakeReport())


def raising(error: BaseException) -> Callable[[World], Verdict | None]:
    def check(_: World) -> Verdict:
        raise error

    return check


def test_order_puts_needs_first() -> None:
    steps = [Part("c", ("b",)), Part("a"), Part("b", ("a",))]
    assert [step.name for step in sort_steps(steps)] == ["a", "b", "c"]


def test_order_refuses_what_cannot_be_ordered() -> None:
    with pytest.raises(ValueError, match="step b needs x, which no step is called"):
        sort_steps([Part("b", ("x",))])
    with pytest.raises(CycleError):
        sort_steps([Part("a", ("b",)), Part("b", ("a",))])


def test_what_is_absent_is_applied_after_what_it_needs() -> None:
    world = World()
    outcomes = run(Part("b", ("a",)), Part("a"), world=world)
    assert [name for verb, name in world.log if verb == "apply"] == ["a", "b"]
    assert [(each.name, each.changed, each.verdict) for each in outcomes] == [
        ("b", True, Ready("b is there")),
        ("a", True, Ready("a is there")),
    ]


def test_what_is_ready_is_only_looked_at() -> None:
    world, report = World(made={"a"}), FakeReport()
    outcomes = run(Part("a"), world=world, report=report)
    assert world.log == [("check", "a")]
    assert not outcomes[0].changed
    assert report.steps["a"].said == [("ready", "a is there", False)]


def test_no_steps_are_no_work() -> None:
    assert run() == []


def test_independent_steps_run_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet(_: World) -> None:
        meeting.wait()

    run(Part("a", on_apply=meet), Part("b", on_apply=meet))


def test_a_failure_starts_nothing_new_and_lets_the_others_end() -> None:
    world, report = World(), FakeReport()
    failed = threading.Event()

    def fail(_: World) -> None:
        failed.set()
        raise StepError("a: no space", hint="free some")

    def slow(_: World) -> None:
        assert failed.wait(10)
        time.sleep(0.05)

    with pytest.raises(StepError, match="no space") as caught:
        run(Part("a", on_apply=fail), Part("b", on_apply=slow), Part("c", ("b",)), world=world, report=report)
    assert caught.value.hint == "free some"
    assert world.made == {"b"}
    assert ("check", "c") not in world.log
    assert report.steps["a"].said[-1] == ("failed", "no space")
    assert report.steps["b"].said[-1] == ("ready", "b is there", True)


def test_failed_after_apply_is_raised_with_its_hint() -> None:
    part = Part("a", on_check=lambda world: Failed("broken", "invoke logs") if "a" in world.made else None)
    with pytest.raises(StepError, match=r"^a: broken$") as caught:
        run(part)
    assert caught.value.hint == "invoke logs"


def test_never_ready_ends_at_the_limit_of_the_step() -> None:
    report = FakeReport()
    with pytest.raises(TimedOut, match="a was not ready within 7 s"):
        run(Part("a", limit=7, on_check=lambda _: Pending("pulling")), report=report)
    assert report.steps["a"].said[-1] == ("failed", "a was not ready within 7 s")


def test_an_api_that_does_not_answer_yet_is_asked_again() -> None:
    looks = iter([ApiError("refused", status=0), ApiError("refused", status=0), None])

    def check(_: World) -> Verdict | None:
        error = next(looks)
        if error:
            raise error
        return Ready()

    report = FakeReport()
    assert run(Part("a", on_check=check), report=report)[0].changed
    assert ("cause", "refused") in report.steps["a"].said


def test_what_is_really_wrong_at_the_first_look_is_not_applied() -> None:
    world = World()
    with pytest.raises(PreconditionError):
        run(Part("a", on_check=raising(PreconditionError("no Docker"))), world=world)
    assert world.log == [("check", "a")]


def test_a_bug_in_a_step_is_raised_as_it_is_and_its_line_ends() -> None:
    report = FakeReport()
    with pytest.raises(KeyError):
        run(Part("a", on_check=raising(KeyError("spec"))), report=report)
    assert report.steps["a"].said[-1] == ("failed", "'spec'")


def test_look_changes_nothing_and_does_not_ask_what_lacks_a_need() -> None:
    world = World(made={"c"})
    outcomes = check_steps([Part("b", ("a",)), Part("a"), Part("c")], world, FakeClock())
    assert [(each.name, each.verdict) for each in outcomes] == [
        ("b", Unknown("needs a")),
        ("a", Pending("absent")),
        ("c", Ready("c is there")),
    ]
    assert sorted(world.log) == [("check", "a"), ("check", "c")]


def test_a_look_asks_side_by_side_what_does_not_need_each_other() -> None:
    both = threading.Barrier(2, timeout=5)

    class Waiting(Part):
        def check(self, world: World) -> Verdict:
            both.wait()
            return super().check(world)

    outcomes = check_steps([Waiting("a"), Waiting("b")], World(), FakeClock())
    assert [each.name for each in outcomes] == ["a", "b"]


@pytest.mark.parametrize("error", [ApiError("refused", status=0), PreconditionError("no Docker"), TimedOut("slow")])
def test_look_turns_an_error_into_unknown(error: BootstrapError) -> None:
    assert check_steps([Part("a", on_check=raising(error))], World(), FakeClock())[0].verdict == Unknown(error.message)


def test_look_does_not_swallow_an_interruption() -> None:
    with pytest.raises(Interrupted):
        check_steps([Part("a", on_check=raising(Interrupted("stopped")))], World(), FakeClock())


def interrupt_when(ready: Callable[[], bool]) -> None:
    """Ctrl-C for the main thread as soon as `ready` says so."""

    def send() -> None:
        end = time.monotonic() + 10
        while not ready() and time.monotonic() < end:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


def test_an_interruption_ends_children_and_sleeps_of_every_step() -> None:
    cancel = Cancel()
    shell, clock, report = SystemShell(cancel), SystemClock(cancel), FakeReport()
    pids: list[int] = []

    def run_long(_: World) -> None:
        shell.run(["sh", "-c", "echo $$; exec sleep 300"], limit=600, on_line=lambda text: pids.append(int(text)))

    steps = [
        Part("child", on_apply=run_long),
        Part("sleeper", limit=600, on_check=lambda _: Pending("never")),
        Part("later", ("child",)),
    ]
    world = World()
    interrupt_when(lambda: bool(pids) and ("apply", "sleeper") in world.log)
    start = time.monotonic()
    with pytest.raises(Interrupted, match="stopped during child, sleeper") as caught:
        converge(steps, world, clock, report, cancel)
    assert time.monotonic() - start < 8
    assert "invoke up" in caught.value.hint
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert report.steps["child"].said[-1] == ("skipped", "sh was stopped")
    assert report.steps["sleeper"].said[-1] == ("skipped", "stopped")
    assert ("check", "later") not in world.log


def test_a_step_that_does_not_listen_cannot_hold_up_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_LIMIT", 0.1)
    released, started = threading.Event(), threading.Event()

    def deaf(_: World) -> None:
        started.set()
        released.wait(30)

    interrupt_when(started.is_set)
    start = time.monotonic()
    with pytest.raises(Interrupted, match="stopped during deaf"):
        converge([Part("deaf", on_apply=deaf)], World(), FakeClock(), FakeReport(), Cancel())
    assert time.monotonic() - start < 5
    released.set()


# -- in two goes, and what would be done ---------------------------------------------------------------


def test_below_is_a_step_and_all_that_it_needs() -> None:
    steps = [Part("d", ("c",)), Part("c", ("a", "b")), Part("b", ("a",)), Part("a"), Part("e")]
    assert [step.name for step in find_needed_steps(steps, "c")] == ["c", "b", "a"]


def test_what_was_done_before_is_not_looked_at_again() -> None:
    world = World()
    steps = [Part("a"), Part("b", ("a",)), Part("c", ("a", "b"))]
    first = converge(find_needed_steps(steps, "a"), world, FakeClock(), FakeReport())
    world.log.clear()
    outcomes = converge(steps, world, FakeClock(), FakeReport(), done=first)
    assert [each.name for each in outcomes] == ["a", "b", "c"]
    assert {name for _, name in world.log} == {"b", "c"}


@dataclass
class Planning(Part):
    answer: Plan | BaseException = field(default_factory=lambda: Plan("x"))

    def plan(self, _: World) -> Plan:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_plans_are_asked_of_every_step_that_has_one_whatever_it_needs() -> None:
    does = Plan("b", (Change("create", "ConfigMap x"),))
    steps = [Part("a"), Planning("b", ("a",), answer=does), Planning("c", ("b",), answer=ApiError("away", status=0))]
    assert plan_steps(steps, World()) == [does, Plan("c", unknown="away")]


def test_an_interruption_ends_the_planning() -> None:
    with pytest.raises(Interrupted):
        plan_steps([Planning("a", answer=Interrupted("stopped"))], World())
