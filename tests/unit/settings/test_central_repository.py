"""The central repository by the settings."""

from __future__ import annotations

from dataclasses import replace

from bootstrap.incluster.application_source import Source
from bootstrap.settings.central_repository import find_source
from bootstrap.settings.config import ApplicationSettings, Config


def test_it_is_where_the_settings_say() -> None:
    assert find_source(Config()) is None
    apps = ApplicationSettings(repository="https://git.example.com/p.git", branch="next", path="", interval=60)
    assert find_source(replace(Config(), apps=apps)) == Source("https://git.example.com/p.git", "next", "", 60)
