"""Where on the window things are: what a reader must see, he must see without looking for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser import Visit, chromium
from tests.unit import console_scene as scene
from tests.unit.console.test_server import Process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
PAGES = {
    "runs": "/",
    "run": f"/run/{scene.BAD}",
    "deployment": "/deployment",
    "webhooks": "/webhooks",
    "environment": "/environment",
    "missing": "/run/no-such-run",
    "nowhere": "/nowhere",
}
LOOKS: dict[str, dict[str, Any]] = {
    "wide": {"width": 1280, "height": 800, "color_scheme": "light", "locale": "en-US"},
    "wide-dark": {"width": 1280, "height": 800, "color_scheme": "dark", "locale": "zh-CN"},
    "phone": {"width": 400, "height": 800, "color_scheme": "light", "locale": "en-US"},
    "phone-dark": {"width": 400, "height": 800, "color_scheme": "dark", "locale": "zh-CN"},
}
looks = pytest.mark.parametrize("look", LOOKS)
pages = pytest.mark.parametrize("page_name", PAGES)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    console = Process(tmp_path_factory.mktemp("console"), 0, module="console_scene")
    with console.process:
        yield console
        console.process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def open_page(browser: Browser, console: Process, path: str, look: str = "wide", **options: Any) -> Visit:
    visit = Visit(browser, **{**LOOKS[look], "reduced_motion": "reduce", **options})
    visit.page.goto(console.url)
    visit.page.wait_for_url(f"http://127.0.0.1:{console.port}/")
    if path != "/":
        visit.page.goto(f"http://127.0.0.1:{console.port}{path}")
    visit.page.wait_for_selector("h1")
    settle(visit)
    return visit


def settle(visit: Visit) -> None:
    """Wait until nothing is read any more and the page has its height."""
    expect(visit.page.get_by_text("reading…")).to_have_count(0)
    expect(visit.page.get_by_text("读取中…")).to_have_count(0)
    visit.page.wait_for_function(
        """() => new Promise(done => {
          const height = document.documentElement.scrollHeight;
          setTimeout(() => done(document.documentElement.scrollHeight === height), 300);
        })"""
    )


def expect_in_window(found: Locator) -> None:
    """Wait until it is wholly within the window, as after its transition."""
    expect(found).to_be_visible()
    found.page.wait_for_function(
        """element => {
          const box = element.getBoundingClientRect();
          return box.width > 0 && box.left >= 0 && box.top >= 0
            && box.right <= window.innerWidth && box.bottom <= window.innerHeight;
        }""",
        arg=found.element_handle(),
        timeout=5_000,
    )


@looks
@pages
def test_every_page_is_within_the_width_of_the_window(
    browser: Browser, console: Process, page_name: str, look: str
) -> None:
    visit = open_page(browser, console, PAGES[page_name], look)
    visit.page.screenshot(path=visit.keep(f"{page_name}-{look}"), full_page=True)
    assert visit.overflow() <= 0
    assert visit.complaints == []


@looks
def test_a_message_is_seen_where_one_looks(browser: Browser, console: Process, look: str) -> None:
    visit = open_page(browser, console, "/environment", look)
    visit.page.locator("button[aria-label='Copy'], button[aria-label='复制']").first.click()
    expect_in_window(visit.page.locator(".q-notification"))
    # The lists of messages that the library keeps ready: no lines of the graph are drawn in them, nor are they in the flow.
    drawn = "e => [getComputedStyle(e).position, getComputedStyle(e, '::before').content]"
    assert {*map(tuple, visit.page.eval_on_selector_all(".q-notifications__list", f"all => all.map({drawn})"))} == {
        ("fixed", "none")
    }
