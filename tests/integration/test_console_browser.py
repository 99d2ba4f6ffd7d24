"""The console in a real browser, over a made-up cluster: long logs, many runs, small windows, a server that goes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from bootstrap.console.static_page import START
from tests.browser import Visit
from tests.unit.console.test_server import Process
from tests.unit.console_process import EVIL, LINES, RUN

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
RUNS = 2000


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    console = Process(tmp_path_factory.mktemp("console"), RUNS)
    with console.process:
        yield console
        console.process.terminate()


def opened(browser: Browser, console: Process, path: str = "", **options: object) -> Visit:
    visit = Visit(browser, **options)  # type: ignore[arg-type]
    visit.page.goto(console.url)
    visit.page.wait_for_url(f"http://127.0.0.1:{console.port}/")
    if path:
        visit.page.goto(f"http://127.0.0.1:{console.port}{path}")
    visit.page.wait_for_selector("h1")
    return visit


CLICK = """(() => {
  const look = () => {
    const link = document.querySelector('%s');
    if (sessionStorage.getItem("clicked")) return;
    if (!link || document.querySelector(".nicegui-content")) return requestAnimationFrame(look);
    sessionStorage.setItem("clicked", "yes");
    link.click();
  };
  look();
})()"""
"""As soon as it is there; while a page leads on to the next one, a browser's driver can click nothing."""


@pytest.mark.parametrize(
    ("target", "there"), [(f"/run/{RUN}", "[data-test=state]"), (START, "[data-test=start-now]")], ids=["run", "start"]
)
def test_the_page_before_the_library_leads_to_runs_and_starts_them(
    browser: Browser, tmp_path: Path, target: str, there: str
) -> None:
    """Whoever is quicker than the library has it all the same; from a server that is still loading it."""
    console = Process(tmp_path, 3, longer=4)
    with console.process:
        try:
            visit = Visit(browser)
            visit.page.add_init_script(CLICK % f'a[href="{target}"]')
            visit.page.goto(console.url, wait_until="commit")
            expect(visit.page.locator(there)).to_be_visible(timeout=30_000)
            expect(visit.page).to_have_url(f"http://127.0.0.1:{console.port}{target.partition('?')[0]}")
            assert visit.page.evaluate("sessionStorage.getItem('clicked')") == "yes"
            assert visit.complaints == []
        finally:
            console.process.kill()


def test_many_runs_are_searched_and_turned_over_at_once(browser: Browser, console: Process) -> None:
    visit = opened(browser, console)
    page = visit.page
    expect(page.locator(".runs tbody tr")).to_have_count(25)
    assert "token" not in page.url
    page.get_by_label("Search").fill("run-1999")
    expect(page.locator(".runs tbody tr")).to_have_count(1)
    page.get_by_label("Search").fill("")
    expect(page.get_by_text(f"1–25 of {RUNS + 1}")).to_be_visible()
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text(f"26–50 of {RUNS + 1}")).to_be_visible()
    assert visit.complaints == []
    assert visit.dialogs == []


def test_a_long_log_does_not_freeze_the_page_and_markup_in_it_is_text(browser: Browser, console: Process) -> None:
    visit, start = opened(browser, console, f"/run/{RUN}"), time.monotonic()
    page = visit.page
    expect(page.get_by_text(f"of {LINES}")).to_be_visible(timeout=60_000)
    expect(page.locator("[data-test=line]")).to_have_text("./main.go:31:7: syntax error: unexpected name")
    assert time.monotonic() - start < 60
    assert page.locator(".log .line").count() < 300
    expect(page.locator(".log .line").last).to_contain_text("<img src=x")
    page.get_by_label("Search the log").fill("line 50000")
    expect(page.locator(".log .line.at")).to_contain_text("line 50000")
    expect(page.locator(".log .hit").first).to_have_text("line 50000")
    begin = time.monotonic()
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert time.monotonic() - begin < 1
    visit.keep("long-log")
    assert (visit.complaints, visit.dialogs) == ([], [])
    assert EVIL.startswith("<img")


