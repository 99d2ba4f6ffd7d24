"""The log on a run's page: what a reader looks at stays where it is, and what he asks for comes before his eyes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as LateError

from tests.integration.test_console_layout import expect_in_window, looks, open_page
from tests.unit import console_scene as scene
from tests.unit.console.test_server import Process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
LINES = 1200
"""That the run under way has printed before the first word on stdin."""


@pytest.fixture
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    console = Process(tmp_path_factory.mktemp("console"), 0, module="console_scene")
    with console.process:
        yield console
        console.process.terminate()


VISIBLE = """() => {
  const inner = document.querySelector(".log").getBoundingClientRect();
  return [...document.querySelectorAll(".log .line")].filter(line => {
    const box = line.getBoundingClientRect();
    return box.top >= inner.top - 1 && box.bottom <= inner.bottom + 1;
  }).map(line => Number(line.dataset.line));
}"""


def visible_lines(page: Page) -> list[int]:
    """Numbers of the lines that are wholly within the box."""
    found: list[int] = page.evaluate(VISIBLE)
    return found


def wait_for_line(page: Page, number: int) -> None:
    page.wait_for_function(
        """number => {
          const inner = document.querySelector(".log")?.getBoundingClientRect();
          const box = document.querySelector(`.log [data-line="${number}"]`)?.getBoundingClientRect();
          return box && box.top >= inner.top - 1 && box.bottom <= inner.bottom + 1;
        }""",
        arg=number,
    )


@pytest.mark.parametrize("by", ["wheel", "script"])
def test_a_reader_stays_where_he_reads_while_the_log_goes_on(browser: Browser, console: Process, by: str) -> None:
    page = open_page(browser, console, f"/run/{scene.LIVE}").page
    page.locator("[data-task=build-image]").click()
    page.get_by_role("button", name="build", exact=True).click()
    wait_for_line(page, LINES)
    console.say("print followed 1")
    wait_for_line(page, LINES + 1)
    if by == "wheel":
        page.locator(".log").hover()
        page.mouse.wheel(0, -1500)
    else:
        page.wait_for_function("!document.querySelector('.log').ours")  # nothing scrolls by itself any more
        page.evaluate("document.querySelector('.log').scrollTop -= 1500")
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_be_visible()
    seen = visible_lines(page)
    assert max(seen) < LINES - 20
    for number in range(2, 7):
        console.say(f"print unread {number}")
        expect(page.get_by_role("button", name=f"{number - 1} new lines, follow")).to_be_visible()
        assert visible_lines(page) == seen
    page.get_by_role("button", name="5 new lines, follow").click()
    wait_for_line(page, LINES + 6)
    console.say("print followed again")
    wait_for_line(page, LINES + 7)
    expect(follow).to_have_count(0)


def test_a_reader_who_scrolls_back_to_the_end_follows_again(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, f"/run/{scene.LIVE}").page
    page.locator("[data-task=build-image]").click()
    page.get_by_role("button", name="build", exact=True).click()
    wait_for_line(page, LINES)
    page.locator(".log").hover()
    page.mouse.wheel(0, -800)
    expect(page.get_by_role("button", name="Follow")).to_be_visible()
    page.mouse.wheel(0, 5000)
    expect(page.get_by_role("button", name="Follow")).to_have_count(0)
    console.say("print one more")
    wait_for_line(page, LINES + 1)


@looks
def test_show_in_the_log_brings_the_line_before_the_eyes(browser: Browser, console: Process, look: str) -> None:
    page = open_page(browser, console, f"/run/{scene.BAD}", look).page
    wait_for_line(page, scene.TELLING_LINE)  # a failed run opens there
    assert page.evaluate("window.scrollY") == 0
    page.locator(".why .q-btn").click()
    line = page.locator(".log .line.tells")
    expect(line).to_contain_text("syntax error")
    expect_in_window(line)
    assert page.evaluate("document.activeElement.classList.contains('log')")


def test_a_log_is_paged_and_scrolled_from_its_end_to_its_first_line(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, f"/run/{scene.BAD}").page
    wait_for_line(page, scene.TELLING_LINE)
    page.get_by_role("button", name="First lines").click()
    wait_for_line(page, 1)
    page.get_by_role("button", name="Last lines").click()
    wait_for_line(page, scene.BAD_LINES)
    page.get_by_label("Go to line").fill("2500")
    page.get_by_label("Go to line").press("Enter")
    wait_for_line(page, 2500)
    page.get_by_role("button", name="Earlier lines").click()
    wait_for_line(page, 1600)
    page.get_by_role("button", name="Later lines").click()
    wait_for_line(page, 1900)
    page.locator(".log").hover()
    seen = 1900
    for _ in range(30):  # what lies beyond the edge of what the browser has comes by itself
        page.mouse.wheel(0, 3000)
        # A stream of these goes to whatever the first of them has scrolled, so each waits for the one before.
        with contextlib.suppress(LateError):
            page.wait_for_function(f"Math.max(...({VISIBLE})()) > {seen}", timeout=1500)
        seen = max(visible_lines(page), default=seen)
        if seen > 3000:
            return
    raise AssertionError(f"it ends at {seen}")
