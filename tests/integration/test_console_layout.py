"""Where on the window things are: what a reader must see, he must see without looking for it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests import npm
from tests.browser import Visit
from tests.unit import console_scene as scene
from tests.unit.console.test_server import Process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
PAGES = {
    "applications": "/applications",
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
AXE = "axe-core@4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
looks = pytest.mark.parametrize("look", ["wide", "phone-dark"])
"""Both widths, languages and colours, each once."""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    console = Process(tmp_path_factory.mktemp("console"), 0, module="console_scene")
    with console.process:
        yield console
        console.process.terminate()


def open_page(browser: Browser, console: Process, path: str, look: str = "wide", **options: Any) -> Visit:
    visit = Visit(browser, **{**LOOKS[look], "reduced_motion": "reduce", **options})
    visit.page.set_default_timeout(60_000)
    visit.page.goto(f"http://127.0.0.1:{console.port}{path}?token={console.token}", wait_until="commit")
    visit.page.wait_for_url(f"http://127.0.0.1:{console.port}{path}", wait_until="commit")
    visit.page.wait_for_selector(".nicegui-content h1")
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
    )


@looks
def test_a_message_is_seen_where_one_looks(browser: Browser, console: Process, look: str) -> None:
    visit = open_page(browser, console, "/environment", look)
    visit.page.locator("button[aria-label='Copy'], button[aria-label='复制']").first.click()
    expect_in_window(visit.page.locator(".q-notification"))
    # The lists that the library keeps ready are not in the flow of the page, and no line of the graph is drawn in them.
    drawn = "e => [getComputedStyle(e).position, getComputedStyle(e, '::before').content]"
    assert {*map(tuple, visit.page.eval_on_selector_all(".q-notifications__list", f"all => all.map({drawn})"))} == {
        ("fixed", "none")
    }


@pytest.mark.parametrize("page_name", ["applications", "deployment", "webhooks", "environment", "run"])
@pytest.mark.parametrize("look", ["wide", "phone"])
def test_every_cell_of_a_table_is_within_its_card_and_the_window(
    browser: Browser, console: Process, page_name: str, look: str
) -> None:
    visit = open_page(browser, console, PAGES[page_name], look)
    outside = visit.page.eval_on_selector_all(
        "table.plain td, table.plain td *",
        """all => all.filter(e => {
          const box = e.getBoundingClientRect(), cell = e.closest("td").getBoundingClientRect();
          const right = Math.min(cell.right, e.closest(".card").getBoundingClientRect().right, window.innerWidth);
          return box.width && (box.right > right + 1 || box.left < cell.left - 1);
        }).map(e => e.outerHTML.slice(0, 200))""",
    )
    assert outside == []
    if page_name == "webhooks":
        assert max(visit.page.eval_on_selector_all("table.plain tr", "all => all.map(e => e.clientHeight)")) < 200
    if page_name == "deployment":
        button = visit.page.locator("[data-test=back-1]")
        button.scroll_into_view_if_needed()
        expect_in_window(button)
        assert button.evaluate("e => e.clientHeight < 50 && e.clientWidth > 60")


def test_a_run_takes_one_line_of_the_list_unless_it_has_more_to_tell(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, "/").page
    heights = page.eval_on_selector_all(".runs tbody tr", "all => all.slice(5).map(e => e.clientHeight)")
    assert len(heights) == 20
    assert max(heights) < 50


@looks
def test_applications_lead_to_their_runs_and_states_to_the_newest(
    browser: Browser, console: Process, look: str
) -> None:
    page = open_page(browser, console, "/applications", look).page
    english = LOOKS[look]["locale"] == "en-US"
    rows = page.locator("table.plain tbody tr")
    expect(rows).to_have_count(8)
    expect(rows.nth(1)).to_contain_text("queued, place 12" if english else "排队中，第 12 位")
    expect(rows.nth(4)).to_contain_text("failed" if english else "失败")
    expect(rows.nth(5)).to_contain_text("main 3f9c2e1")
    expect(rows.nth(6)).to_contain_text("is application" if english else "属于应用")
    rows.nth(4).get_by_role("link", name=scene.BAD).click()
    page.wait_for_url(f"**/run/{scene.BAD}")
    page.go_back()
    rows.nth(5).get_by_role("link", name="orders").click()
    page.wait_for_url("**/?app=orders")
    expect(page.locator(".runs tbody tr")).to_have_count(5)
    expect(page.locator(".runs tbody tr").first).to_contain_text(f"orders · {scene.LIVE}")
    expect(page.get_by_label("Application" if english else "应用", exact=True)).to_have_value("orders")


@looks
def test_what_is_wrong_with_the_central_repository_stands_above_the_applications(
    browser: Browser, console: Process, look: str
) -> None:
    visit = open_page(browser, console, "/applications", look)
    card = visit.page.locator("section.card").first
    english = LOOKS[look]["locale"] == "en-US"
    expect(card).to_contain_text("https://git.example.com/platform.git main apps")
    expect(card).to_contain_text("3f9c2e1 stays applied" if english else "仍应用 3f9c2e1")
    expect(card).to_contain_text(scene.FAULT)
    settle(visit)
    assert card.evaluate("e => e.scrollWidth <= e.clientWidth")
    visit.keep(f"applications-repository-{look}")


def test_warnings_stand_first_among_the_events_and_each_row_is_short(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, PAGES["run"]).page
    rows = page.locator(".events tbody tr")
    expect(rows).to_have_count(12)
    expect(rows.first).to_contain_text("FailedScheduling")
    expect(rows.first).to_contain_text("build-image · Pod")
    expect(rows.first).to_contain_text("(×3)")
    assert page.eval_on_selector_all(".events td", "all => all.every(e => e.clientHeight < 70)")
    assert page.locator(".events td [title]").first.inner_text().count(":") == 2


@pytest.mark.parametrize(("look", "language"), [("wide", "en"), ("wide-dark", "zh")])
@pytest.mark.parametrize("page_name", ["runs", "nowhere"])
def test_a_page_tells_its_language(
    browser: Browser, console: Process, look: str, language: str, page_name: str
) -> None:
    visit = open_page(browser, console, PAGES[page_name], look)
    assert str(visit.page.evaluate("document.documentElement.lang")).startswith(language)


def test_the_focus_of_a_button_is_seen(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, "/environment").page
    page.get_by_role("button", name="Refresh").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    focused = "[document.activeElement.innerText, getComputedStyle(document.activeElement).outline]"
    name, outline = page.evaluate(focused)
    assert "Refresh" in name
    assert "2px" in outline
    assert "solid" in outline


def test_an_address_that_is_none_says_so_and_leads_back(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, "/nowhere", "wide-dark").page
    expect(page.get_by_role("heading", level=1)).to_have_text("没有这个页面。")
    expect(page).to_have_title("未找到 · demo")
    page.get_by_role("link", name="全部运行").click()
    expect(page.locator(".runs tbody tr").first).to_be_visible()


def test_a_run_that_is_not_there_is_all_that_its_page_tells(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, PAGES["missing"]).page
    expect(page.get_by_text("There is no run no-such-run.")).to_be_visible()
    expect(page.locator(".card:visible")).to_have_count(1)


@looks
def test_hints_of_the_form_lie_over_no_field(browser: Browser, console: Process, look: str) -> None:
    page = open_page(browser, console, "/", look).page
    page.locator("[data-test=start]").click()
    expect(page.locator(".q-dialog .q-field")).to_have_count(9)
    page.wait_for_function(
        """() => {
          const find = (what) => [...document.querySelectorAll(".q-dialog " + what)];
          const boxes = (what) => find(what).map(e => e.getBoundingClientRect());
          const fields = boxes(".q-field__control"), hints = boxes(".q-field__messages");
          return hints.length === 9 && hints.every((h, i) => h.height && h.top >= fields[i].bottom - 1
            && (i + 1 === fields.length || h.bottom <= fields[i + 1].top + 1));
        }"""
    )


@looks
def test_a_console_that_has_ended_says_so_at_the_top(browser: Browser, tmp_path: Path, look: str) -> None:
    console = Process(tmp_path, 0, module="console_scene")
    with console.process:
        try:
            visit = open_page(browser, console, f"/run/{scene.LIVE}", look)
        finally:
            console.process.terminate()
            console.process.wait(15)
    told = visit.page.locator("#popup")
    expect(told).to_contain_text("invoke dashboard")
    expect_in_window(told)
    box = told.bounding_box()
    assert box
    assert (box["x"], box["y"], box["width"]) == (0, 0, LOOKS[look]["width"])
    assert visit.page.evaluate("getComputedStyle(document.getElementById('app')).pointerEvents") == "none"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core, which finds what keeps people with disabilities from using a page; "" if it cannot be had."""
    try:
        archive = npm.fetch(AXE, AXE_SHA512, tmp_path_factory.mktemp("axe"))
    except npm.Missing:
        return ""
    with tarfile.open(archive) as opened:
        file = opened.extractfile("package/axe.min.js")
        assert file
        return file.read().decode()


