"""Options of the whole test run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/expected anew")
    parser.addoption("--e2e", action="store_true", help="run the end-to-end tests, on an environment of their own")
    parser.addoption("--keep", action="store_true", help="keep the end-to-end tests' environment for a look")
