"""The request to stop a command: the shell ends its children by it, the clock its sleeps.

Signals reach the main thread only, while steps run in threads of their own and wait for programs or
for time. The thread that receives a signal requests the stop; all others are woken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bootstrap.core.errors import Interrupted


class Cancel:
    """A request to stop, shared by all threads of a command. Once requested it stays so."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._hooks: list[Callable[[], None]] = []

    @property
    def is_requested(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    def request(self) -> None:
        """Wake all who wait, then call every hook, once, in this thread."""
        with self._lock:
            hooks, self._hooks = self._hooks, []
            self._event.set()
        for hook in hooks:
            hook()

    def on_request(self, hook: Callable[[], None]) -> None:
        """Have `hook` called upon the request; at once if it was made already."""
        with self._lock:
            late = self._event.is_set()
            if not late:
                self._hooks.append(hook)
        if late:
            hook()

    def check(self) -> None:
        """Raises Interrupted if a stop was requested."""
        if self._event.is_set():
            raise Interrupted("stopped")

    def sleep(self, seconds: float) -> None:
        """Wait `seconds`. Raises Interrupted as soon as a stop is requested."""
        if self._event.wait(seconds):
            raise Interrupted("stopped")