NOT_FOUND = "Failed to load resource: the server responded with a status of 404 (Not Found)"


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_fits_the_window_and_keeps_nobody_out(
    browser: Browser, console: Process, axe: str, look: str
) -> None:
    """All in one context, so that the browser has the library's scripts after the first of them."""
    visit = open_page(browser, console, PAGES["runs"], look)
    faults: dict[str, object] = {}
    for name, path in PAGES.items():
        visit.page.goto(f"http://127.0.0.1:{console.port}{path}")
        settle(visit)
        visit.page.screenshot(path=visit.keep(f"{name}-{look}"), full_page=True)
        faults[f"{name}: pixels beyond the window"] = visit.overflow()
        faults[f"{name}: errors"] = [each for each in visit.complaints if (name, each) != ("nowhere", NOT_FOUND)]
        visit.complaints.clear()
        faults[f"{name}: who is kept out"] = find_violations(visit, axe) if axe else []
    assert {what: found for what, found in faults.items() if found} == {}
    if not axe:
        pytest.skip(f"the rest needs {AXE} from the npm registry, and npm")


def find_violations(visit: Visit, axe: str) -> list[object]:
    """What keeps people with disabilities from using the page, by WCAG A and AA."""
    visit.page.evaluate(axe + "; 0")
    found: list[object] = visit.page.evaluate(
        """async () => {
          const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
          const { violations } = await axe.run(document, { runOnly: tags });
          return violations.map(v => [v.id, ...v.nodes.map(n => n.html.slice(0, 150) + " " + n.failureSummary)]);
        }"""
    )
    return found


