"""By which names the console may be called, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.console.preferences import Preferences
from bootstrap.console.server import EVERYWHERE, Console
from bootstrap.world.listen import listen
from tests.unit import page_world as stage


class _StaticPage:
    async def __call__(self, _: Preferences, __: str) -> AsyncIterator[str]:
        yield "let in"


def ask(folder: Path, listening: str, host: str) -> int:
    """The status for a request with the token and this Host, of a console that listens on `listening`."""
    world = stage.make_world(folder, stage.kube())
    world = replace(world, config=replace(world.config, dashboard=replace(world.config.dashboard, host=listening)))
    with listen(0) as sock:
        console = Console(world, sock, stage.ready_steps)
        app = console.require_token(cast(Any, None), cast(Any, _StaticPage()))
        query = console.url.partition("?")[2].encode()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", host.encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": query, "headers": headers}
        asyncio.run(app(scope, cast(Any, None), send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("host", ["192.0.2.7", "192.0.2.7:9090", "[2001:db8::7]:9090", "127.0.0.1", "localhost"])
@pytest.mark.parametrize("listening", EVERYWHERE)
def test_a_console_on_all_addresses_is_called_by_any_of_them(tmp_path: Path, listening: str, host: str) -> None:
    assert ask(tmp_path, listening, host) == 200


@pytest.mark.parametrize("host", ["evil.example", "192.0.2.7.evil.example", "192.0.2.777", "[2001:db8::7", "1", ""])
def test_a_name_that_is_none_of_this_machine_is_refused_all_the_same(tmp_path: Path, host: str) -> None:
    assert ask(tmp_path, EVERYWHERE[0], host) == 403


def test_a_console_on_one_address_is_called_by_that_and_no_other(tmp_path: Path) -> None:
    assert ask(tmp_path, "192.0.2.7", "192.0.2.7:9090") == 200
    assert ask(tmp_path, "192.0.2.7", "192.0.2.8:9090") == 403
    assert ask(tmp_path, "127.0.0.1", "192.0.2.7") == 403
