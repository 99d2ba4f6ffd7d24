"""Durations and ages as people read them."""

from __future__ import annotations

from datetime import datetime

from bootstrap.console.translations import Translator


def format_duration(seconds: float) -> str:
    """ "4 s", "6m12s", "1h02m": short enough for a column, and the same in every language. Negative counts as 0."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def format_age(when: str, now: datetime, translate: Translator) -> str:
    """ "just now", "3 min ago", "2 h ago", "5 d ago". when: ISO 8601 with a zone, "" for no time, which gives ""."""
    if not when:
        return ""
    seconds = max(0.0, (now - datetime.fromisoformat(when)).total_seconds())
    for limit, unit, per in ((45, "", 1), (90 * 60, "{n} min ago", 60), (36 * 3600, "{n} h ago", 3600)):
        if seconds < limit:
            return translate(unit, n=max(1, round(seconds / per))) if unit else translate("just now")
    return translate("{n} d ago", n=round(seconds / 86400))
