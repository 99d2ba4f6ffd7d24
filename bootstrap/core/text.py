"""Words for people: lengths of time, sizes, and foreign text made safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from bootstrap.incluster.text import BIDI, ESCAPES, SURROGATES, keep_last_state

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROLS_BUT_ESCAPE = re.compile(f"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f{BIDI}{SURROGATES}]")


def clean_except_colours(text: str) -> str:
    """`clean`, but the sequences that set colours and weight stay, and they alone."""
    text = ESCAPES.sub(lambda match: match[0] if _COLOUR.fullmatch(match[0]) else "", text.replace("\r\n", "\n"))
    return _CONTROLS_BUT_ESCAPE.sub("", keep_last_state(text))


def format_duration(seconds: float) -> str:
    """ "4 s", "6m12s", "1h02m"."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def format_age(since: str, now: datetime) -> str:
    """ "3 min", "2 h", "5 d"; "" without a time. since: as ISO 8601."""
    try:
        seconds = (now - datetime.fromisoformat(since)).total_seconds()
    except ValueError:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """ "1 fault", "3 faults"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def suggest_word(word: str, words: Iterable[str], *, mark: str = "") -> str:
    """The end of a message about an unknown word: "; did you mean port?", or "". mark: set before the suggestion."""
    import difflib

    close = difflib.get_close_matches(word[:80], list(words), n=1)
    return f"; did you mean {mark}{close[0]}?" if close else ""
