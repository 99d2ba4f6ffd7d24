"""The door to time: monotonic seconds, and sleeping. Tests pass a clock that jumps."""

from __future__ import annotations

import time
from typing import Protocol

from bootstrap.core.cancel import Cancel


class Clock(Protocol):
    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Raises Interrupted when the command is to stop."""
        ...


class SystemClock:
    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel or Cancel()

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        self._cancel.sleep(seconds)
