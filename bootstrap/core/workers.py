"""Work side by side: one thread per piece of work, and a queue of their results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Threads that each do one piece of work. busy: the names of those that are not finished.

    The threads are daemons: none keeps an interrupted process alive.
    """

    def __init__(self, label: str) -> None:
        self.busy: set[str] = set()
        self._label = label
        self._ended: queue.SimpleQueue[tuple[str, T | BaseException]] = queue.SimpleQueue()

    def start(self, name: str, work: Callable[[], T]) -> None:
        """Run `work` in a thread of its own."""
        self.busy.add(name)
        threading.Thread(target=self._run, args=(name, work), name=f"{self._label} {name}", daemon=True).start()

    def take_result(self, limit: float | None = None) -> tuple[str, T | BaseException]:
        """The next finished piece: (name, result or exception). Raises queue.Empty after `limit` seconds."""
        name, result = self._ended.get(timeout=limit)
        self.busy.discard(name)
        return name, result

    def _run(self, name: str, work: Callable[[], T]) -> None:
        try:
            self._ended.put((name, work()))
        except BaseException as error:  # noqa: BLE001  raised again by whoever takes it from the queue
            self._ended.put((name, error))
