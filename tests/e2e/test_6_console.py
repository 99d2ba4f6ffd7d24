"""A new user follows a commit from push to serving in the page alone, in a real browser, on the real environment."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, Page, expect

from bootstrap.commands import follow_run
from bootstrap.console.static_page import START
from bootstrap.world import World
from tests.browser import Visit, chromium
from tests.e2e.product import Command, Product
from tests.e2e.repository import Repository
from tests.e2e.test_1_main_line import STEPS

pytestmark = pytest.mark.e2e
RUN_LIMIT = 240_000
"""Milliseconds that a run may take on a busy machine."""
BRANCH = "main"


@dataclass(frozen=True)
class Seat:
    """Before the page: what a user has. base: the console's address without the token."""

    visit: Visit
    base: str
    command: Command

    @property
    def page(self) -> Page:
        return self.visit.page

    def go(self, name: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(self.page.get_by_role("heading", name=name, exact=True)).to_be_visible()

    def row(self, text: str) -> Locator:
        return self.page.locator(".runs tbody tr").filter(has_text=text)


@pytest.fixture(scope="module")
def seat(product: Product, world: World) -> Iterator[Seat]:
    with product.running("dashboard", "--set", "dashboard.port=0") as command, chromium() as browser:
        command.until_said("token=")
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=\S+", command.text)
        assert found
        visit = Visit(browser)
        visit.page.goto(found[0])
        visit.page.wait_for_url(f"{found[1]}/")
        yield Seat(visit, found[1], command)


def test_a_run_is_started_from_the_page_and_watched_until_it_is_green(
    seat: Seat, world: World, repository: Repository
) -> None:
    page = seat.page
    repository.push(BRANCH, "Greet <b>everybody</b>", "README.md", "\nhello\n")
    page.goto(seat.base + START)
    expect(page.locator("[data-test=start-now]")).to_be_visible()
    expect(page).to_have_url(f"{seat.base}/")
    page.get_by_role("button", name="Back").click()
    page.locator("[data-test=start]").click()
    page.locator("[data-test=start-now]").click()
    page.wait_for_url("**/run/go-echo-*", timeout=60_000)
    expect(page.locator("[data-test=state]")).to_contain_text("Running", timeout=60_000)
    expect(page.locator("[data-test=state]")).to_contain_text("Succeeded", timeout=RUN_LIMIT)
    for task in ("git-clone", "build-image", "deploy", "notify"):
        expect(page.locator(f"[data-task={task}]")).to_contain_text("Succeeded")
    page.locator("[data-task=git-clone]").click()
    expect(page.locator(".log .line").first).to_contain_text("commit ")
    seat.visit.keep("run")
    seat.go("Deployment")
    expect(page.locator("[data-test=commit]")).to_have_text(follow_run.read_served_commit(world)[:12])
    expect(page.locator("[data-test=rollout]")).to_contain_text("serving")


def test_a_push_shows_in_the_list_by_itself_and_says_in_plain_words_why_it_failed(
    seat: Seat, world: World, repository: Repository
) -> None:
    page, served = seat.page, follow_run.read_served_commit(world)
    seat.go("Runs")
    commit = repository.push(BRANCH, "Break <b>everything</b>", "main.go", "\nthis is not Go\n", told=True)
    try:
        expect(seat.row(commit[:7])).to_contain_text("push", timeout=60_000)
        expect(seat.row(commit[:7])).to_contain_text("Failed", timeout=RUN_LIMIT)
        seat.visit.keep("runs")
        seat.row(commit[:7]).get_by_role("link").click()
        expect(page.locator("[data-test=why]")).to_contain_text("Task build-image failed: its step", timeout=30_000)
        expect(page.locator("[data-test=line]")).to_contain_text("main.go:")
        page.get_by_role("button", name="Show in the log").click()
        expect(page.locator(".log .line.tells")).to_be_visible()
        seat.visit.keep("failed")
        assert follow_run.read_served_commit(world) == served
        seat.go("Webhooks")
        expect(page.locator("tr").filter(has_text=commit[:7]).first).to_contain_text("became a run", timeout=60_000)
        seat.visit.keep("webhooks")
    finally:  # later tests build on this branch
        repository.git("revert", "--no-edit", "HEAD")
        repository.git("push", "--quiet", "--push-option=no-webhook", "origin", BRANCH)


def test_one_click_goes_back_to_the_version_before_after_it_was_asked(seat: Seat, world: World) -> None:
    page, before = seat.page, follow_run.read_served_commit(world)
    seat.go("Deployment")
    digest = page.locator("[data-test=digest]").inner_text()
    page.locator("[data-test^=back-]").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("goes back to")
    page.get_by_role("button", name="Back", exact=True).click()
    assert page.locator("[data-test=digest]").inner_text() == digest
    page.locator("[data-test^=back-]").first.click()
    page.locator("[data-test=back-now]").click()
    expect(page.locator("[data-test=digest]")).not_to_have_text(digest, timeout=60_000)
    expect(page.locator("[data-test=rollout]")).to_contain_text("serving", timeout=120_000)
    assert follow_run.read_served_commit(world) != before
    expect(page.locator("[data-test=commit]")).to_have_text(follow_run.read_served_commit(world)[:12])
    seat.visit.keep("deployment")


def test_the_environment_tells_its_steps_addresses_and_the_last_up(seat: Seat) -> None:
    page = seat.page
    seat.go("Environment")
    expect(page.get_by_text("every step is ready")).to_be_visible(timeout=120_000)
    expect(page.locator(".bars .span")).to_have_count(len(STEPS))
    expect(page.get_by_text("go-echo.git").first).to_be_visible()
    expect(page.locator(".gauge").first).to_be_visible(timeout=60_000)
    seat.visit.keep("environment")


def test_nothing_was_blocked_and_the_command_ends_with_ctrl_c(seat: Seat) -> None:
    assert seat.visit.complaints == []
    assert seat.visit.dialogs == []
    seat.command.signal(signal.SIGINT)
    answer = seat.command.end(30)
    assert answer.code == 0
    assert "Traceback" not in answer.text
