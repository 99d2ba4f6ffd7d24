"""A reader's preferences: language, appearance and time zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bootstrap.console.translations import LANGUAGES, Translator, choose_language
from bootstrap.console.views.times import format_age

THEMES = {"auto": "As the system", "light": "Light", "dark": "Dark"}
LANGUAGE, THEME, ZONE = "console-language", "console-theme", "console-zone"
"""Names of the cookies that hold the reader's choices, and the name of the browser's time zone."""
TELL_ZONE = (
    f"document.cookie = '{ZONE}=' + Intl.DateTimeFormat().resolvedOptions().timeZone"
    " + '; path=/; max-age=31536000; samesite=strict'"
)
"""JavaScript by which a browser keeps its time zone in the cookie."""


@dataclass
class Preferences:
    """Of the reader of one page. translate: into the reader's language. theme: auto, light or dark. zone: the browser's
    time zone, which the page that leads to the first one has the browser keep in a cookie; UTC if there is none."""

    translate: Translator
    theme: str
    zone: tzinfo = UTC

    def format_time(self, when: str) -> str:
        """An ISO 8601 time as "2026-11-25 14:03:07" in the reader's zone; "" for ""."""
        return datetime.fromisoformat(when).astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S") if when else ""

    def format_stamp(self, when: str) -> str:
        """As `format_time`, with the zone's offset: "2026-11-25 14:03:07 +0100"."""
        return datetime.fromisoformat(when).astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S %z") if when else ""

    def format_clock(self, when: str) -> str:
        """An ISO 8601 time as "14:03:07" in the reader's zone, without the day; "" for ""."""
        return self.format_time(when)[11:]

    def format_age(self, when: str) -> str:
        """How long ago an ISO 8601 time was, in the reader's language; "" for ""."""
        return format_age(when, datetime.now(UTC), self.translate)

    def translate_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row of `views.runs.describe_run` with "word", "way", "ago" and "stamp": its state, how it was started, and
        when, in the reader's language and zone."""
        return {
            **row,
            "word": self.translate(row["state"]),
            "why": self.translate.translate_message(row["why"]),
            "way": self.translate(row["by"]),
            "ago": self.format_age(row["created"]),
            "stamp": self.format_stamp(row["created"]),
        }

    def set_time_zone(self, name: str, minutes_behind: int) -> None:
        """name: of the zone in the IANA database, as browsers give it. minutes_behind: behind UTC, for a name that is
        not known here."""
        try:
            self.zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.zone = timezone(timedelta(minutes=-minutes_behind))


def read_preferences(cookies: Mapping[str, str], accepted: str) -> Preferences:
    """The reader's choices in the cookies; without one for the language, what Accept-Language (accepted) prefers."""
    language, theme = cookies.get(LANGUAGE, ""), cookies.get(THEME, "")
    preferences = Preferences(
        Translator(language if language in LANGUAGES else choose_language(accepted)),
        theme if theme in THEMES else "auto",
    )
    if cookies.get(ZONE):
        preferences.set_time_zone(cookies[ZONE], 0)
    return preferences
