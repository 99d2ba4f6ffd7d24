from __future__ import annotations

import pytest

from bootstrap.core.text import clean, count, duration, meant, one_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1m00s"),
        (372, "6m12s"),
        (3599.7, "1h00m"),
        (3720, "1h02m"),
        (-1, "0 s"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


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
    ],
)
def test_clean(foreign: str, shown: str) -> None:
    assert clean(foreign) == shown


def test_one_line() -> None:
    assert one_line(" a\n\n b\tc\x1b[0m ") == "a b c"


def test_count() -> None:
    assert [count(1, "fault"), count(3, "fault"), count(2, "entry", "entries")] == ["1 fault", "3 faults", "2 entries"]


def test_meant() -> None:
    assert meant("prot", ["port", "name"]) == "; did you mean port?"
    assert meant("zzz", ["port"]) == ""
