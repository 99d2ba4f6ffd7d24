"""What the API server sends as it happens: logs that are followed, and watches."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from bootstrap.core.errors import ApiError, BootstrapError
from bootstrap.core.model import Object
from bootstrap.world.kube.http import read_refusal

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

T = TypeVar("T")
Event = tuple[str, Object]
"""ADDED, MODIFIED or DELETED, and the object."""

BREAKS = 3
"""How often in a row a stream is opened again without anything having come."""
GONE = 410

RESET, SYNCED, LOST, BACK = "RESET", "SYNCED", "LOST", "BACK"
"""What `follow_changes` tells besides ADDED, MODIFIED and DELETED; see there."""
PAUSES = (0.3, 0.6, 1.2, 2.5, 5.0)
"""Seconds between attempts on a server that does not answer; the last one repeats."""
STEADY_SECONDS = 5.0
"""A watch that lived so long begins its count of failures anew."""
SHORTEST, LONGEST = 300.0, 600.0
"""Seconds that one request of an endless watch takes, chosen anew each time so that watches do not beat together."""


class Feed:
    """The open answer behind a stream. One thread reads; `close`, from any thread, ends the reading.

    lines: splits an answer into lines (`Http.read_lines`).
    """

    def __init__(self, lines: Callable[[BaseHTTPResponse], Iterator[bytes]]) -> None:
        self._lines = lines
        self._lock = threading.Lock()
        self._response: BaseHTTPResponse | None = None
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def pause(self, seconds: float) -> None:
        """Wait `seconds`; ends early when closed."""
        self._closed.wait(seconds)

    def read_lines(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """The lines of an answer. Raises ApiError when it breaks off, never because of `close`."""
        with self._lock:
            if self.is_closed:
                response.close()
                return
            self._response = response
        try:
            yield from self._lines(response)
        except ApiError:
            if not self.is_closed:
                raise
        finally:
            with self._lock:
                self._response = None
            response.close()

    def close(self) -> None:
        """End the reading at once, and let none begin."""
        with self._lock:
            self._closed.set()
            if self._response is not None:
                with contextlib.suppress(OSError, RuntimeError, ValueError):
                    self._response.shutdown()


class Stream(Generic[T]):
    """An iterator that `close()` ends at once, also from another thread. A `with` block closes it."""

    def __init__(self, feed: Feed, items: Iterator[T]) -> None:
        self._feed = feed
        self._items = items

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._items)

    def close(self) -> None:
        """End the iteration at once; any thread may call it."""
        self._feed.close()

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_log_lines(feed: Feed, reopen: Callable[[str], BaseHTTPResponse]) -> Iterator[str]:
    """The lines of a container's log until it ends. `reopen(since)` asks for lines with timestamps.

    A connection that breaks is taken up where it was: the server resends from that second, and what was already given
    is left out by its nanoseconds. Raises ApiError after BREAKS breaks in a row, and when the server refuses.
    """
    last, breaks = "", 0
    while not feed.is_closed:
        before = last
        try:
            for line in feed.read_lines(reopen(last)):
                stamp, _, text = line.decode(errors="replace").partition(" ")
                if stamp > before:
                    last, breaks = stamp, 0
                    yield text
        except ApiError as error:
            breaks += 1
            if error.status != 0 or breaks > BREAKS:
                raise
            feed.pause(0.5 * breaks)
        else:
            return


def read_events(feed: Feed, reopen: Callable[[str, float], BaseHTTPResponse], seconds: float) -> Iterator[Event]:
    """What happens to the objects of a watch for `seconds`; `reopen(resource_version, seconds)` asks for it.

    Without a version the server first sends every object as ADDED. That happens at the start, and again when the
    version has become too old (410): objects may come twice, none is missed. Raises ApiError after BREAKS breaks in a
    row, and when the server refuses.
    """
    end = time.monotonic() + seconds
    version, breaks = "", 0
    while not feed.is_closed and (left := end - time.monotonic()) > 0:
        breaks += 1
        try:
            for line in feed.read_lines(reopen(version, left)):
                kind, seen = _parse_event(line)
                version = seen.get("metadata", {}).get("resourceVersion", version)
                breaks = 0
                if kind != "BOOKMARK":
                    yield kind, seen
        except ApiError as error:
            if error.status == GONE:
                version = ""
            elif error.status != 0 or breaks > BREAKS:
                raise
        feed.pause(min(0.2 * breaks, 2.0))


Page = tuple[list[Object], str]
"""Some of the objects, and the version of the whole list."""


def follow_changes(
    feed: Feed,
    pages: Callable[[], Iterable[Page]],
    reopen: Callable[[str, float], BaseHTTPResponse],
) -> Iterator[Event]:
    """What is there and what then happens, until the feed is closed. Never raises, never gives up.

    RESET, an ADDED for each object, SYNCED; then ADDED, MODIFIED and DELETED as they come. LOST (its object holds
    "message") when the server refuses or does not answer, BACK when it answers again, with nothing missed: the watch
    goes on from the last version, or begins anew with RESET where that has become too old.
    """
    version, failures, is_lost = "", 0, False
    while not feed.is_closed:
        begun = time.monotonic()
        try:
            if not version:
                version = yield from _list_objects(pages())
            for line in _open_lines(feed, reopen, version):
                if is_lost:
                    yield BACK, {}
                is_lost = False
                if line:
                    kind, seen = _parse_event(line)
                    failures = 0
                    version = seen.get("metadata", {}).get("resourceVersion", version)
                    if kind != "BOOKMARK":
                        yield kind, seen
        except BootstrapError as error:
            failures = 0 if time.monotonic() - begun >= STEADY_SECONDS else failures
            status = error.status if isinstance(error, ApiError) else 0
            version = "" if status == GONE or (status and failures) else version  # it answers, but not to that
            if status != GONE and not is_lost and (failures or not version):
                is_lost = True
                yield LOST, {"message": error.message}
            feed.pause(_choose_pause(failures, is_lost))
            failures += 1
        else:
            feed.pause(max(0.0, 0.2 - (time.monotonic() - begun)))  # a server that ends each watch at once


def _choose_pause(failures: int, is_lost: bool) -> float:
    """Seconds before the server is asked again, after that many failures before this one: none after a first one that
    nobody was told of, for that is how a watch ends that had served well.
    """
    return PAUSES[min(failures, len(PAUSES) - 1)] if is_lost or failures else 0.0


def _list_objects(pages: Iterable[Page]) -> Generator[Event, None, str]:
    """All that is there; returns its version."""
    yield RESET, {}
    version = ""
    for objects, found in pages:
        version = found
        yield from (("ADDED", each) for each in objects)
    yield SYNCED, {}
    return version


def _open_lines(feed: Feed, reopen: Callable[[str, float], BaseHTTPResponse], version: str) -> Iterator[bytes]:
    """An empty line as soon as the server has answered, then what it sends."""
    response = reopen(version, random.uniform(SHORTEST, LONGEST))  # noqa: S311  no secret hangs on it
    yield b""
    yield from feed.read_lines(response)


def _parse_event(line: bytes) -> Event:
    try:
        event = json.loads(line)
    except ValueError:
        raise ApiError("the watch sent something that is not JSON", status=0) from None
    if event["type"] == "ERROR":
        raise read_refusal(int(event["object"].get("code", 500)), json.dumps(event["object"]).encode(), "")
    return event["type"], event["object"]
