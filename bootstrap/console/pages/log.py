"""A step's log on the page. The browser gets a window of its lines, so that a long log costs it no more than a short
one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from bootstrap.console.log_buffer import WINDOW_LINES, Window, find_error_line, mark_hits, split_segments, strip_colours
from bootstrap.console.log_search import LogSearch
from bootstrap.console.log_tail import LogTail
from bootstrap.console.pages.widgets import Text, refresh_on_change, set_attributes
from bootstrap.console.preferences import Preferences

LINE = """
<div :class="'line ' + props.item.c" :data-line="props.item.n"><span class="no">{{ props.item.n }}</span
  ><span class="tx"><span v-for="p in props.item.p" :class="p[0]">{{ p[1] }}</span></span></div>
"""
END = 200
"""How many of a failed step's last lines are searched for its cause."""


class LogView:
    """The part of a page that shows one LogTail at a time, with a search."""

    def __init__(self, preferences: Preferences) -> None:
        self._preferences = preferences
        self._tail: LogTail | None = None
        self._first = 0
        self._search = LogSearch()
        self._tells = 0
        self._shown: Any = None
        self._items: dict[int, dict[str, Any]] = {}
        self._build()
        refresh_on_change(lambda: self._tail.version if self._tail else -2, self._refresh)

    def show(self, tail: LogTail | None) -> None:
        """Show this log from its end on; None: no step has a log yet."""
        if tail is not self._tail:
            self._tail, self._first, self._tells, self._shown = tail, 0, 0, None
            self._search_for(self._search.text)
        self._refresh()

    def mark(self, line: int, *, go: bool) -> None:
        """Mark the line that says why the step failed. go: scroll to it."""
        self._tells = line
        if go:
            self._scroll_to(line)
        else:
            self._refresh()

    def _build(self) -> None:
        translate = self._preferences.translate
        with ui.element("div").classes("bar"):
            field = ui.input(translate("Search the log"), on_change=lambda e: self._search_for(e.value or ""))
            field.props("outlined dense clearable type=search debounce=200").classes("grow").style("min-width: 11rem")
            field.on("keydown.enter", lambda: self._move_to_hit(1))
            self._count = Text("", "soft small nowrap")
            set_attributes(self._count, aria_live="polite")
            self._previous = _add_icon_button(
                "keyboard_arrow_up", translate("Previous match"), lambda: self._move_to_hit(-1)
            )
            self._following = _add_icon_button(
                "keyboard_arrow_down", translate("Next match"), lambda: self._move_to_hit(1)
            )
        self._lines = ui.element("q-virtual-scroll").classes("log q-my-sm")
        self._lines.props["items"] = []
        self._lines.props["virtual-scroll-item-size"] = 19
        self._lines.add_slot("default", LINE)
        set_attributes(self._lines, tabindex="0", role="log", aria_label=translate("Log"))
        self._empty = Text("", "soft")
        with ui.element("div").classes("bar"):
            self._place = Text("", "soft small grow")
            self._earlier = _add_icon_button(
                "first_page", translate("Earlier lines"), lambda: self._move_window(-WINDOW_LINES // 2)
            )
            self._later = _add_icon_button(
                "last_page", translate("Later lines"), lambda: self._move_window(WINDOW_LINES // 2)
            )
            self._follow = ui.button(translate("Follow"), icon="south", on_click=self._follow_end).props("flat dense")

    def _read_window(self) -> Window | None:
        return self._tail.log.read_window(self._first) if self._tail else None

    def _refresh(self) -> None:
        window = self._read_window()
        self._search.catch_up()
        self._show_lines(window)
        self._show_position(window)
        self._empty.set_text("" if window and window.lines else self._explain_empty())

    def _show_lines(self, window: Window | None) -> None:
        """Send the lines to the browser, if they differ from what it shows."""
        first, lines = (window.first, window.lines) if window else (1, ())
        state = (id(self._tail), first, lines, self._search.line, self._search.text, self._tells)
        if state == self._shown:
            return
        self._shown = state
        items = [self._make_item(number, line) for number, line in enumerate(lines, first)]
        self._items = {each["n"]: each for each in items}
        self._lines.props["items"] = items
        self._lines.update()
        if items and not self._first:
            self._lines.run_method("scrollTo", len(items) - 1, "end")

    def _explain_empty(self) -> str:
        translate = self._preferences.translate
        if self._tail is None:
            return translate("No step has started yet.")
        return translate("The log ended: {why}", why=self._tail.why) if self._tail.why else translate("No line yet.")

    def _make_item(self, number: int, line: str) -> dict[str, Any]:
        """What the browser is sent for a line; the same object as before if nothing changed, which costs less."""
        classes = "at" if number == self._search.line else "tells" if number == self._tells else ""
        known = self._items.get(number)
        if known and known["c"] == classes:
            return known
        return {"n": number, "c": classes, "p": mark_hits(split_segments(line), self._search.text)}

    def _show_position(self, window: Window | None) -> None:
        translate = self._preferences.translate
        total = window.total if window else 0
        several = window is not None and len(window.lines) < total - window.dropped
        text = (
            translate("lines {first}–{last} of {n}", first=window.first, last=window.last, n=total)
            if window and total
            else ""
        )
        if window and window.dropped:
            text += " · " + translate("{n} older lines are gone", n=window.dropped)
        self._place.set_text(text)
        for each in (self._earlier, self._later):
            each.set_visibility(several)
        self._follow.set_visibility(bool(self._first))
        self._count.set_text(self._describe_hits())
        for each in (self._previous, self._following):
            each.set_enabled(bool(self._search.hits))

    def _describe_hits(self) -> str:
        translate, search = self._preferences.translate, self._search
        if not search.text:
            return ""
        return translate("{n} of {all}", n=search.place, all=len(search.hits)) if search.hits else translate("no match")

    def _search_for(self, text: str) -> None:
        self._search = LogSearch(self._tail.log if self._tail else None, text.strip())
        self._items = {}
        if self._search.hits:
            self._move_to_hit(1)
        else:
            self._refresh()

    def _move_to_hit(self, by: int) -> None:
        line = self._search.move(by)
        if line:
            self._scroll_to(line)

    def _scroll_to(self, line: int) -> None:
        """Scroll to a line, and move the window around it if it is outside."""
        window = self._read_window()
        if window is None:
            return
        if not self._first or not window.first <= line <= window.last:
            self._first = max(1, line - WINDOW_LINES // 2)
        self._refresh()
        window = self._read_window()
        if window:
            self._lines.run_method("scrollTo", line - window.first, "center-force")

    def _move_window(self, by: int) -> None:
        window = self._read_window()
        if window is None:
            return
        self._first = max(1, min(window.first + by, window.total - WINDOW_LINES + 1))
        self._refresh()
        self._lines.run_method("scrollTo", 0 if by > 0 else WINDOW_LINES // 2, "start")

    def _follow_end(self) -> None:
        self._first = 0
        self._shown = None
        self._refresh()


def find_cause(tail: LogTail) -> tuple[int, str]:
    """Number and text (without colours) of the line that best says why the step failed; (0, "") if none does."""
    lines: Sequence[str] = tail.log.read_tail(END)
    last = tail.log.span[1]
    index = find_error_line(lines)
    return (last - len(lines) + index + 1, strip_colours(lines[index]).strip()) if index >= 0 else (0, "")


def _add_icon_button(icon: str, name: str, act: Any) -> ui.button:
    button = ui.button(icon=icon, on_click=act).props("flat dense round")
    set_attributes(button, aria_label=name)
    return button
