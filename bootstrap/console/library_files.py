"""The library's own files, given to a browser before the library is loaded: the page that lets the reader in asks for
them, so that they are there when the first page of the console comes, and asks for them too.
"""

from __future__ import annotations

import asyncio
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

LIBRARY = "nicegui"
NAMES = (
    "vue.esm-browser.prod.js",
    "quasar.umd.prod.js",
    "socket.io.min.js",
    "nicegui.js",
    "dompurify.mjs",
    "lang/en-US.umd.prod.js",
    "utils/dynamic_properties.js",
    "fonts.css",
    "quasar.unimportant.prod.css",
    "quasar.important.prod.css",
    "nicegui.css",
)
"""What every page needs; a file that is not there is left to the library, whatever its name is by then."""
KEPT = "public, max-age=31536000, immutable"
"""Their address has the library's version in it."""


def find() -> dict[str, Path]:
    """Their paths as the library has them in its pages, and where they are."""
    spec = util.find_spec(LIBRARY)
    [folder] = (spec.submodule_search_locations if spec else None) or [""]
    prefix = f"/_nicegui/{metadata.version(LIBRARY)}/static/"
    found = {prefix + name: Path(folder) / "static" / name for name in NAMES}
    return {path: file for path, file in found.items() if file.is_file()}


class Files:
    """An ASGI application around another one, which gets all requests but those for the files."""

    def __init__(self, app: ASGIApp, files: dict[str, Path]) -> None:
        self._app = app
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = self._files.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if file is None:
            await self._app(scope, receive, send)
            return
        body = await asyncio.to_thread(file.read_bytes)
        kind = "text/css" if file.suffix == ".css" else "text/javascript"
        headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": KEPT}
        listed = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": listed})
        await send({"type": "http.response.body", "body": body})