def test_what_is_chosen_is_in_the_address_and_comes_back(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, "/").page
    page.get_by_label("Search").fill("b8a6dd0")
    page.wait_for_url("**/?text=b8a6dd0")
    page.get_by_role("button", name="Older").click()
    page.wait_for_url("**/?text=b8a6dd0&page=2")
    first = page.locator(".runs a.name").first.inner_text()
    page.locator(".runs a.name").first.click()
    page.wait_for_url(f"**/run/{first}")
    page.go_back()
    expect(page.locator(".runs a.name").first).to_have_text(first)
    expect(page.get_by_label("Search")).to_have_value("b8a6dd0")


def test_a_line_of_a_log_has_an_address(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, f"/run/{scene.GOOD}").page
    page.locator("[data-task=git-clone]").click()
    page.wait_for_url("**?task=git-clone&step=run")
    page.locator(".log [data-line='7'] .no").click()
    page.wait_for_url("**?task=git-clone&step=run&line=7")
    page.reload()
    expect(page.locator(".log .line.at")).to_contain_text("git-clone-pod step-run line 7")
    expect(page.locator("[data-task=git-clone]")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Language").click()
    page.get_by_text("中文").click()
    page.wait_for_url("**?task=git-clone&step=run&line=7")
    expect(page.get_by_role("heading", name="任务")).to_be_visible()


@looks
def test_a_start_that_is_refused_says_so_before_the_eyes(browser: Browser, console: Process, look: str) -> None:
    page = open_page(browser, console, "/", look).page
    page.locator("[data-test=start]").click()
    name = "Start a run" if LOOKS[look]["locale"] == "en-US" else "启动运行"
    expect(page.get_by_role("dialog", name=name)).to_be_visible()
    revision = page.get_by_label("REVISION")
    expect(revision).to_be_focused()
    revision.fill("a..b ~^")
    revision.press("Enter")
    message = page.locator(".q-notification")
    expect(message).to_contain_text("is not a branch, tag or commit")
    expect_in_window(message)
    expect(page.locator(".q-dialog .q-field--error")).to_have_count(1)


def test_times_are_in_the_zone_of_the_browser_from_the_first_view_on(browser: Browser, console: Process) -> None:
    page = open_page(browser, console, "/deployment", timezone_id="Asia/Tokyo").page
    stamp = page.locator("table.plain [title$='+0900']").first.get_attribute("title") or ""
    expect(page.locator("dl.facts dd").last).to_contain_text(stamp.removesuffix(" +0900"))
    page = open_page(browser, console, "/environment", timezone_id="Asia/Tokyo").page
    hour = datetime.now(timezone(timedelta(hours=9))).strftime("%Y-%m-%d %H:")
    expect(page.get_by_text(f"read {hour}")).to_be_visible()


def test_nothing_is_thrown_by_a_dialog_that_is_closed_or_a_page_that_is_left(
    browser: Browser, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    console = Process(tmp_path, 0, module="console_scene")
    with console.process:
        try:
            page = open_page(browser, console, f"/run/{scene.LIVE}").page
            page.get_by_role("button", name="Cancel run").click()
            page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
            message = page.locator(".q-notification")
            expect(message).to_contain_text("the API server refuses it")
            expect_in_window(message)
            page.get_by_role("link", name="All runs").click()
            for name in (scene.BAD, scene.GOOD):  # left before its events are read
                page.get_by_role("link", name=name).click()
                page.wait_for_url(f"**/run/{name}")
                page.go_back()
            expect(page.locator(".runs tbody tr").first).to_be_visible()
        finally:
            console.process.terminate()
            console.process.wait(15)
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "Could not cancel" not in said
