"""A cache of slow reads that several browser tabs share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bootstrap.core.errors import BootstrapError

T = TypeVar("T")
KEEP_SECONDS = 1.0
"""How long an answer is kept at least."""
REST = 3.0
"""An answer is kept at least this many times as long as reading it took, so that a slow read does not keep the machine
busy."""


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    error: BootstrapError | None = None
    good_until: float = -math.inf


class ReadCache:
    """Keeps answers, and the errors of reads that failed, by key. Threads may share it.

    now: a clock of monotonic seconds. keep: seconds that an answer is kept at least.
    """

    def __init__(self, now: Callable[[], float], keep: float = KEEP_SECONDS) -> None:
        self._now = now
        self._keep = keep
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The kept answer for the key, or what `read` returns now. Raises the BootstrapError that `read` raised.

        If another thread is reading the same key, this one waits for its answer.
        """
        entry = self._entry(key)
        with entry.lock:
            if self._now() >= entry.good_until:
                self._renew(entry, read)
            if entry.error:
                raise entry.error.with_traceback(None)
            value: T = entry.value
            return value

    def _entry(self, key: Hashable) -> _Entry:
        with self._lock:
            now = self._now()
            self._entries = {k: e for k, e in self._entries.items() if now < e.good_until or e.lock.locked()}
            return self._entries.setdefault(key, _Entry())

    def _renew(self, entry: _Entry, read: Callable[[], Any]) -> None:
        start = self._now()
        entry.value, entry.error = None, None
        try:
            entry.value = read()
        except BootstrapError as error:
            entry.error = error
        end = self._now()
        entry.good_until = end + max(self._keep, REST * (end - start))
