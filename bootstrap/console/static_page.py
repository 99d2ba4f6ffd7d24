"""The page that a reader sees until NiceGUI is loaded: the list of runs, with working links.

It is plain HTML without a script. It names the files that the browser may preload meanwhile, and leads on to the live
page.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from bootstrap.console.preferences import Preferences
from bootstrap.console.views.runs import COLUMNS, SIZE, Filter, list_rows
from bootstrap.console.watch_cache import WatchCache

PAGES = {
    "/applications": "Applications",
    "/": "Runs",
    "/deployment": "Deployment",
    "/webhooks": "Webhooks",
    "/environment": "Environment",
}
"""Path -> title, in English."""
RENAMED = {"/delivery": "/deployment", "/arrivals": "/webhooks"}
"""Paths that pages had before -> those that they have now; bookmarks still lead there."""
START = "/?start=1"
"""Address of the list of runs with the dialog that starts one."""
AHEAD = '<link rel="preload" as="{kind}" href="{path}">'
_BASE = "* { box-sizing: border-box } body { margin: 0; font-size: 14px } .room { height: 38px }"
"""What NiceGUI's own style does, and the height of its fields, so that little moves when the live page comes."""
_DARK = re.compile(r"\.body--dark (\{.*?\})", re.DOTALL)
"""The rule with the dark colours in style.css. It is for a class that NiceGUI sets by a script."""


class StaticPage:
    """Renders the static page.

    mask: takes secrets out of a document. name: of the environment. style: the text of style.css. ahead: paths of the
    styles and scripts that the live page will need.
    """

    def __init__(
        self, cache: WatchCache, mask: Callable[[Any], Any], name: str, style: str, ahead: Iterable[str]
    ) -> None:
        self._cache = cache
        self._mask = mask
        self._name = name
        self._style = style
        kinds = {path: "style" if path.endswith(".css") else "script" for path in ahead}
        self._ahead = "".join(AHEAD.format(kind=kind, path=escape(path)) for path, kind in kinds.items())

    async def __call__(self, preferences: Preferences, path: str) -> AsyncIterator[str]:
        """HTML in pieces, each as soon as it is known; the runs may take a second. path: of the page that it leads on
        to; for any but "/" only the files to preload are named."""
        yield self._ahead
        if path != "/":
            return
        style = f"<style>{_BASE}{self._style}{self._choose_colours(preferences)}</style>"
        yield style + self._render_header(preferences)
        await asyncio.to_thread(self._cache.wait_until_settled)  # if they cannot be read, the live page says why
        yield self._render_runs(preferences)

    def _choose_colours(self, preferences: Preferences) -> str:
        dark = _DARK.search(self._style)
        assert dark is not None, "the style has dark colours"  # noqa: S101
        root = f":root {dark[1]}"
        return {"light": "", "dark": root, "auto": f"@media (prefers-color-scheme: dark) {{ {root} }}"}[
            preferences.theme
        ]

    def _render_header(self, preferences: Preferences) -> str:
        links = "".join(
            f'<a href="{path}"{" class=here" if path == "/" else ""}>{escape(preferences.translate(name))}</a>'
            for path, name in PAGES.items()
        )
        brand = f'<div class="brand"><span>{escape(self._name)}</span></div>'
        return f'<header class="top">{brand}<nav class="nav">{links}</nav></header>'

    def _render_runs(self, preferences: Preferences) -> str:
        translate = preferences.translate
        rows, _ = list_rows(self._cache.list_runs(), Filter(), 0, SIZE, datetime.now(UTC))
        self._cache.request_tasks(row["key"] for row in rows)
        head = "".join(f'<th scope="col">{escape(translate(name))}</th>' for name in COLUMNS.values())
        body = "".join(f"<tr>{_render_cells(preferences.translate_row(row))}</tr>" for row in self._mask(rows))
        start = f'<a class="go" href="{START}">{escape(translate("Start a run"))}</a>'
        title = f'<div class="bar room"><h1 class="grow">{escape(translate("Runs"))}</h1>{start}</div>'
        title += '<div class="room"></div>'  # where the live page has its filters
        table = f"<table class=q-table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        if not rows:
            table = f'<div class="empty">{escape(translate("Reading the cluster…"))}</div>'
        return f'<main class="page">{title}<div class="card flat runs">{table}</div></main>'


def _render_cells(row: Mapping[str, Any]) -> str:
    """In the order of COLUMNS, and looking as they do on the live page."""
    texts = {key: escape(str(value or "")) for key, value in row.items()}
    link = f'<a class="name" href="/run/{texts["key"]}">{texts["key"]}</a>'
    app = f'<span class="soft">{texts["app"]} ·</span> ' if texts["app"] else ""
    what = "what wide" if app else "what"
    cells = (
        ("", f'<span class="pill is-{texts["state"]}">{texts["word"]}</span>'),
        ("", f'<div class="{what}"><span>{app}{link}</span><span class="small soft wrap">{texts["why"]}</span></div>'),
        ("mono nowrap", texts["short"]),
        ("wrap", texts["branch"]),
        ("less wrap", escape(str(row["author"]).partition(" <")[0])),
        ("nowrap", texts["way"]),
        ("nowrap", texts["length"]),
        ("less mono nowrap", texts["digest"]),
        ("nowrap soft", texts["ago"]),
    )
    return "".join(f'<td class="{classes}">{inner}</td>' for classes, inner in cells)
