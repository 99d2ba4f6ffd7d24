"""The console's web server: NiceGUI's application behind the check of the token, on a socket that listens already.

NiceGUI keeps its application in a module of its own, so that there is one console per process.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from bootstrap.console import library_loading
from bootstrap.console.auth import PARAMETER, TOKEN_BYTES, AuthMiddleware
from bootstrap.console.context import STYLE, Context
from bootstrap.world import World

if TYPE_CHECKING:
    import asyncio

    from starlette.applications import Starlette
    from starlette.types import ASGIApp

    from bootstrap.console.static_page import StaticPage
    from bootstrap.steps.reconcile import Outcome

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  all addresses of this machine
STOP_SECONDS = 3


class Console(Context):
    """The web server, and the context that its pages are given.

    listening: the socket to serve on; it is closed by `serve`. check_steps: looks at every step of `up`.
    """

    def __init__(self, world: World, listening: socket.socket, check_steps: Callable[[], Sequence[Outcome]]) -> None:
        super().__init__(world, check_steps)
        self._socket = listening
        self._token = secrets.token_urlsafe(TOKEN_BYTES)

    @property
    def url(self) -> str:
        """The address to open, with the token that lets its reader in."""
        host, port = self._socket.getsockname()[:2]
        if host in EVERYWHERE:
            host = "127.0.0.1"
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{port}/?{PARAMETER}={self._token}"

    def serve(self) -> None:
        """Serve until Ctrl-C or SIGTERM, then raise KeyboardInterrupt. Raises what the loading of the pages raised."""
        try:
            self._serve()
        finally:
            self.watch_cache.close()

    def _serve(self) -> None:
        with library_loading.pause_collector():
            import uvicorn

            from bootstrap.console import library_files
            from bootstrap.console.lazy_app import LazyApp
            from bootstrap.console.static_page import StaticPage

        faults: list[Exception] = []

        def failed(error: Exception) -> None:
            faults.append(error)
            server.should_exit = True

        ahead = library_files.find_files()
        static_page = StaticPage(self.watch_cache, self.mask, self.world.config.name, STYLE.read_text(), ahead)
        config = uvicorn.Config(
            self.require_token(library_files.LibraryFiles(LazyApp(self._make_application, failed), ahead), static_page),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            ws=cast(Any, _make_websocket),  # it is only called, to make one
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        server.run(sockets=[self._socket])
        if faults:
            raise faults[0]

    def _make_application(self) -> Starlette:
        """Read the runs, then load NiceGUI. Called in a thread, once the server runs.

        The order matters: the runs are read while the browser opens its window, and the loading of NiceGUI takes all
        of this process's time.
        """
        self.watch_cache.start()
        self.watch_cache.wait_until_settled()
        return self._load()

    def _load(self) -> Starlette:
        with library_loading.load_quickly():
            from bootstrap.console.pages.frame import make_application

            return make_application(self)

    def require_token(self, app: ASGIApp, static_page: StaticPage) -> AuthMiddleware:
        """The application behind the check of token, cookie, host and origin."""
        config = self.world.config.dashboard
        listens_everywhere = config.host.strip("[]") in EVERYWHERE
        hosts = [socket.gethostname(), socket.getfqdn()] if listens_everywhere else [config.host]
        port = self._socket.getsockname()[1]
        return AuthMiddleware(
            app,
            token=self._token,
            cookie=f"console-{port}",
            hosts=[] if config.host in LOOPBACK else hosts,
            any_address=listens_everywhere,
            static_page=static_page,
        )


def _make_websocket(**options: Any) -> asyncio.Protocol:
    """The protocol that uvicorn calls for a websocket. Its module is imported by the first one: that takes as long as
    importing all else of the server."""
    from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

    return WSProtocol(**options)
