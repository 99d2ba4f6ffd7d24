"""Locks between commands: one at a time changes an environment, and none loses its engine to another.

They are file locks (flock(2)): the kernel frees them however a command ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bootstrap.core.errors import Interrupted, LockedError, PreconditionError, TimedOut
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.wait import until

if TYPE_CHECKING:
    from bootstrap.world import World

LIMIT = 1800.0
ENGINE = "_engine.lock"
"""Not the name of an environment's lock: no environment's name begins so."""
ENGINE_LIMIT = 120.0


@contextlib.contextmanager
def lock_environment(world: World, command: str, *, last: bool = False) -> Iterator[None]:
    """Hold the lock of the environment; waits for another command, saying which process holds it.

    command: what this one is, for those who wait. last: the environment ends with this command, and so does the file.
    It lies beside the environment's folder, not in it: `down` deletes that folder while it holds the lock. Raises
    LockedError after LIMIT seconds, PreconditionError if the folder cannot be written.
    """
    name, path = world.config.name, world.paths.state / "locks" / f"{world.config.name}.lock"
    held: list[IO[str]] = []

    def attempt() -> Verdict:
        handle = _take(path)
        if handle is None:
            return Pending(f"waiting for another command on {name}: {_holder(path)}")
        held.append(handle)
        return Ready()

    try:
        until(attempt, clock=world.clock, limit=LIMIT, what="the lock", on_change=lambda v: world.report.warn(v.why))
    except TimedOut as error:
        raise LockedError(f"environment {name} is held by {_holder(path)}") from error
    except OSError as error:
        raise PreconditionError(f"{path.parent} cannot be written: {error.strerror}") from None
    with held[0] as handle:
        handle.truncate(0)
        handle.write(f"invoke {command}, process {os.getpid()}")
        handle.flush()
        try:
            yield
        finally:
            if last:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def hold_engine(world: World) -> Iterator[Callable[[], bool]]:
    """Keep other commands from ending the private engine meanwhile: it may hold no container yet, or no more.

    Yields a function that tells whether no other command uses the engine; once it has said so, others wait for the end
    of the block. Raises TimedOut if another command ends the engine for longer than ENGINE_LIMIT seconds.
    """
    path = world.paths.state / "locks" / ENGINE
    held: list[IO[str]] = []
    last = False

    def attempt() -> Verdict:
        handle = _take(path, fcntl.LOCK_SH)
        if handle is None:
            return Pending("another command ends the private Docker")
        held.append(handle)
        return Ready()

    def alone() -> bool:
        nonlocal last
        try:
            fcntl.flock(held[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        last = True
        return True

    until(attempt, clock=world.clock, limit=ENGINE_LIMIT, what="the private Docker", every=0.2)
    with held[0]:
        try:
            yield alone
        finally:
            if last:
                path.unlink(missing_ok=True)  # who waits for it sees that, and makes another


@contextlib.contextmanager
def hold_engine_while_needed(world: World) -> Iterator[None]:
    """Keep the private engine from being ended meanwhile, and end it afterwards if nobody needs it any more.

    An interruption is not kept waiting by that: a later command ends it. Raises TimedOut as `hold_engine` does.
    """
    with hold_engine(world) as alone:
        interrupted = False
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            interrupted = True
            raise
        finally:
            if not interrupted and alone():
                world.engine.stop_if_idle()


def _take(path: Path, how: int = fcntl.LOCK_EX) -> IO[str] | None:
    """The open and locked file; None if another process has it, or has just deleted it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a")
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
        if os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    handle.close()
    return None


def _holder(path: Path) -> str:
    text = path.read_text().strip() if path.exists() else ""
    return text or "another process"
