"""The web library is loaded late and without what nobody needs, and whoever asks meanwhile waits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.console import library_loading
from bootstrap.console.lazy_app import LazyApp
from bootstrap.core.paths import PROJECT

LOADED = """
import sys
from bootstrap.console import library_loading as loading
with loading.load_quickly():
    from bootstrap.console.pages import frame
from pydantic import BaseModel
from fastapi.openapi.models import OpenAPI
class Own(BaseModel):
    number: int
print(*(each for each in loading.UNUSED if each in sys.modules))
print(OpenAPI.__pydantic_complete__, Own.__pydantic_complete__, Own(number="1").number)
print(OpenAPI(openapi="3.1.0", info={"title": "t", "version": "1"}, paths={}).info.title)
"""


def test_what_nobody_needs_is_not_loaded_and_models_are_built_when_they_are_used() -> None:
    answer = subprocess.run([sys.executable, "-c", LOADED], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["", "False True 1", "t"]


PLAIN = """
import gc, sys
from bootstrap.console import library_loading as loading
finders = [*sys.meta_path]
with loading.load_quickly():
    from pydantic import BaseModel
    print(sys.meta_path == finders, gc.isenabled(), gc.get_freeze_count(), "defer_build" in BaseModel.model_config)
"""


def test_with_plain_loading_nothing_is_hidden_or_changed() -> None:
    environ = {**os.environ, library_loading.PLAIN_LOADING: "1"}
    command = [sys.executable, "-c", PLAIN]
    answer = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "True", "0", "False"]


def test_another_thread_finds_all_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []

    def look() -> None:
        import websocket

        found.append(websocket)

    monkeypatch.delitem(sys.modules, "websocket", raising=False)
    with library_loading.load_quickly():
        with pytest.raises(ModuleNotFoundError):
            look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(10)
    assert found


class Server:
    """What a server does with an application: its lifespan, and requests."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.failures: list[Exception] = []
        self.sent: list[str] = []
        self.app = LazyApp(cast(Any, make), self.failures.append)
        self._asked: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._life = asyncio.create_task(self.app({"type": "lifespan"}, self._asked.get, self._send))
        await self._asked.put({"type": "lifespan.startup"})
        while not self.sent:
            await asyncio.sleep(0)

    async def stop(self) -> None:
        await self._asked.put({"type": "lifespan.shutdown"})
        assert self._life is not None
        await self._life

    async def ask(self, path: str) -> None:
        await self.app({"type": "http", "path": path}, self._asked.get, self._send)

    async def _send(self, message: Any) -> None:
        self.sent.append(message["type"])


class App:
    """Says which path it was asked for. told: of its own lifespan."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.router = SimpleNamespace(lifespan_context=self._live)

    @asynccontextmanager
    async def _live(self, app: App) -> AsyncIterator[None]:
        self.told.append("begun")
        yield
        self.told.append("ended")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert self.told == ["begun"]
        await send({"type": scope["path"]})


def test_a_server_answers_before_its_application_is_loaded_and_requests_wait_for_it() -> None:
    app, loaded = App(), threading.Event()

    def make() -> App:
        assert loaded.wait(10)
        return app

    async def serve() -> list[str]:
        server = Server(make)
        await server.start()
        asked = [asyncio.create_task(server.ask(path)) for path in ("/left", "/stayed")]
        await asyncio.sleep(0.05)
        assert server.sent == ["lifespan.startup.complete"]
        asked[0].cancel()
        loaded.set()
        await asked[1]
        await server.ask("/later")
        await server.stop()
        assert server.failures == []
        return server.sent

    assert asyncio.run(serve()) == ["lifespan.startup.complete", "/stayed", "/later", "lifespan.shutdown.complete"]
    assert app.told == ["begun", "ended"]


def unloadable() -> App:
    raise RuntimeError("broken")


def lifeless() -> App:
    app = App()
    app.told = cast(Any, None)  # so that its lifespan cannot begin
    return app


@pytest.mark.parametrize(("make", "why"), [(unloadable, "broken"), (lifeless, "append")])
def test_an_application_that_cannot_be_loaded_is_told_to_all_who_wait(make: Callable[[], App], why: str) -> None:
    async def serve() -> None:
        server = Server(make)
        await server.start()
        for _ in range(2):
            with pytest.raises((RuntimeError, AttributeError), match=why):
                await server.ask("/")
        await server.stop()
        assert len(server.failures) == 1
        assert server.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(serve())
