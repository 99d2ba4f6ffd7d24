"""Small parts that all pages are made of. What is shown is always text: nothing here takes HTML."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from nicegui import background_tasks, ui
from nicegui.elements.mixins.text_element import TextElement

from bootstrap.console.translations import Words
from bootstrap.core.errors import BootstrapError

T = TypeVar("T")
LOOK_SECONDS = 0.1
"""How often a page compares what it shows with the feed's version: a number in memory, nothing is asked."""
TICK_SECONDS = 1.0


class Leaving(ui.element):
    """Nothing to see; calls `act` when the page, or the part of it that this stands in, is left."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__("span")
        self._act = act

    def _handle_delete(self) -> None:
        self._act()
        super()._handle_delete()


class Part:
    """A part of the page that is built anew only when what it shows has changed."""

    def __init__(self, build: Callable[..., None], classes: str = "", tag: str = "div") -> None:
        self.box = ui.element(tag).classes(classes)
        self._build = build
        self._shown: tuple[object, ...] | None = None

    def show(self, *documents: object) -> None:
        if documents == self._shown:
            return
        self._shown = documents
        self.box.clear()
        with self.box:
            self._build(*documents)


def live(
    version: Callable[[], int], refresh: Callable[[], None], *, ticking: Callable[[], bool] = lambda: False
) -> None:
    """Call `refresh` now, whenever the version changes, and every second while `ticking`, as long as the part lives."""
    seen, last = -1, 0.0

    def look() -> None:
        nonlocal seen, last
        found, now = version(), asyncio.get_running_loop().time()
        if found != seen or (now - last >= TICK_SECONDS and ticking()):
            seen, last = found, now
            refresh()

    look()
    ui.timer(LOOK_SECONDS, look)


class Text(TextElement):
    """An element of any tag with a text in it, never HTML. attributes: as they are, whatever stands in them."""

    def __init__(self, value: str, classes: str = "", tag: str = "div", **attributes: str) -> None:
        super().__init__(tag=tag, text=value)
        self.classes(classes)
        give(self, **attributes)


def give(element: ui.element, **attributes: str) -> None:
    """Set attributes; aria_label is aria-label. The library's own `props` would take a text apart at its quotes."""
    for name, value in attributes.items():
        element.props[name.rstrip("_").replace("_", "-")] = value


def pill(state: str, word: str, icon: str = "") -> ui.element:
    with ui.element("span").classes(f"pill is-{state}") as made:
        if icon:
            ui.icon(icon).props("aria-hidden=true")
        Text(word, tag="span")
    return made


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    with ui.element("dl").classes("facts"):
        for name, value in pairs:
            Text(name, tag="dt")
            Text(value, tag="dd")


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], empty: str = "") -> None:
    """A plain table. A cell is a text, or something that is called to build what is in it."""
    listed = [list(row) for row in rows]
    if not listed and empty:
        Text(empty, "empty")
        return
    with ui.element("div").classes("scroll"), ui.element("table").classes("plain"):
        with ui.element("thead"), ui.element("tr"):
            for name in columns:
                Text(name, tag="th", scope="col")
        with ui.element("tbody"):
            for row in listed:
                with ui.element("tr"):
                    for cell in row:
                        if callable(cell):
                            with ui.element("td"):
                                cell()
                        else:
                            Text(str(cell), tag="td")


def link(target: str, words: str, classes: str = "") -> ui.element:
    """target: a path of our own."""
    return Text(words, classes, tag="a", href=target)


def copy(value: str, words: Words) -> None:
    """A button that puts the text into the clipboard."""

    def act() -> None:
        ui.clipboard.write(value)
        ui.notify(words("Copied"), position="bottom")

    button = ui.button(icon="content_copy", on_click=act).props("flat dense round size=sm")
    give(button, aria_label=words("Copy"))


async def asked(read: Callable[[], T]) -> T:
    """Run what waits for the cluster in a thread. Raises BootstrapError."""
    return await asyncio.to_thread(read)


def refuse(error: BootstrapError, mask: Callable[[str], str]) -> None:
    said = error.message + (f" — {error.hint}" if error.hint else "")
    ui.notify(mask(said), type="negative", position="bottom", multi_line=True, timeout=8000, close_button="×")


def begin(work: Awaitable[Any]) -> None:
    """Go on with it in the background, in the page's own context."""
    slot = ui.context.slot

    async def inside() -> None:
        with slot:
            await work

    background_tasks.create(inside())


def choices(words: Words, values: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """For a select: "" is any."""
    found = values if isinstance(values, Mapping) else {each: each for each in values}
    return {"": words("any"), **found}
