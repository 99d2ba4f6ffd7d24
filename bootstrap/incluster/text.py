"""Other people's text made safe to show: a log, a branch, a server's message."""

from __future__ import annotations

import re

ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links and other strings
    r"|\x1b[ -/]*[0-~]?"
)
"""A terminal's escape sequences (ECMA-48), whole or cut off."""
BIDI = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that change the direction of what follows, as the inside of a regular expression's brackets."""
SURROGATES = "\ud800-\udfff"
"""Halves of a character, which JSON can spell and no file or terminal takes; as BIDI."""
_CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}{SURROGATES}]")


def clean(text: str) -> str:
    """Without escape sequences and control characters, which could forge lines of a terminal.

    Newlines and tabs stay; of a line redrawn by carriage returns its last state stays.
    """
    return _CONTROLS.sub("", keep_last_state(ESCAPES.sub("", text.replace("\r\n", "\n"))))


def keep_last_state(text: str) -> str:
    """Of each line what carriage returns left of it."""
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def one_line(text: str) -> str:
    """`clean`, and on one line."""
    return " ".join(clean(text).split())
