"""Options of the whole test run."""

from __future__ import annotations

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/expected anew")
    parser.addoption("--e2e", action="store_true", help="run the end-to-end tests, on an environment of their own")
    parser.addoption("--keep", action="store_true", help="keep the end-to-end tests' environment for a look")


def pytest_configure() -> None:
    """A shell without job control starts what runs in the background with SIGINT ignored; tests send it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
