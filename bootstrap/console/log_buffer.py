"""The log of a step, kept here so that a browser only ever holds a window of it. Pure.

A build may print more lines than a page can hold. What is kept is bounded as well: the oldest lines go first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LINES, MAX_CHARACTERS = 250_000, 32_000_000
"""The most that is kept of one step's log; beyond that the oldest lines are dropped."""
MAX_LINE_CHARACTERS = 4_000
"""Characters of a line; what is beyond is cut off."""
WINDOW_LINES = 600
"""Lines that a page is given at once."""

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

Segment = tuple[str, str]
"""CSS classes, separated by spaces, and the text that they are for."""


@dataclass(frozen=True)
class Window:
    """Some lines of a log that follow each other.

    first: number of the first of them, counted from 1. total: number of the log's last line. dropped: how many lines at
    the log's beginning are no longer kept.
    """

    first: int
    lines: tuple[str, ...]
    total: int
    dropped: int

    @property
    def last(self) -> int:
        """Number of the last of the lines."""
        return self.first + len(self.lines) - 1


class LogBuffer:
    """The lines of a growing log, addressed by number from 1 on; numbers stay when old lines are dropped.

    Threads may share it.
    """

    def __init__(self, most_lines: int = MAX_LINES, most_characters: int = MAX_CHARACTERS) -> None:
        self._most = (most_lines, most_characters)
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._characters = 0
        self._dropped = 0

    @property
    def span(self) -> tuple[int, int]:
        """Numbers of the first and the last line that is kept; (1, 0) for an empty log."""
        with self._lock:
            return self._dropped + 1, self._dropped + len(self._lines)

    def extend(self, lines: Iterable[str]) -> None:
        """Append lines, cut to MAX_LINE_CHARACTERS, and drop the oldest if there are too many."""
        short = [each if len(each) <= MAX_LINE_CHARACTERS else each[:MAX_LINE_CHARACTERS] + " …" for each in lines]
        with self._lock:
            self._lines += short
            self._characters += sum(map(len, short))
            most, characters = self._most
            if len(self._lines) > most or self._characters > characters:
                self._drop(most * 9 // 10, characters * 9 // 10)

    def read_window(self, first: int = 0, size: int = WINDOW_LINES) -> Window:
        """Up to `size` lines from line `first` on, or the last ones for 0."""
        with self._lock:
            total = self._dropped + len(self._lines)
            wanted = first or total - size + 1
            begin = min(max(wanted - 1 - self._dropped, 0), max(0, len(self._lines) - 1))
            return Window(self._dropped + begin + 1, tuple(self._lines[begin : begin + size]), total, self._dropped)

    def find_lines(self, text: str, first: int, last: int) -> list[int]:
        """Numbers of the lines from `first` to `last` that contain the text, in upper or lower case."""
        wanted = text.lower()
        with self._lock:
            start = max(first, self._dropped + 1)
            lines = self._lines[start - 1 - self._dropped : max(0, last - self._dropped)]
        return [number for number, line in enumerate(lines, start) if wanted in line.lower()]

    def read_tail(self, count: int) -> list[str]:
        """The last `count` lines."""
        with self._lock:
            return self._lines[-count:]

    def _drop(self, lines: int, characters: int) -> None:
        """Keep at most so many lines and characters. Callers ask for a tenth less than the limit, so that not every
        further line drops one."""
        gone = max(0, len(self._lines) - lines)
        self._characters -= sum(map(len, self._lines[:gone]))
        while self._characters > characters and gone < len(self._lines) - 1:
            self._characters -= len(self._lines[gone])
            gone += 1
        del self._lines[:gone]
        self._dropped += gone


def strip_colours(line: str) -> str:
    """The line without the terminal's codes for colours."""
    return _SGR.sub("", line)


def is_clipped(line: str) -> bool:
    """Whether the line says that BuildKit left out what a step printed after it."""
    return "[output clipped, log limit " in line


def split_segments(line: str) -> list[Segment]:
    """Split a line at the terminal's codes for colours (SGR) into pieces with CSS classes.

    The 16 colours, bold, dim, italic and underlined have classes (style.css). Of other colours the nearest is taken;
    other codes are left out.
    """
    pieces: list[Segment] = []
    look: dict[str, str] = {}
    place = 0
    for match in _SGR.finditer(line):
        _add_segment(pieces, look, line[place : match.start()])
        _apply_codes(look, match[1])
        place = match.end()
    _add_segment(pieces, look, line[place:])
    return pieces


def mark_hits(pieces: Sequence[Segment], text: str) -> list[Segment]:
    """The same pieces, split so that every occurrence of `text` within one of them has the class `hit` too."""
    if not text:
        return list(pieces)
    split: list[Segment] = []
    for classes, piece in pieces:
        rest, lower, wanted = piece, piece.lower(), text.lower()
        if len(lower) != len(piece):  # a letter whose small form is longer: places would not fit
            split.append((classes, piece))
            continue
        while (at := lower.find(wanted)) >= 0:
            if at:
                split.append((classes, rest[:at]))
            split.append((f"{classes} hit".strip(), rest[at : at + len(wanted)]))
            rest, lower = rest[at + len(wanted) :], lower[at + len(wanted) :]
        if rest:
            split.append((classes, rest))
    return split


def _add_segment(pieces: list[Segment], look: dict[str, str], text: str) -> None:
    if text:
        pieces.append((" ".join(look.values()), text))


def _apply_codes(look: dict[str, str], codes: str) -> None:
    numbers = [int(each or 0) for each in codes.split(";")]
    index = 0
    while index < len(numbers):
        code = numbers[index]
        if code in (38, 48):  # a colour of 256, or of all
            few = numbers[index + 1 : index + 2] == [5]
            kind, ground = ("ground", "on-") if code == 48 else ("colour", "")
            name = _find_colour(numbers[index + 2 : index + 3] if few else numbers[index + 2 : index + 5])
            if name:
                look[kind] = f"sgr-{ground}{name}"
            index += 3 if few else 5
            continue
        _apply_code(look, code)
        index += 1


def _find_colour(numbers: Sequence[int]) -> str:
    """The name of the colour nearest to one of 256 ([number]), or of all ([red, green, blue]); "" for none of these.

    Ours can be read on a light and on a dark ground, which those of a program may not.
    """
    if len(numbers) == 1 and numbers[0] < 16:
        return _COLOURS[numbers[0] % 8]
    if len(numbers) == 1 and numbers[0] < 232:
        cube = numbers[0] - 16
        numbers = [55 + 40 * each if each else 0 for each in (cube // 36, cube // 6 % 6, cube % 6)]
    elif len(numbers) == 1:
        numbers = [min(255, 8 + 10 * (numbers[0] - 232))] * 3
    if len(numbers) != 3 or max(numbers) > 255:
        return ""
    low, high = min(numbers), max(numbers)
    if high - low < 48:  # grey
        return "white" if high > 127 else "black"
    bits = (each - low > (high - low) / 2 for each in numbers)
    return _COLOURS[sum(2**place for place, bit in enumerate(bits) if bit)]


def _apply_code(look: dict[str, str], code: int) -> None:
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


_PLACE = re.compile(r"[\w./-]\.\w{1,16}+:\d{1,9}+(?::\d{1,9}+)?:? ")
"""The end of a file's name, a line and perhaps a column."""
SCORED_CHARACTERS = 500
"""What of a line is looked at to find the cause of a failure."""
_ERROR = re.compile(
    r"\b(error|fatal|panic|exception|traceback|undefined|cannot|can't|could not|denied|refused|not found|"
    r"no such|invalid|missing|unable|FAIL|failed|timed? ?out|exceeded|killed)\b",
    re.IGNORECASE,
)
_WEAK = re.compile(
    r"^\s*(\.\.\.|note:|hint:|warning:)|the build failed|exit (code|status)|did not complete", re.IGNORECASE
)


def find_error_line(lines: Sequence[str]) -> int:
    """The index of the line that best says why a step failed, or -1 if no line does.

    A place in a source file with what is wrong there says more than a word like "error", and that more than a summary
    at the end; of equals the first counts, for the others mostly follow from it.
    """
    best_score, best_index = 0, -1
    for index, line in enumerate(map(strip_colours, lines)):
        score = _score_line(line)
        if score > best_score:
            best_score, best_index = score, index
    return best_index


def _score_line(whole: str) -> int:
    line = whole[:SCORED_CHARACTERS]
    score = (3 if _PLACE.search(line) else 0) + (2 if _ERROR.search(line) else 0)
    return 1 if score and _WEAK.search(line) else score
