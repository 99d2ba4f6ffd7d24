"""The Retry-After header: seconds, or a date in each of the forms that HTTP has."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bootstrap.incluster.retry_after import parse_retry_after

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        (" 7\r", 7),
        ("99999999999999", 999_999_999),
        ("9" * 400, 999_999_999),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30),
        ("Tuesday, 24-Nov-26 12:00:30 GMT", 30),
        ("Tue Nov 24 12:00:30 2026", 30),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0),
    ],
)
def test_seconds_and_dates(text: str, seconds: float) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "\u00b2", "Tue, 99 Nov 9999999 12:00:30 GMT"])
def test_what_is_neither_says_nothing(text: str) -> None:
    assert parse_retry_after(text, NOW) is None
