"""A step's log on the page: a window of lines that moves, so that a long log is as light as a short one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from bootstrap.console.log_buffer import WINDOW, Window, marked, plain, segments, telling
from bootstrap.console.log_search import Search
from bootstrap.console.log_tail import Tail
from bootstrap.console.pages.widgets import Text, give, live
from bootstrap.console.preferences import Reader

LINE = """
<div :class="'line ' + props.item.c" :data-line="props.item.n"><span class="no">{{ props.item.n }}</span
  ><span class="tx"><span v-for="p in props.item.p" :class="p[0]">{{ p[1] }}</span></span></div>
"""
END = 200
"""Lines at the end of a failed step among which the one that tells why is looked for."""


class LogView:
    """Shows one Tail at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._tail: Tail | None = None
        self._first = 0
        self._search = Search()
        self._tells = 0
        self._shown: Any = None
        self._items: dict[int, dict[str, Any]] = {}
        self._build()
        live(lambda: self._tail.version if self._tail else -2, self._refresh)

    def show(self, tail: Tail | None) -> None:
        if tail is not self._tail:
            self._tail, self._first, self._tells, self._shown = tail, 0, 0, None
            self._find(self._search.text)
        self._refresh()

    def mark(self, line: int, *, go: bool) -> None:
        """Mark the line that tells why the step failed; go: and bring it into view."""
        self._tells = line
        if go:
            self._go(line)
        else:
            self._refresh()

    def _build(self) -> None:
        words = self._reader.words
        with ui.element("div").classes("bar"):
            field = ui.input(words("Search the log"), on_change=lambda e: self._find(e.value or ""))
            field.props("outlined dense clearable type=search debounce=200").classes("grow").style("min-width: 11rem")
            field.on("keydown.enter", lambda: self._next(1))
            self._count = Text("", "soft small nowrap")
            give(self._count, aria_live="polite")
            self._previous = _icon("keyboard_arrow_up", words("Previous match"), lambda: self._next(-1))
            self._following = _icon("keyboard_arrow_down", words("Next match"), lambda: self._next(1))
        self._lines = ui.element("q-virtual-scroll").classes("log q-my-sm")
        self._lines.props["items"] = []
        self._lines.props["virtual-scroll-item-size"] = 19
        self._lines.add_slot("default", LINE)
        give(self._lines, tabindex="0", role="log", aria_label=words("Log"))
        self._empty = Text("", "soft")
        with ui.element("div").classes("bar"):
            self._place = Text("", "soft small grow")
            self._earlier = _icon("first_page", words("Earlier lines"), lambda: self._move(-WINDOW // 2))
            self._later = _icon("last_page", words("Later lines"), lambda: self._move(WINDOW // 2))
            self._follow = ui.button(words("Follow"), icon="south", on_click=self._to_end).props("flat dense")

    def _window(self) -> Window | None:
        return self._tail.log.window(self._first) if self._tail else None

    def _refresh(self) -> None:
        window = self._window()
        self._search.catch_up()
        self._show_lines(window)
        self._tell(window)
        self._empty.set_text("" if window and window.lines else self._nothing())

    def _show_lines(self, window: Window | None) -> None:
        """Sends them only if they look different: lines may come while others are looked at."""
        first, lines = (window.first, window.lines) if window else (1, ())
        state = (id(self._tail), first, lines, self._search.line, self._search.text, self._tells)
        if state == self._shown:
            return
        self._shown = state
        items = [self._item(number, line) for number, line in enumerate(lines, first)]
        self._items = {each["n"]: each for each in items}
        self._lines.props["items"] = items
        self._lines.update()
        if items and not self._first:
            self._lines.run_method("scrollTo", len(items) - 1, "end")

    def _nothing(self) -> str:
        words = self._reader.words
        if self._tail is None:
            return words("No step has started yet.")
        return words("The log ended: {why}", why=self._tail.why) if self._tail.why else words("No line yet.")

    def _item(self, number: int, line: str) -> dict[str, Any]:
        """The one that was shown before, if it still looks like that: few of them change at once."""
        classes = "at" if number == self._search.line else "tells" if number == self._tells else ""
        known = self._items.get(number)
        if known and known["c"] == classes:
            return known
        return {"n": number, "c": classes, "p": marked(segments(line), self._search.text)}

    def _tell(self, window: Window | None) -> None:
        words = self._reader.words
        total = window.total if window else 0
        several = window is not None and len(window.lines) < total - window.dropped
        said = (
            words("lines {first}–{last} of {n}", first=window.first, last=window.last, n=total)
            if window and total
            else ""
        )
        if window and window.dropped:
            said += " · " + words("{n} older lines are gone", n=window.dropped)
        self._place.set_text(said)
        for each in (self._earlier, self._later):
            each.set_visibility(several)
        self._follow.set_visibility(bool(self._first))
        self._count.set_text(self._found())
        for each in (self._previous, self._following):
            each.set_enabled(bool(self._search.hits))

    def _found(self) -> str:
        words, search = self._reader.words, self._search
        if not search.text:
            return ""
        return words("{n} of {all}", n=search.place, all=len(search.hits)) if search.hits else words("no match")

    def _find(self, text: str) -> None:
        self._search = Search(self._tail.log if self._tail else None, text.strip())
        self._items = {}
        if self._search.hits:
            self._next(1)
        else:
            self._refresh()

    def _next(self, by: int) -> None:
        line = self._search.go(by)
        if line:
            self._go(line)

    def _go(self, line: int) -> None:
        """Bring a line into view, and the window around it if it is elsewhere."""
        window = self._window()
        if window is None:
            return
        if not self._first or not window.first <= line <= window.last:
            self._first = max(1, line - WINDOW // 2)
        self._refresh()
        window = self._window()
        if window:
            self._lines.run_method("scrollTo", line - window.first, "center-force")

    def _move(self, by: int) -> None:
        window = self._window()
        if window is None:
            return
        self._first = max(1, min(window.first + by, window.total - WINDOW + 1))
        self._refresh()
        self._lines.run_method("scrollTo", 0 if by > 0 else WINDOW // 2, "start")

    def _to_end(self) -> None:
        self._first = 0
        self._shown = None
        self._refresh()


def line_that_tells(tail: Tail) -> tuple[int, str]:
    """Its number and its text without colours; (0, "") if no line does."""
    lines: Sequence[str] = tail.log.tail(END)
    last = tail.log.span[1]
    found = telling(lines)
    return (last - len(lines) + found + 1, plain(lines[found]).strip()) if found >= 0 else (0, "")


def _icon(icon: str, name: str, act: Any) -> ui.button:
    button = ui.button(icon=icon, on_click=act).props("flat dense round")
    give(button, aria_label=name)
    return button
