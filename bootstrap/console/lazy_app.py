"""An ASGI application that is loaded while its server already runs. Requests wait until it is loaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send


class LazyApp:
    """Stands in for the application that `make` returns. `make` is called once, in a thread, when the server has
    started.

    failed: called with the exception if `make`, or the start of the application, raises one. Every request then raises
    the same exception.
    """

    def __init__(self, make: Callable[[], Starlette], failed: Callable[[Exception], None]) -> None:
        self._make = make
        self._failed = failed
        self._app: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        assert self._app is not None, "a server begins with the lifespan"  # noqa: S101
        app = await asyncio.shield(self._app)  # a request that is cancelled must not cancel the loading
        await app(scope, receive, send)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        """Answer the server's lifespan events, and run the application's own lifespan within."""
        await receive()
        loaded = self._app = asyncio.get_running_loop().create_future()
        await send({"type": "lifespan.startup.complete"})
        async with contextlib.AsyncExitStack() as life:
            try:
                app = await asyncio.to_thread(self._make)
                await life.enter_async_context(app.router.lifespan_context(app))
                loaded.set_result(app)
            except Exception as error:  # noqa: BLE001  whatever it is, no request must go on waiting
                loaded.set_exception(error)
                loaded.exception()  # marks it as retrieved: `failed` reports it below
                self._failed(error)
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
