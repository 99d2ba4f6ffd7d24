"""An application that takes a while to be loaded, behind a server that runs already: whoever asks waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send


class Later:
    """An ASGI application in place of the one that `make` makes, in a thread of its own.

    failed: called with what `make` raised, which all who wait are given too.
    """

    def __init__(self, make: Callable[[], Starlette], failed: Callable[[Exception], None]) -> None:
        self._make = make
        self._failed = failed
        self._made: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        assert self._made is not None, "a server begins with the lifespan"  # noqa: S101
        app = await asyncio.shield(self._made)  # who does not wait any longer ends only that
        await app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan of the server, and within it that of the application."""
        await receive()
        made = self._made = asyncio.get_running_loop().create_future()
        await send({"type": "lifespan.startup.complete"})
        async with contextlib.AsyncExitStack() as life:
            try:
                app = await asyncio.to_thread(self._make)
                await life.enter_async_context(app.router.lifespan_context(app))
                made.set_result(app)
            except Exception as error:  # noqa: BLE001  whatever it is, nobody must wait any longer
                made.set_exception(error)
                made.exception()  # it is told below; asyncio need not say that nobody has asked
                self._failed(error)
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
