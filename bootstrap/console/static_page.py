"""What whoever is let in sees before the library is loaded: the list of runs, to be read, followed and added to.

It is a plain page without a script, which names what the browser may fetch meanwhile, and leads on to the live one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from bootstrap.console.preferences import Reader
from bootstrap.console.views.runs import COLUMNS, SIZE, Filter, run_rows
from bootstrap.console.watch_cache import Feed

PAGES = {"/": "Runs", "/delivery": "Deployment", "/arrivals": "Webhooks", "/environment": "Environment"}
START = "/?start=1"
"""The list of runs, with the dialog that starts one."""
AHEAD = '<link rel="preload" as="{kind}" href="{path}">'
_BASE = "* { box-sizing: border-box } body { margin: 0; font-size: 14px } .room { height: 38px }"
"""What the library's own style does, and the room of its fields: little is to move when the live page comes."""
_DARK = re.compile(r"\.body--dark (\{.*?\})", re.DOTALL)
"""The colours of the style, which has them for a class that the library sets by a script."""


class Welcome:
    """name: of the environment. ahead: paths of styles and scripts of the live page."""

    def __init__(self, feed: Feed, mask: Callable[[Any], Any], name: str, style: str, ahead: Iterable[str]) -> None:
        self._feed = feed
        self._mask = mask
        self._name = name
        self._style = style
        kinds = {path: "style" if path.endswith(".css") else "script" for path in ahead}
        self._ahead = "".join(AHEAD.format(kind=kind, path=escape(path)) for path, kind in kinds.items())

    async def __call__(self, reader: Reader, path: str) -> AsyncIterator[str]:
        """HTML in pieces, each as soon as it is known. path: of the page that it leads on to."""
        yield self._ahead
        if path != "/":
            return
        yield f"<style>{_BASE}{self._style}{self._colours(reader)}</style>{self._top(reader)}"
        await asyncio.to_thread(self._feed.settle)  # what is wrong is said by the live page
        yield self._list(reader)

    def _colours(self, reader: Reader) -> str:
        dark = _DARK.search(self._style)
        assert dark is not None, "the style has dark colours"  # noqa: S101
        root = f":root {dark[1]}"
        return {"light": "", "dark": root, "auto": f"@media (prefers-color-scheme: dark) {{ {root} }}"}[reader.theme]

    def _top(self, reader: Reader) -> str:
        links = "".join(
            f'<a href="{path}"{" class=here" if path == "/" else ""}>{escape(reader.words(name))}</a>'
            for path, name in PAGES.items()
        )
        brand = f'<div class="brand"><span>{escape(self._name)}</span></div>'
        return f'<header class="top">{brand}<nav class="nav">{links}</nav></header>'

    def _list(self, reader: Reader) -> str:
        words = reader.words
        rows, _ = run_rows(self._feed.runs(), Filter(), 0, SIZE, datetime.now(UTC))
        self._feed.want(row["key"] for row in rows)
        head = "".join(f'<th scope="col">{escape(words(name))}</th>' for name in COLUMNS.values())
        body = "".join(f"<tr>{_cells(reader.row(row))}</tr>" for row in self._mask(rows))
        start = f'<a class="go" href="{START}">{escape(words("Start a run"))}</a>'
        title = (
            f'<div class="bar room"><h1 class="grow">{escape(words("Runs"))}</h1>{start}</div><div class="room"></div>'
        )
        table = f"<table class=q-table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        if not rows:
            table = f'<div class="empty">{escape(words("Reading the cluster…"))}</div>'
        return f'<main class="page">{title}<div class="card flat runs">{table}</div></main>'


def _cells(row: Mapping[str, Any]) -> str:
    """In the order of COLUMNS, and looking as they do on the live page."""
    said = {key: escape(str(value or "")) for key, value in row.items()}
    link = f'<a class="name" href="/run/{said["key"]}">{said["key"]}</a>'
    cells = (
        ("", f'<span class="pill is-{said["state"]}">{said["word"]}</span>'),
        ("", f'<div class="what">{link}<span class="small soft wrap">{said["why"]}</span></div>'),
        ("mono nowrap", said["short"]),
        ("wrap", said["branch"]),
        ("less wrap", escape(str(row["author"]).partition(" <")[0])),
        ("", said["way"]),
        ("nowrap", said["length"]),
        ("less mono nowrap", said["digest"]),
        ("nowrap soft", said["ago"]),
    )
    return "".join(f'<td class="{classes}">{inner}</td>' for classes, inner in cells)
