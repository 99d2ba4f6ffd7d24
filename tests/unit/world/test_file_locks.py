"""One command at a time changes an environment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, cast

import pytest

from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import Interrupted, LockedError, PreconditionError
from bootstrap.core.paths import Paths
from bootstrap.settings.config import Config
from bootstrap.world import World, file_locks
from bootstrap.world.file_locks import hold_engine, hold_engine_while_needed, lock_environment
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.step_world import FakeEngine

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys, time
from types import SimpleNamespace
from bootstrap.world.file_locks import hold_engine, lock_environment
from bootstrap.core.paths import Paths
from bootstrap.core.clock import SystemClock

paths = Paths.of("demo", {"HOME": sys.argv[1]})
world = SimpleNamespace(paths=paths, config=SimpleNamespace(name="demo"), clock=SystemClock(), report=None)
with lock_environment(world, "up"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def make_world(home: Path, name: str = "demo", clock: FakeClock | SystemClock | None = None) -> World:
    paths = Paths.of(name, {"HOME": str(home)})
    world = SimpleNamespace(
        paths=paths,
        config=Config(name=name),
        clock=clock or FakeClock(),
        report=FakeReport(),
        cancel=Cancel(),
        engine=FakeEngine(),
    )
    return cast(World, world)


def file_of(world: World) -> Path:
    return world.paths.state / "locks" / f"{world.config.name}.lock"


def warnings(world: World) -> list[str]:
    return [text for kind, text in cast(FakeReport, world.report).printed if kind == "warn"]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it reads a line."""
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_file_says_who_holds_it(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with lock_environment(world, "up"):
        assert file_of(world).read_text() == f"invoke up, process {os.getpid()}"
    with lock_environment(world, "down"):
        assert file_of(world).read_text() == f"invoke down, process {os.getpid()}"
    assert warnings(world) == []


def test_environments_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with lock_environment(make_world(tmp_path), "up"), lock_environment(make_world(tmp_path, "other"), "up"):
        pass


def test_another_command_is_waited_for_by_name(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    clock = FakeClock()
    world = make_world(tmp_path, clock=clock)

    def end(_: float) -> None:
        if len(clock.slept) == 3:
            holder.communicate("\n")

    clock.on_sleep = end
    with lock_environment(world, "up"):
        assert holder.returncode == 0
    assert warnings(world) == [f"waiting for another command on demo: invoke up, process {holder.pid}"]


def test_it_is_free_when_its_holder_was_killed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    world = make_world(tmp_path)
    with lock_environment(world, "up"):
        assert warnings(world) == []


def test_waiting_has_an_end(tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "LIMIT", 30)
    clock = FakeClock()
    with (
        pytest.raises(LockedError, match=f"held by invoke up, process {holder.pid}"),
        lock_environment(make_world(tmp_path, clock=clock), "up"),
    ):
        pass
    assert sum(clock.slept) == pytest.approx(30)


def test_waiting_can_be_interrupted(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    cancel = Cancel()
    cancel.request()
    with (
        pytest.raises(Interrupted),
        lock_environment(make_world(tmp_path, clock=SystemClock(cancel)), "up"),
    ):
        pass


def test_the_last_command_takes_the_file_with_it(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with contextlib.suppress(ZeroDivisionError), lock_environment(world, "down", last=True):
        assert file_of(world).exists()
        raise ZeroDivisionError
    assert not file_of(world).exists()


def test_a_file_that_was_deleted_meanwhile_is_not_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path)
    lock, gone = fcntl.flock, list[bool]()

    def late(handle: IO[str], how: int) -> None:
        lock(handle, how)
        if not gone:
            gone.append(True)
            file_of(world).unlink()  # by a `down` that ended between open and lock

    monkeypatch.setattr(fcntl, "flock", late)
    with lock_environment(world, "up"):
        assert file_of(world).read_text().startswith("invoke up")


def test_a_folder_that_is_not_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file where a folder should be")
    with pytest.raises(PreconditionError, match="cannot be written"), lock_environment(make_world(tmp_path), "up"):
        pass


def test_the_engine_is_not_ended_under_another_command(tmp_path: Path) -> None:
    one, other = make_world(tmp_path), make_world(tmp_path, "other")
    with hold_engine(one) as alone:
        with hold_engine(other):
            assert not alone()
        assert alone()
        assert alone(), "it may be asked again"
    assert list((one.paths.state / "locks").iterdir()) == []


def test_who_wants_the_engine_waits_for_its_end(tmp_path: Path) -> None:
    clock = FakeClock()
    ending = contextlib.ExitStack()
    assert ending.enter_context(hold_engine(make_world(tmp_path)))()
    clock.on_sleep = lambda _: ending.close()
    with hold_engine(make_world(tmp_path, "other", clock=clock)) as alone:
        assert clock.slept
        assert alone()


def calls(world: World) -> list[str]:
    return cast(FakeEngine, world.engine).calls


def test_who_held_the_engine_last_ends_it(tmp_path: Path) -> None:
    one, other = make_world(tmp_path), make_world(tmp_path, "other")
    with hold_engine(one):
        with hold_engine_while_needed(other):
            assert calls(other) == []
        assert calls(other) == []
    with hold_engine_while_needed(other):
        assert calls(other) == []
    assert calls(other) == ["stop_if_idle"]


@pytest.mark.parametrize(
    ("error", "made"),
    [
        (PreconditionError("no such registry"), ["stop_if_idle"]),
        (ValueError("a fault of ours"), ["stop_if_idle"]),
        (Interrupted("stopped"), []),
        (KeyboardInterrupt(), []),
    ],
)
def test_an_engine_is_ended_after_a_failure_but_an_interruption_does_not_wait_for_that(
    tmp_path: Path, error: BaseException, made: list[str]
) -> None:
    world = make_world(tmp_path)
    with pytest.raises(type(error)), hold_engine_while_needed(world):
        raise error
    assert calls(world) == made
