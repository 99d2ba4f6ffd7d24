"""Time for everything that waits: monotonic seconds, and sleeping. Tests pass a clock that jumps."""

from __future__ import annotations

import time
from typing import Protocol

from bootstrap.core.cancel import Cancel


class Clock(Protocol):
    """Time as steps and waits see it."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait `seconds`. Raises Interrupted when the command is to stop."""
        ...


class SystemClock:
    """The machine's clock. cancel: the request that ends a sleep early."""

    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel or Cancel()

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait `seconds`. Raises Interrupted when the command is to stop."""
        self._cancel.sleep(seconds)
