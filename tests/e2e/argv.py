"""Reads the arguments of all processes again and again, as `ps` shows them to any user of the machine."""

from __future__ import annotations

import threading

from bootstrap.world import host

EVERY = 0.1
"""Seconds. Short-lived programs slip through one look, but not through all of a session's."""


class ArgvWatch:
    """A `with` block in which `seen` grows."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="argv", daemon=True)

    def __enter__(self) -> ArgvWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Look no more: it costs a tenth of a core."""
        self._stop.set()
        self._thread.join(5)

    def _look(self) -> None:
        while not self._stop.wait(EVERY):
            self.seen.update(" ".join(words) for _, words in host.list_processes())
