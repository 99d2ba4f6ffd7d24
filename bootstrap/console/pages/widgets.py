"""Widgets that all pages are made of. They show text only: nothing here takes HTML.

Everything here belongs to the page of one reader, and must be called in the event loop, within that page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nicegui import background_tasks, ui
from nicegui.elements.mixins.text_element import TextElement

from bootstrap.console.translations import Translator
from bootstrap.core.errors import BootstrapError

T = TypeVar("T")
LOOK_SECONDS = 0.1
"""How often a page compares versions: numbers in memory, nothing is asked of the cluster."""
TICK_SECONDS = 1.0
"""How often a page is refreshed while a time on it goes on."""


class LeaveHook(ui.element):
    """An invisible element that calls `act` when the page, or the element around it, is deleted."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__("span")
        self._act = act

    def _handle_delete(self) -> None:
        self._act()
        super()._handle_delete()


class Refreshable:
    """A part of the page that is built anew when what it shows has changed, and only then.

    build: called with the documents of `show`, within `box`, the element around the part.
    """

    def __init__(self, build: Callable[..., None], classes: str = "", tag: str = "div") -> None:
        self.box = ui.element(tag).classes(classes)
        self._build = build
        self._shown: tuple[object, ...] | None = None

    def show(self, *documents: object) -> None:
        """Build the part for these documents, unless it shows equal ones already, or the reader has left the page."""
        if documents == self._shown or self.box.is_deleted:
            return
        self._shown = documents
        self.box.clear()
        with self.box:
            self._build(*documents)


def refresh_on_change(
    version: Callable[[], int], refresh: Callable[[], None], *, ticking: Callable[[], bool] = lambda: False
) -> None:
    """Call `refresh` now, whenever `version` gives another number, and every second while `ticking` gives True.

    It ends when the element around is deleted.
    """
    seen, last = -1, 0.0

    def look() -> None:
        nonlocal seen, last
        current, now = version(), asyncio.get_running_loop().time()
        if current != seen or (now - last >= TICK_SECONDS and ticking()):
            seen, last = current, now
            refresh()

    look()
    ui.timer(LOOK_SECONDS, look)


class Text(TextElement):
    """An element with a text, which is never read as HTML. attributes: see `set_attributes`."""

    def __init__(self, value: str, classes: str = "", tag: str = "div", **attributes: str) -> None:
        super().__init__(tag=tag, text=value)
        self.classes(classes)
        set_attributes(self, **attributes)


def set_attributes(element: ui.element, **attributes: str) -> None:
    """Set attributes of the HTML element; aria_label stands for aria-label. Values may hold any character: NiceGUI's
    own `props` would split them at quotes."""
    for name, value in attributes.items():
        element.props[name.rstrip("_").replace("_", "-")] = value


def add_clamped(value: str) -> None:
    """Add a text of which at most three lines are shown; all of it is its tooltip."""
    Text(value, "clamp", title=value)


def add_pill(state: str, word: str, icon: str = "") -> ui.element:
    """Add a label for a state. state: of a CSS class in style.css; word: what it says; icon: of NiceGUI's icon font."""
    with ui.element("span").classes(f"pill is-{state}") as element:
        if icon:
            ui.icon(icon).props("aria-hidden=true")
        Text(word, tag="span")
    return element


def add_facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Add a list of names with their values."""
    with ui.element("dl").classes("facts"):
        for name, value in pairs:
            Text(name, tag="dt")
            Text(value, tag="dd")


@dataclass(frozen=True)
class Column:
    """A column of a plain table. name: its heading. width: in rem; 0 takes what the others leave.

    label: whether the heading stands before each cell on a narrow window, where every row is a card; for what does not
    say by itself what it is.
    """

    name: str
    width: float = 0
    label: bool = False


def add_table(columns: Iterable[Column], rows: Iterable[Iterable[object]], empty: str = "") -> None:
    """Add a plain table. A cell is a text, or a function that builds its content. empty: shown in place of no rows."""
    known, listed = list(columns), [list(row) for row in rows]
    if not listed and empty:
        Text(empty, "empty")
        return
    with ui.element("table").classes("plain"):
        with ui.element("colgroup"):
            for column in known:
                ui.element("col").style(f"width: {column.width}rem" if column.width else "")
        with ui.element("thead"), ui.element("tr"):
            for column in known:
                Text(column.name, tag="th", scope="col")
        with ui.element("tbody"):
            for row in listed:
                with ui.element("tr"):
                    for column, cell in zip(known, row, strict=True):
                        _add_cell(column, cell)


def _add_cell(column: Column, cell: object) -> None:
    classes = "" if column.width else "long"
    if callable(cell):
        with ui.element("td").classes(classes) as element:
            cell()
    else:
        element = Text(str(cell), classes, tag="td")
    if column.label and cell not in ("", None):
        set_attributes(element, data_label=column.name)


def add_link(target: str, translate: str, classes: str = "") -> ui.element:
    """Add a link. target: a path of the console."""
    return Text(translate, classes, tag="a", href=target)


def add_copy_button(value: str, translate: Translator) -> None:
    """Add a button that copies the value into the clipboard."""

    def act() -> None:
        ui.clipboard.write(value)
        ui.notify(translate("Copied"), position="bottom")

    button = ui.button(icon="content_copy", on_click=act).props("flat dense round size=sm")
    set_attributes(button, aria_label=translate("Copy"))


async def run_in_thread(read: Callable[[], T]) -> T:
    """Call `read`, which may wait for the cluster, in a thread. Raises what it raises, BootstrapError mostly."""
    return await asyncio.to_thread(read)


class Dialog(ui.dialog):
    """A dialog with this title, which is deleted when it is closed. It belongs to no part of the page.

    What its buttons do goes on after it is closed, so that they act within `client`, and not within the dialog.
    """

    def __init__(self, title: str) -> None:
        self.reader = ui.context.client
        with self.reader:
            super().__init__()
        with self, ui.element("div").classes("card") as self.card:
            heading = Text(title, tag="h1")
        set_attributes(self, aria_labelledby=heading.html_id)
        self.on("hide", self.delete)


def notify_error(error: BootstrapError, mask: Callable[[str], str]) -> None:
    """Show the error and its hint as a notification that stays for eight seconds."""
    text = error.message + (f" — {error.hint}" if error.hint else "")
    ui.notify(mask(text), type="negative", position="bottom", multi_line=True, timeout=8000, close_button="×")


def start_in_background(work: Awaitable[Any]) -> None:
    """Await `work` in the background, for the reader of the page that calls this; he may leave the page meanwhile."""
    client = ui.context.client

    async def inside() -> None:
        with client:
            await work

    background_tasks.create(inside())


def list_options(translate: Translator, values: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    """Options of a select (value -> label); the first, "", stands for any."""
    labels = values if isinstance(values, Mapping) else {value: value for value in values}
    return {"": translate("any"), **labels}
