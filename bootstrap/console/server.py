"""The console's web server: NiceGUI's application behind the guard, on a socket that listens already.

NiceGUI keeps its application in a module of its own, so that there is one console per process.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bootstrap.console import loading
from bootstrap.console.feed import Feed
from bootstrap.console.guard import PARAMETER, TOKEN_BYTES, Guard
from bootstrap.console.masking import Mask
from bootstrap.console.sources import Sources
from bootstrap.world import World

if TYPE_CHECKING:
    import asyncio

    from starlette.applications import Starlette
    from starlette.types import ASGIApp

    from bootstrap.console.welcome import Welcome
    from bootstrap.converge import Outcome

STATIC = Path(__file__).parent / "static"
STYLE = STATIC / "style.css"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STOP_SECONDS = 3


class Console:
    """listening: the socket to serve on. look: checks every step.

    links: further pages to point at, name -> address; they may come later.
    """

    def __init__(self, world: World, listening: socket.socket, look: Callable[[], Sequence[Outcome]]) -> None:
        self.world = world
        self.links: dict[str, str] = {}
        self.sources = Sources(world, look)
        self.mask = Mask(self.sources.secrets, world.clock.now)
        config = world.config
        self.feed = Feed(lambda: world.kube, lambda: world.target, config.target.namespace, config.pipeline.deployment)
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
        with loading.undisturbed():
            import uvicorn

            from bootstrap.console import files
            from bootstrap.console.later import Later
            from bootstrap.console.welcome import Welcome

        faults: list[Exception] = []

        def failed(error: Exception) -> None:
            faults.append(error)
            server.should_exit = True

        ahead = files.find()
        welcome = Welcome(self.feed, self.mask, self.world.config.name, STYLE.read_text(), ahead)
        config = uvicorn.Config(
            self.guarded(files.Files(Later(self._application, failed), ahead), welcome),
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
        with loading.quickly():
            from bootstrap.console.pages.shell import application

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
