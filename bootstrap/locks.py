"""One command at a time changes an environment; the kernel frees the lock however the command ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import LockedError, TimedOut
from bootstrap.model import Pending, Ready, Verdict
from bootstrap.wait import until

if TYPE_CHECKING:
    from bootstrap.world import World

LIMIT = 1800.0


@contextlib.contextmanager
def environment_lock(world: World, command: str) -> Iterator[None]:
    """Hold the lock of the environment; waits for another command, saying which process holds it.

    Raises LockedError after half an hour. The file lies beside the environment's folder, not in it:
    `down` deletes that folder while it holds the lock.
    """
    path = world.paths.state / "locks" / f"{world.config.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:

        def attempt() -> Verdict:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Pending(f"waiting for another command on {world.config.name}: {_holder(path)}")
            return Ready()

        try:
            until(
                attempt, clock=world.clock, limit=LIMIT, what="the lock", on_change=lambda v: world.report.warn(v.why)
            )
        except TimedOut as error:
            raise LockedError(f"environment {world.config.name} is held by {_holder(path)}") from error
        handle.seek(0)
        handle.truncate()
        handle.write(f"invoke {command}, process {os.getpid()}")
        handle.flush()
        yield


def _holder(path: Path) -> str:
    return path.read_text().strip() or "another process"
