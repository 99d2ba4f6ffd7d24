from __future__ import annotations

import pytest

from bootstrap.core.text import format_count, format_duration, suggest_word


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
    assert format_duration(seconds) == text


def test_count() -> None:
    assert [format_count(1, "fault"), format_count(3, "fault"), format_count(2, "entry", "entries")] == [
        "1 fault",
        "3 faults",
        "2 entries",
    ]


def test_meant() -> None:
    assert suggest_word("prot", ["port", "name"]) == "; did you mean port?"
    assert suggest_word("zzz", ["port"]) == ""
