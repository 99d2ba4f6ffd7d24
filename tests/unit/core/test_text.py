from __future__ import annotations

import pytest

from bootstrap.core.text import count, duration, meant


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


def test_count() -> None:
    assert [count(1, "fault"), count(3, "fault"), count(2, "entry", "entries")] == ["1 fault", "3 faults", "2 entries"]


def test_meant() -> None:
    assert meant("prot", ["port", "name"]) == "; did you mean port?"
    assert meant("zzz", ["port"]) == ""
