"""The log of a step, kept here so that a browser only ever holds a window of it. Pure.

A build may print more lines than a page can hold. What is kept is bounded as well: the oldest lines go first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_LINES, MOST_CHARACTERS = 250_000, 32_000_000
"""Of one step; what is beyond is dropped, oldest first."""
LONGEST = 4_000
"""Characters of a line that are kept."""
WINDOW = 600
"""Lines that a page is given at once."""

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

Segment = tuple[str, str]
"""CSS classes, and the text that they are for."""


@dataclass(frozen=True)
class Window:
    """first: the number of the first line, 1-based. total: of the last line there is. dropped: lines that are gone."""

    first: int
    lines: tuple[str, ...]
    total: int
    dropped: int

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1


class Log:
    """Lines by number. Threads may share it."""

    def __init__(self, most_lines: int = MOST_LINES, most_characters: int = MOST_CHARACTERS) -> None:
        self._most = (most_lines, most_characters)
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._characters = 0
        self._dropped = 0

    @property
    def span(self) -> tuple[int, int]:
        """Numbers of the first and the last line there is."""
        with self._lock:
            return self._dropped + 1, self._dropped + len(self._lines)

    def extend(self, lines: Iterable[str]) -> None:
        short = [each if len(each) <= LONGEST else each[:LONGEST] + " …" for each in lines]
        with self._lock:
            self._lines += short
            self._characters += sum(map(len, short))
            most, characters = self._most
            if len(self._lines) > most or self._characters > characters:
                self._drop(most * 9 // 10, characters * 9 // 10)

    def window(self, first: int = 0, size: int = WINDOW) -> Window:
        """From line `first` on; 0 is the end of the log."""
        with self._lock:
            total = self._dropped + len(self._lines)
            wanted = first or total - size + 1
            begin = min(max(wanted - 1 - self._dropped, 0), max(0, len(self._lines) - 1))
            return Window(self._dropped + begin + 1, tuple(self._lines[begin : begin + size]), total, self._dropped)

    def find(self, text: str, first: int, last: int) -> list[int]:
        """Numbers of those lines from `first` to `last` that hold the text, upper and lower case alike."""
        wanted = text.lower()
        with self._lock:
            start = max(first, self._dropped + 1)
            lines = self._lines[start - 1 - self._dropped : max(0, last - self._dropped)]
        return [number for number, line in enumerate(lines, start) if wanted in line.lower()]

    def tail(self, count: int) -> list[str]:
        with self._lock:
            return self._lines[-count:]

    def _drop(self, lines: int, characters: int) -> None:
        """A tenth at once, so that it is not done again for each line."""
        gone = max(0, len(self._lines) - lines)
        self._characters -= sum(map(len, self._lines[:gone]))
        while self._characters > characters and gone < len(self._lines) - 1:
            self._characters -= len(self._lines[gone])
            gone += 1
        del self._lines[:gone]
        self._dropped += gone


def plain(line: str) -> str:
    return _SGR.sub("", line)


def segments(line: str) -> list[Segment]:
    """The line in pieces of one look each. Only the 16 colours of the terminal are known, bold, dim and underlined."""
    found: list[Segment] = []
    look: dict[str, str] = {}
    place = 0
    for match in _SGR.finditer(line):
        _add(found, look, line[place : match.start()])
        _turn(look, match[1])
        place = match.end()
    _add(found, look, line[place:])
    return found


def marked(pieces: Sequence[Segment], text: str) -> list[Segment]:
    """The same pieces with class `hit` wherever `text` occurs within one of them."""
    if not text:
        return list(pieces)
    made: list[Segment] = []
    for classes, piece in pieces:
        rest, lower, wanted = piece, piece.lower(), text.lower()
        if len(lower) != len(piece):  # a letter whose small form is longer: places would not fit
            made.append((classes, piece))
            continue
        while (at := lower.find(wanted)) >= 0:
            if at:
                made.append((classes, rest[:at]))
            made.append((f"{classes} hit".strip(), rest[at : at + len(wanted)]))
            rest, lower = rest[at + len(wanted) :], lower[at + len(wanted) :]
        if rest:
            made.append((classes, rest))
    return made


def _add(found: list[Segment], look: dict[str, str], text: str) -> None:
    if text:
        found.append((" ".join(look.values()), text))


def _turn(look: dict[str, str], codes: str) -> None:
    numbers = [int(each or 0) for each in codes.split(";")]
    index = 0
    while index < len(numbers):
        code = numbers[index]
        if code in (38, 48):  # a colour of 256 or of all: its numbers are passed over
            index += 3 if numbers[index + 1 : index + 2] == [5] else 5
            continue
        _set(look, code)
        index += 1


def _set(look: dict[str, str], code: int) -> None:
    weights = {1: "bold", 2: "dim", 3: "italic", 4: "underlined"}
    if code == 0:
        look.clear()
    elif code in weights:
        look[weights[code]] = f"sgr-{weights[code]}"
    elif code == 22:
        look.pop("bold", None)
        look.pop("dim", None)
    elif code in (23, 24):
        look.pop(weights[code - 20], None)
    elif 30 <= code <= 37 or 90 <= code <= 97:
        look["colour"] = f"sgr-{_COLOURS[code % 10]}"
    elif code == 39:
        look.pop("colour", None)
    elif 40 <= code <= 47 or 100 <= code <= 107:
        look["ground"] = f"sgr-on-{_COLOURS[code % 10]}"
    elif code == 49:
        look.pop("ground", None)


_PLACE = re.compile(r"[\w./-]+\.\w+:\d+(:\d+)?:? ")
_ERROR = re.compile(
    r"\b(error|fatal|panic|exception|traceback|undefined|cannot|can't|could not|denied|refused|not found|"
    r"no such|invalid|missing|unable|FAIL|failed|timed? ?out|exceeded|killed)\b",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"^\s*(\.\.\.|note:|hint:|warning:)|the build failed|exit (code|status)|did not complete", re.IGNORECASE
)


def telling(lines: Sequence[str]) -> int:
    """The index of the line that says best why a step failed, -1 if none does.

    A place in a source file with what is wrong there says more than a word like "error", and that more than a summary
    at the end; of equals the first counts, for the others mostly follow from it.
    """
    best, found = 0, -1
    for index, line in enumerate(map(plain, lines)):
        score = 0
        if _PLACE.search(line):
            score += 3
        if _ERROR.search(line):
            score += 2
        if score and _WEAK.search(line):
            score = 1
        if score > best:
            best, found = score, index
    return found
