"""A log of any length, in windows; its colours; the line that tells why."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from bootstrap.console.log_buffer import MAX_LINE_CHARACTERS, LogBuffer, find_error_line, mark_hits, split_segments
from bootstrap.console.log_search import LogSearch
from bootstrap.console.log_tail import LogTail
from bootstrap.core.errors import ApiError


def test_of_100_000_lines_a_window_is_given() -> None:
    log, start = LogBuffer(), time.thread_time()
    for first in range(0, 100_000, 2_000):
        log.extend(f"line {number}" for number in range(first + 1, first + 2_001))
        log.read_window()
    end, middle = log.read_window(), log.read_window(50_000, 100)
    assert (end.first, end.last, end.total, end.lines[-1]) == (99_401, 100_000, 100_000, "line 100000")
    assert (middle.first, middle.lines[0], len(middle.lines)) == (50_000, "line 50000", 100)
    assert log.find_lines("LINE 9999", *log.span) == [9_999, *range(99_990, 100_000)]
    assert log.find_lines("line", 50_001, 50_003) == [50_001, 50_002, 50_003]
    assert time.thread_time() - start < 5


def test_the_oldest_lines_go_first_and_numbers_stay() -> None:
    log = LogBuffer(most_lines=100)
    log.extend(f"{number}" for number in range(1, 121))
    window = log.read_window(1)
    assert (window.first, window.lines[0], window.dropped, window.total) == (31, "31", 30, 120)
    assert log.find_lines("120", 1, 120) == [120]
    assert log.find_lines("3", 1, 32) == [31, 32]
    short = LogBuffer(most_characters=1000)
    short.extend("x" * 90 for _ in range(20))
    assert sum(map(len, short.read_window(1).lines)) <= 1000


def test_a_line_without_end_is_cut() -> None:
    log = LogBuffer()
    log.extend(["x" * 1_000_000])
    assert len(log.read_window().lines[0]) < MAX_LINE_CHARACTERS + 10
    assert LogBuffer().read_window().lines == ()


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("plain", [("", "plain")]),
        ("\x1b[31mred\x1b[0m end", [("sgr-red", "red"), ("", " end")]),
        ("\x1b[1;32mok\x1b[39m bold\x1b[22m.", [("sgr-bold sgr-green", "ok"), ("sgr-bold", " bold"), ("", ".")]),
        ("\x1b[38;5;208mx\x1b[48;2;0;99;3my", [("sgr-yellow", "x"), ("sgr-yellow sgr-on-green", "y")]),
        (
            "\x1b[38;2;0;128;255mx\x1b[38;5;9my\x1b[38;5;250mz",
            [("sgr-cyan", "x"), ("sgr-red", "y"), ("sgr-white", "z")],
        ),
        ("\x1b[38;5mx\x1b[38;2;999;0;0my\x1b[38mz", [("", "x"), ("", "y"), ("", "z")]),
        ("\x1b[mreset", [("", "reset")]),
        ("\x1b[41m<b>\x1b[49m", [("sgr-on-red", "<b>")]),
    ],
)
def test_colours(line: str, pieces: list[tuple[str, str]]) -> None:
    assert split_segments(line) == pieces


def test_hits_are_marked_within_colours() -> None:
    assert mark_hits([("sgr-red", "An ERROR, an error")], "error") == [
        ("sgr-red", "An "),
        ("sgr-red hit", "ERROR"),
        ("sgr-red", ", an "),
        ("sgr-red hit", "error"),
    ]
    assert mark_hits([("", "abc")], "") == [("", "abc")]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["#7 RUN go build", "./main.go:31:7: syntax error: unexpected name", "build-image: the build failed"], 1),
        (["starting", "fatal: could not read from remote", "exit status 128"], 1),
        (["all is well", "done"], -1),
        (["the build failed"], 0),
        (["\x1b[31merror\x1b[0m: no space left on device"], 0),
    ],
)
def test_the_line_that_tells_why(lines: list[str], line: int) -> None:
    assert find_error_line(lines) == line


@pytest.mark.parametrize("text", ["a", "a.", ".", "a.a:1", "./", "a:1:"])
def test_long_words_do_not_keep_the_line_that_tells_why(text: str) -> None:
    lines = [text * (MAX_LINE_CHARACTERS // len(text))] * 200
    start = time.thread_time()
    assert find_error_line([*lines, "./main.go:31:7: syntax error"]) == 200
    assert time.thread_time() - start < 1


def test_a_search_covers_the_lines_that_come_after_it() -> None:
    log = LogBuffer()
    log.extend(["an error", "fine"])
    search = LogSearch(log, "ERROR")
    assert (search.hits, search.place, search.line) == ([1], 0, 0)
    log.extend(["fine", "error again", "the last error"])
    search.catch_up()
    assert search.hits == [1, 4, 5]
    assert [search.move(1), search.move(1), search.place] == [1, 4, 2]
    assert [search.move(1), search.move(1), search.move(-1)] == [5, 1, 5]
    assert LogSearch(log, "error").move(-1) == 5


def test_a_search_without_a_hit_finds_it_when_it_comes() -> None:
    log = LogBuffer()
    search = LogSearch(log, "late")
    assert (search.hits, search.move(1), search.place) == ([], 0, 0)
    log.extend(["too late"])
    search.catch_up()
    assert (search.hits, search.place, search.move(1)) == ([1], 0, 1)
    assert (LogSearch(log).hits, LogSearch().hits, LogSearch(None, "late").move(1)) == ([], [], 0)


def test_a_search_forgets_the_lines_that_are_gone() -> None:
    log = LogBuffer(most_lines=100)
    log.extend(f"{number}" for number in range(1, 101))
    search = LogSearch(log, "1")
    first, last = search.move(1), search.move(-1)
    log.extend(f"{number}" for number in range(101, 111))
    search.catch_up()
    assert (first, last, search.line, search.hits[0]) == (1, 100, 100, 21)
    assert search.hits == LogSearch(log, "1").hits
    search = LogSearch(log, "2")
    assert search.move(1) == 21
    log.extend(f"{number}" for number in range(111, 201))
    search.catch_up()
    assert (search.place, search.hits) == (0, LogSearch(log, "2").hits)


def test_a_search_stays_quick_while_100_000_lines_stream_in() -> None:
    log = LogBuffer()
    search, slowest = LogSearch(log, "9"), 0.0
    for first in range(0, 100_000, 500):
        log.extend(f"line {number} of a build" for number in range(first + 1, first + 501))
        start = time.thread_time()  # what the machine does besides does not count
        search.catch_up()
        slowest = max(slowest, time.thread_time() - start)
    assert search.hits == LogSearch(log, "9").hits
    assert slowest < 0.1


class Pods:
    """The first asking finds the container not started; the second has its log."""

    def __init__(self, *lines: str, error: ApiError | None = None) -> None:
        self.asked = 0
        self._lines, self._error = lines, error

    def follow_log(self, namespace: str, pod: str, container: str = "", *, tail_lines: int | None = None) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise ApiError("container is waiting to start", status=400)
        return _Stream(self._lines, self._error)


class _Stream:
    def __init__(self, lines: Iterable[str], error: ApiError | None) -> None:
        self._lines, self._error = lines, error

    def __enter__(self) -> Iterator[str]:
        yield from self._lines
        if self._error:
            raise self._error

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass


def followed(pods: Pods) -> LogTail:
    tail = LogTail(pods, "pod", "step-a", lambda lines: [each.replace("secret", "***") for each in lines])
    end = time.monotonic() + 5
    while not (tail.over and tail.version) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)
    return tail


def test_a_tail_waits_for_its_container_and_masks_what_it_gets() -> None:
    tail = followed(Pods("a secret", "b"))
    assert (tail.log.read_window().lines, tail.why, tail.over) == (("a ***", "b"), "", True)


def test_the_first_line_is_handed_on_at_once_and_those_after_it_together() -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    batches: list[list[str]] = []

    class Talking(Pods):
        def follow_log(self, *_: object, **__: object) -> Any:
            return _Stream(iter(told.get, ""), None)

    def mask(lines: Iterable[str]) -> list[str]:
        batches.append([*lines])
        return batches[-1]

    tail = LogTail(Talking(), "pod", "step-a", mask)
    for line in "abcdefgh":
        told.put(line)
        time.sleep(0.01)
    told.put("")
    end = time.monotonic() + 5
    while len(tail.log.read_window().lines) < 8 and time.monotonic() < end:
        time.sleep(0.01)
    assert batches[0] == ["a"]
    assert tail.log.read_window().lines == tuple("abcdefgh")
    assert len(batches) < 5
    tail.close()


def test_a_tail_that_breaks_off_says_why_and_keeps_what_it_has() -> None:
    tail = followed(Pods("a", error=ApiError("gone", status=0)))
    assert (tail.log.read_window().lines, tail.why) == (("a",), "gone")
