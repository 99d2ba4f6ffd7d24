"""Who looks at a page: in which language, which appearance and which time zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bootstrap.console.translations import LANGUAGES, Words, preferred
from bootstrap.console.views.times import ago

THEMES = {"auto": "As the system", "light": "Light", "dark": "Dark"}
LANGUAGE, THEME = "console-language", "console-theme"
"""Cookies with the reader's choice."""


@dataclass
class Reader:
    """theme: auto, light or dark. zone: of the browser, as soon as it has said so."""

    words: Words
    theme: str
    zone: tzinfo = UTC

    def stamp(self, when: str) -> str:
        """ "2026-11-25 14:03:07" in the reader's zone, "" for no time."""
        return datetime.fromisoformat(when).astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S") if when else ""

    def ago(self, when: str) -> str:
        return ago(when, datetime.now(UTC), self.words)

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One of the list of runs, with its state, its way and its time as the reader says them."""
        return {
            **row,
            "word": self.words(row["state"]),
            "way": self.words(row["by"]),
            "ago": self.ago(row["created"]),
            "stamp": self.stamp(row["created"]),
        }

    def live_in(self, name: str, minutes_behind: int) -> None:
        """name: of the time zone, as a browser calls it; minutes_behind: what it is behind UTC."""
        try:
            self.zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.zone = timezone(timedelta(minutes=-minutes_behind))


def reader_of(cookies: Mapping[str, str], accepted: str) -> Reader:
    """As chosen, else as the browser prefers. accepted: its Accept-Language."""
    language, theme = cookies.get(LANGUAGE, ""), cookies.get(THEME, "")
    return Reader(
        Words(language if language in LANGUAGES else preferred(accepted)), theme if theme in THEMES else "auto"
    )
