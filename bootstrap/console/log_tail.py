"""Follows the log of one step into a LogBuffer, in threads of its own, until the log ends or `close` is called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from bootstrap.console.log_buffer import LogBuffer
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError
from bootstrap.world.kube.watch import Stream

BATCH_SECONDS, BATCH_LINES = 0.2, 2_000
"""The first line is passed on at once. Lines that come within BATCH_SECONDS are masked and passed on together, at most
BATCH_LINES at once: one by one they would cost many times as much, and a page cannot show them more often."""
NOT_STARTED, RETRY_SECONDS, RETRIES = 400, 0.1, 120
"""HTTP status for the log of a container that has not started; how often, and with which pauses, it is asked again."""


class Cluster(Protocol):
    """The part of the Kubernetes client that is needed here; see world.kube.client."""

    def follow_log(
        self, namespace: str, pod: str, container: str = "", *, tail_lines: int | None = None
    ) -> Stream[str]: ...


class LogTail:
    """Follows the log of a container of a pod in namespace `cicd` from its first line on.

    mask: takes the secrets out of lines before they are kept. log: the lines so far. over: whether no further line will
    come. why: the error that ended the log too early, "" if none did. version: grows with each change. Any thread may
    read these.
    """

    def __init__(self, cluster: Cluster, pod: str, container: str, mask: Callable[[Iterable[str]], list[str]]) -> None:
        self.log = LogBuffer()
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
        threading.Thread(target=self._mask_batches, name=f"mask-{pod}", daemon=True).start()

    def close(self) -> None:
        """Stop following, and let the threads end; what was read stays. Does not wait for them."""
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

    def _mask_batches(self) -> None:
        over = False
        while not over and not self._closed.is_set():
            self._news.wait()
            self._news.clear()
            over = self.over  # no line comes after this
            while lines := self._take_batch():
                self.log.extend(self._mask(lines))
                self.version += 1
            self._closed.wait(0 if over else BATCH_SECONDS)
        self.version += 1

    def _take_batch(self) -> list[str]:
        with self._lock:
            lines, self._waiting = self._waiting[:BATCH_LINES], self._waiting[BATCH_LINES:]
        return lines
