"""What a reader sees before the library is loaded."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import Any, cast

import pytest

from bootstrap.console.context import STYLE
from bootstrap.console.preferences import LANGUAGE, THEME, Preferences, read_preferences
from bootstrap.console.static_page import StaticPage
from bootstrap.console.translations import CHINESE, Translator
from bootstrap.console.watch_cache import PATIENCE
from bootstrap.objects.run_status import Run, RunState
from tests.unit.console_process import EVIL

ENGLISH = Preferences(Translator(), "auto")
RUNS = [
    Run("go-1", "cicd", RunState.FAILED, branch=EVIL, commit="3f9c2e1" + "0" * 33, why=f"failed: {EVIL}"),
    Run("go-0", "cicd", RunState.SUCCEEDED, branch="main", image=f"r/x@sha256:{'8' * 64}"),
]


class FakeWatchCache:
    """Reads its runs after so many seconds, if it does. wanted: runs whose tasks were asked for."""

    def __init__(self, *runs: Run, after: float | None = 0) -> None:
        self.settled = threading.Event()
        self.wanted: list[str] = []
        self._runs = [*runs]
        if after is not None:
            threading.Timer(after, self.settled.set).start()

    def wait_until_settled(self) -> None:
        self.settled.wait(PATIENCE)

    def list_runs(self) -> list[Run]:
        return self._runs if self.settled.is_set() else []

    def request_tasks(self, names: Any) -> None:
        self.wanted += names


def pieces(cache: FakeWatchCache, preferences: Preferences = ENGLISH, path: str = "/") -> list[str]:
    ahead = ["/_nicegui/1/static/a.css", "/_nicegui/1/static/a.js"]
    static_page = StaticPage(cast(Any, cache), lambda rows: rows, "demo <1>", STYLE.read_text(), ahead)

    async def all_of() -> list[str]:
        return [each async for each in static_page(preferences, path)]

    return asyncio.run(all_of())


def test_the_runs_are_there_as_soon_as_they_are_read_and_can_be_followed() -> None:
    cache = FakeWatchCache(*RUNS, after=0.05)
    ahead, head, body = pieces(cache)
    assert re.findall(r'as="(\w+)" href="([^"]+)"', ahead) == [
        ("style", "/_nicegui/1/static/a.css"),
        ("script", "/_nicegui/1/static/a.js"),
    ]
    assert "demo &lt;1&gt;" in head
    assert re.findall(r'href="(/run/[^"]+)"', body) == ["/run/go-1", "/run/go-0"]
    assert re.findall(r'<span class="pill is-(\w+)">(\w+)<', body) == [("Failed", "Failed"), ("Succeeded", "Succeeded")]
    assert '<a class="go" href="/?start=1">Start a run</a>' in body
    assert "3f9c2e1<" in body
    assert cache.wanted == ["go-1", "go-0"]


def test_everything_stays_text() -> None:
    page = "".join(pieces(FakeWatchCache(*RUNS)))
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&lt;/script&gt;") == 2


def test_no_reader_waits_for_a_cluster_that_does_not_answer() -> None:
    """With a cache that is not settled it waits for PATIENCE seconds, and not at all with one that is."""
    assert "Reading the cluster" in pieces(FakeWatchCache())[-1]
    start = time.monotonic()
    assert "Reading the cluster" in pieces(FakeWatchCache(*RUNS, after=None))[-1]
    assert time.monotonic() - start >= PATIENCE


def test_another_page_only_has_its_files_named() -> None:
    [ahead] = pieces(FakeWatchCache(*RUNS), path="/run/go-1")
    assert ahead.startswith("<link ")


@pytest.mark.parametrize(
    ("theme", "dark"), [("light", ""), ("dark", ":root {"), ("auto", "@media (prefers-color-scheme: dark) { :root {")]
)
def test_it_is_in_the_readers_language_and_appearance(theme: str, dark: str) -> None:
    _, head, body = pieces(FakeWatchCache(*RUNS), Preferences(Translator(CHINESE), theme))
    added = head.rpartition("</style>")[0].partition(STYLE.read_text())[2]
    assert added.startswith(dark)
    assert ("--ground: #12161c" in added) == bool(dark)
    assert "部署" in head
    assert "失败" in body


def test_the_choice_of_a_reader_goes_before_what_the_browser_prefers() -> None:
    chosen = read_preferences({LANGUAGE: "en", THEME: "dark"}, "zh-CN")
    assert (chosen.translate.language, chosen.theme) == ("en", "dark")
    other = read_preferences({LANGUAGE: "xx", THEME: "x"}, "zh-CN,en;q=0.5")
    assert (other.translate.language, other.theme) == ("zh", "auto")