def test_a_search_finds_what_is_printed_after_it(browser: Browser, console: Process) -> None:
    page = opened(browser, console, f"/run/{RUN}").page
    expect(page.locator("[data-test=line]")).to_have_text("./main.go:31:7: syntax error: unexpected name")
    page.get_by_label("Search the log").fill("afterthought")
    expect(page.get_by_text("no match")).to_be_visible()
    for number in range(3):
        console.say(f"print afterthought {number}")
    expect(page.get_by_text("0 of 3")).to_be_visible()
    page.get_by_label("Search the log").press("Enter")
    expect(page.get_by_text("1 of 3")).to_be_visible()
    expect(page.locator(".log .hit")).to_have_text(["afterthought"] * 3)
    expect(page.locator(".log .line.at")).to_contain_text("afterthought 0")
    console.say("print afterthought 3")
    expect(page.get_by_text("1 of 4")).to_be_visible()


def test_a_server_that_goes_away_shows_and_comes_back_without_a_reload(browser: Browser, console: Process) -> None:
    visit = opened(browser, console)
    visit.page.evaluate("window.mark = 1")
    console.say("lose")
    expect(visit.page.get_by_role("alert")).to_contain_text("connection refused")
    expect(visit.page.locator(".runs tbody tr")).to_have_count(25)
    console.say("back")
    expect(visit.page.get_by_role("alert")).to_have_count(0)
    assert visit.page.evaluate("window.mark") == 1


@pytest.mark.parametrize("path", ["/", "/applications", f"/run/{RUN}", "/deployment", "/webhooks", "/environment"])
def test_every_page_fits_400_pixels_in_the_dark_and_in_chinese(browser: Browser, console: Process, path: str) -> None:
    visit = opened(browser, console, path, width=400, height=800, color_scheme="dark", locale="zh-CN")
    visit.page.wait_for_timeout(500)
    visit.keep("narrow-" + (path.strip("/").replace("/", "-") or "runs"))
    assert visit.overflow() <= 0
    assert re.search("运行|部署|环境", visit.page.inner_text("header"))
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60


def test_without_applications_it_is_said_what_to_type(browser: Browser, console: Process) -> None:
    page = opened(browser, console, "/applications").page
    expect(page.get_by_text("invoke app-add NAME-OR-URL")).to_be_visible()
    page.goto(f"http://127.0.0.1:{console.port}/")
    expect(page.locator(".runs tbody tr")).to_have_count(25)
    expect(page.get_by_label("Branch")).to_be_visible()
    expect(page.get_by_label("Application", exact=True)).to_be_hidden()


def test_everything_is_reached_by_keyboard(browser: Browser, console: Process) -> None:
    page = opened(browser, console).page
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("(document.activeElement.innerText || document.activeElement.ariaLabel || '').trim()")
        )
    assert seen[0] == "Skip to content"
    assert {"Applications", "Runs", "Deployment", "Webhooks", "Environment"} <= {*seen}
    page.get_by_role("link", name="Deployment").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/deployment")
    expect(page.get_by_role("heading", name="Deployment")).to_be_visible()


def test_the_choice_of_language_and_appearance_stays(browser: Browser, console: Process) -> None:
    page = opened(browser, console).page
    page.get_by_role("button", name="Language").click()
    page.get_by_text("中文").click()
    expect(page.get_by_role("link", name="部署")).to_be_visible()
    page.get_by_role("button", name="外观").click()
    page.get_by_text("深色").click()
    page.wait_for_function("document.body.classList.contains('body--dark')")


def test_an_address_that_was_opened_from_elsewhere_lets_in_as_well(
    browser: Browser, console: Process, tmp_path: Path
) -> None:
    visit = Visit(browser)
    elsewhere = tmp_path / "mail.html"
    elsewhere.write_text(f'<a href="{console.url}">open</a>')
    visit.page.goto(elsewhere.as_uri())
    visit.page.click("a")
    expect(visit.page.locator(".runs tbody tr")).to_have_count(25)
