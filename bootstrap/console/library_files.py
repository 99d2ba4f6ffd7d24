"""Serves NiceGUI's static files (scripts, styles) before NiceGUI itself is loaded.

The static page names them as files to preload. A browser has them in its cache when the first page that is made with
NiceGUI needs them.
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
"""What every page needs, below NiceGUI's folder `static`. A file that another version does not have is left out."""
KEPT = "public, max-age=31536000, immutable"
"""Cache-Control: a browser may keep a file for a year, because its address has NiceGUI's version in it."""


def find_files() -> dict[str, Path]:
    """The files by the path of their URL, as NiceGUI's pages name it. Empty if NiceGUI is not installed."""
    spec = util.find_spec(LIBRARY)
    if spec is None or not spec.submodule_search_locations:
        return {}
    [folder] = spec.submodule_search_locations
    prefix = f"/_nicegui/{metadata.version(LIBRARY)}/static/"
    files = {prefix + name: Path(folder) / "static" / name for name in NAMES}
    return {path: file for path, file in files.items() if file.is_file()}


class LibraryFiles:
    """ASGI middleware: answers a GET for one of `files` (path of a URL -> file) itself, and passes on all else."""

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
