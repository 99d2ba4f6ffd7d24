"""How long a busy server asks to be left alone: the Retry-After header, read in one place for the whole product."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_retry_after(text: str, now: float) -> float | None:
    """Seconds from `now` (seconds since the epoch), 0 for a date that is past; None if `text` is neither form.

    RFC 9110, 10.2.3: a whole number of seconds, or an HTTP date in one of the three forms of its section 5.6.7. A date
    without a zone is one of the third form, which is in UTC.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # a number longer than that is decades anyway
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)
