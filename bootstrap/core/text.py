"""Words for people: lengths of time, sizes, and foreign text made safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links and other strings
    r"|\x1b[ -/]*[0-~]?"
)
_BIDI = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}]")


def clean(text: str) -> str:
    """Without escape sequences and control characters, which could forge lines of a terminal.

    Newlines and tabs stay; of a line redrawn by carriage returns its last state stays.
    """
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROLS.sub("", text)


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROLS_BUT_ESCAPE = re.compile(f"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f{_BIDI}]")


def coloured(text: str) -> str:
    """`clean`, but the sequences that set colours and weight stay, and they alone."""
    text = _ESCAPES.sub(lambda match: match[0] if _COLOUR.fullmatch(match[0]) else "", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROLS_BUT_ESCAPE.sub("", text)


def one_line(text: str) -> str:
    """`clean`, and on one line."""
    return " ".join(clean(text).split())


def duration(seconds: float) -> str:
    """ "4 s", "6m12s", "1h02m"."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def count(number: int, noun: str, plural: str = "") -> str:
    """ "1 fault", "3 faults"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def meant(word: str, words: Iterable[str], *, mark: str = "") -> str:
    """The end of a message about an unknown word: "; did you mean port?", or nothing. mark: set before it."""
    import difflib

    close = difflib.get_close_matches(word[:80], list(words), n=1)
    return f"; did you mean {mark}{close[0]}?" if close else ""
