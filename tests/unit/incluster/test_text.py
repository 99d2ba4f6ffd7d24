"""Foreign text: what of it could forge a line is gone."""

from __future__ import annotations

import pytest

from bootstrap.incluster.text import clean, one_line


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain\n\ttext äß…", "plain\n\ttext äß…"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x1b", "a"),
        ("\x9b31mred", "31mred"),
        ("10%\r20%\r\ndone\r\n", "20%\ndone\n"),
        ("bell\x07 null\x00 del\x7f", "bell null del"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("half \ud83d of a character", "half  of a character"),
    ],
)
def test_clean(foreign: str, shown: str) -> None:
    assert clean(foreign) == shown


def test_one_line() -> None:
    assert one_line(" a\n\n b\tc\x1b[0m ") == "a b c"
