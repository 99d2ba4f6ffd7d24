"""The console's web server: NiceGUI's application behind the guard, on a socket that listens already.

NiceGUI keeps its application in a module of its own, so that there is one console per process.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from bootstrap.console import library_loading
from bootstrap.console.auth import PARAMETER, TOKEN_BYTES, Guard
from bootstrap.console.context import STYLE, Context
from bootstrap.world import World

if TYPE_CHECKING:
    import asyncio

    from starlette.applications import Starlette
    from starlette.types import ASGIApp

    from bootstrap.console.static_page import Welcome
    from bootstrap.steps.reconcile import Outcome

LOOPBACK = ("127.0.0.1", "localhost", "::1")
STOP_SECONDS = 3


class Console(Context):
    """The web server and what its pages are given. listening: the socket to serve on. look: checks every step."""

    def __init__(self, world: World, listening: socket.socket, look: Callable[[], Sequence[Outcome]]) -> None:
        super().__init__(world, look)
        self._socket = listening
        self._token = secrets.token_urlsafe(TOKEN_BYTES)

    @property
    def url(self) -> str:
        """With the token: whoever opens it is let in."""
        host, port = self._socket.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104  all addresses, this machine's own among them
            host = "127.0.0.1"
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{port}/?{PARAMETER}={self._token}"

    def serve(self) -> None:
        """Until KeyboardInterrupt, which is raised."""
        try:
            self._serve()
        finally:
            self.feed.close()

    def _serve(self) -> None:
        with library_loading.undisturbed():
            import uvicorn

            from bootstrap.console import library_files
            from bootstrap.console.lazy_app import Later
            from bootstrap.console.static_page import Welcome

        faults: list[Exception] = []

        def failed(error: Exception) -> None:
            faults.append(error)
            server.should_exit = True

        ahead = library_files.find()
        welcome = Welcome(self.feed, self.mask, self.world.config.name, STYLE.read_text(), ahead)
        config = uvicorn.Config(
            self.guarded(library_files.Files(Later(self._application, failed), ahead), welcome),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            ws=cast(Any, _websocket),  # it is only called, to make one
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        server.run(sockets=[self._socket])
        if faults:
            raise faults[0]

    def _application(self) -> Starlette:
        """Once the server runs: a browser takes a while to make room for a page, in which the runs are read. They are
        read before the library is loaded, which takes all there is of this process."""
        self.feed.start()
        self.feed.settle()
        return self._load()

    def _load(self) -> Starlette:
        with library_loading.quickly():
            from bootstrap.console.pages.frame import application

            return application(self)

    def guarded(self, app: ASGIApp, welcome: Welcome) -> Guard:
        config = self.world.config.dashboard
        hosts = [] if config.host in LOOPBACK else [config.host]
        port = self._socket.getsockname()[1]
        return Guard(app, token=self._token, cookie=f"console-{port}", hosts=hosts, welcome=welcome)


def _websocket(**options: Any) -> asyncio.Protocol:
    """Loaded for the first page that is live, which takes as long as all else of the server."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    return WSProtocol(**options)
