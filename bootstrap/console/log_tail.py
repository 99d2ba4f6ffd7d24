"""Follows the log of one step into a `Log`, in a thread of its own, until it ends or is left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from bootstrap.console.log_buffer import Log
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError
from bootstrap.world.kube.watch import Stream

BATCH_SECONDS, BATCH_LINES = 0.2, 2_000
"""The first line is handed on at once. Those that come within such a while are masked and handed on together: one by
one they would cost many times as much, and a page cannot show them more often."""
NOT_STARTED, RETRY_SECONDS, RETRIES = 400, 0.1, 120


class Cluster(Protocol):
    def follow_log(
        self, namespace: str, pod: str, container: str = "", *, tail_lines: int | None = None
    ) -> Stream[str]: ...


class Tail:
    """mask: of lines. why: what ended it too early, "" if nothing did. over: no further line comes.

    version: another number after each change.
    """

    def __init__(self, cluster: Cluster, pod: str, container: str, mask: Callable[[Iterable[str]], list[str]]) -> None:
        self.log = Log()
        self.why = ""
        self.over = False
        self.version = 0
        self._cluster = cluster
        self._place = (pod, container)
        self._mask = mask
        self._closed = threading.Event()
        self._news = threading.Event()
        self._stream: Stream[str] | None = None
        self._waiting: list[str] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._follow, name=f"log-{pod}", daemon=True).start()
        threading.Thread(target=self._hand_on, name=f"mask-{pod}", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._news.set()
        if self._stream:
            self._stream.close()

    def _follow(self) -> None:
        for _ in range(RETRIES):
            try:
                self._stream = self._cluster.follow_log(constants.RUNS, *self._place)
                with self._stream as lines:
                    for line in lines:
                        with self._lock:
                            self._waiting.append(line)
                        self._news.set()
                        if self._closed.is_set():
                            return
            except ApiError as error:
                if error.status == NOT_STARTED and not self._closed.wait(RETRY_SECONDS):
                    continue
                self.why = error.message
            except BootstrapError as error:
                self.why = error.message
            break
        self.over = True
        self._news.set()

    def _hand_on(self) -> None:
        over = False
        while not over and not self._closed.is_set():
            self._news.wait()
            self._news.clear()
            over = self.over  # no line comes after this
            while lines := self._batch():
                self.log.extend(self._mask(lines))
                self.version += 1
            self._closed.wait(0 if over else BATCH_SECONDS)
        self.version += 1

    def _batch(self) -> list[str]:
        with self._lock:
            lines, self._waiting = self._waiting[:BATCH_LINES], self._waiting[BATCH_LINES:]
        return lines
