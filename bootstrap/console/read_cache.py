"""Reads that several browser tabs share: one at a time, and kept for a moment."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bootstrap.core.errors import BootstrapError

T = TypeVar("T")
KEEP_SECONDS = 1.0
REST = 3.0
"""A read that took long is kept this many times as long, so that looking never is most of a machine's work."""


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    error: BootstrapError | None = None
    good_until: float = -math.inf


class Cache:
    """Answers and refusals by key. Whoever asks while a read is under way waits for that one."""

    def __init__(self, now: Callable[[], float], keep: float = KEEP_SECONDS) -> None:
        self._now = now
        self._keep = keep
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` gave, now or a moment ago. Raises the BootstrapError that it raised."""
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
