"""A real browser: the distribution's Chromium without a window, driven by Playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from bootstrap.core.errors import BootstrapError
from bootstrap.core.paths import PROJECT
from bootstrap.world import apt
from bootstrap.world.shell import SystemShell

SCREENSHOTS = PROJECT / "build" / "screenshots"
"""Kept after the tests, for people to look at."""
PATIENCE = 20_000
"""Milliseconds; Playwright's own 5,000 are few while a run's pods start on the same cores."""
OPTIONS = [
    "--no-sandbox",  # of Chromium's own, which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """The program, installed as the product installs what it needs. Skips the test where it cannot be had."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    if os.geteuid() != 0:
        pytest.skip("there is no Chromium, and only root may install it (Debian package chromium)")
    try:
        apt.install_packages(SystemShell(), ["chromium"], lambda _: None)
    except BootstrapError as error:
        pytest.skip(f"Chromium cannot be installed: {error.message}")
    return find_chromium()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    program = find_chromium()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in a fresh context. complaints: what the browser wrote of errors, blocked scripts among them."""

    def __init__(self, browser: Browser, width: int = 1280, height: int = 860, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dialog)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def keep(self, name: str) -> Path:
        """A screenshot of what is in view."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wider
