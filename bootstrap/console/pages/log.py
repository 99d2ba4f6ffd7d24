"""A step's log on the page. The browser gets a window of its lines, so that a long log costs it no more than a short
one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from bootstrap.console.log_buffer import (
    WINDOW_LINES,
    Window,
    find_error_line,
    is_clipped,
    mark_hits,
    split_segments,
    strip_colours,
)
from bootstrap.console.log_search import LogSearch
from bootstrap.console.log_tail import LogTail
from bootstrap.console.pages.widgets import Text, refresh_on_change, set_attributes
from bootstrap.console.preferences import Preferences

LINE = """
<div :class="'line ' + props.item.c" :data-line="props.item.n"><span class="no"
  @click="() => $parent.$emit('line', props.item.n)">{{ props.item.n }}</span
  ><span class="tx"><span v-for="p in props.item.p" :class="p[0]">{{ p[1] }}</span></span></div>
"""
WATCH = "consoleLog.watch({id}, value => getElement({id}).$emit('scrolled', value))"
END = 200
"""How many of a failed step's last lines are searched for its cause."""


class LogView:
    """The part of a page that shows one LogTail at a time, with a search.

    linked: number of the line that the page's address names, 0 for none. choose: called with the number of a line that
    the reader clicks.
    """

    def __init__(self, preferences: Preferences, choose: Callable[[int], None]) -> None:
        self.linked = 0
        self._preferences = preferences
        self._choose = choose
        self._arrived = 0  # the linked line that was scrolled to
        self._tail: LogTail | None = None
        self._first = 0  # of the window; 0 follows the end of the log
        self._total = 0  # lines of the log when the reader ceased to follow it
        self._fresh = True  # no line of this log was shown yet
        self._search = LogSearch()
        self._tells = 0
        self._shown: Any = None
        self._items: dict[int, dict[str, Any]] = {}
        self._build()
        refresh_on_change(lambda: self._tail.version if self._tail else -2, self._refresh)

    def show(self, tail: LogTail | None) -> None:
        """Show this log from its end on; None: no step has a log yet."""
        if tail is not self._tail:
            self._tail, self._first, self._total, self._tells, self._shown = tail, 0, 0, 0, None
            self._fresh = True
            self._search_for(self._search.text)
        self._refresh()

    def mark(self, line: int) -> None:
        """Mark the line that says why the step failed, and scroll the box to it, unless it is marked already."""
        if line != self._tells:
            self._tells = line
            if not self.linked:
                self._scroll_to(line, "")

    def show_line(self, line: int) -> None:
        """Scroll the box to the line, bring that into the window, and give it the keyboard's focus."""
        self._scroll_to(line, "focus")

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
        self._lines.on("scrolled", lambda event: self._accept_scroll(event.args["place"], int(event.args["line"])))
        self._lines.on("line", lambda event: self._choose(int(event.args)))
        ui.run_javascript(WATCH.format(id=self._lines.id))
        self._empty = Text("", "soft")
        with ui.element("div").classes("bar"):
            self._place = Text("", "soft small grow")
            self._follow = ui.button("", icon="south", on_click=self._follow_end).props("flat dense")
            self._goto = ui.number(translate("Go to line"), min=1, precision=0).props("outlined dense")
            self._goto.style("width: 8rem").on("keydown.enter", self._go_to_line)
            self._jumps = [
                _add_icon_button("first_page", translate("First lines"), lambda: self._scroll_to(1, "", "top")),
                _add_icon_button("chevron_left", translate("Earlier lines"), lambda: self._turn_window(-1)),
                _add_icon_button("chevron_right", translate("Later lines"), lambda: self._turn_window(1)),
                _add_icon_button("last_page", translate("Last lines"), self._follow_end),
            ]

    def _read_window(self) -> Window | None:
        return self._tail.log.read_window(self._first) if self._tail else None

    def _refresh(self) -> None:
        window = self._read_window()
        self._search.catch_up()
        self._show_lines(window)
        self._show_position(window)
        if window and self.linked != self._arrived and self.linked <= window.total:
            self._arrived = self.linked
            if self.linked:
                self._scroll_to(self.linked, "show")
        self._empty.set_text("" if window and window.lines else self._explain_empty())

    def _show_lines(self, window: Window | None) -> None:
        """Send the lines to the browser, if they differ from what it shows."""
        first, lines = (window.first, window.lines) if window else (1, ())
        state = (id(self._tail), first, lines, self._search.line, self._search.text, self._tells, self.linked)
        if state == self._shown:
            return
        self._shown = state
        items = [self._make_item(number, line) for number, line in enumerate(lines, first)]
        self._items = {each["n"]: each for each in items}
        self._lines.props["items"] = items
        self._lines.update()
        if items and not self._first:
            self._scroll_to_end(always=self._fresh)
            self._fresh = False

    def _scroll_to_end(self, *, always: bool) -> None:
        """always: also if the reader has scrolled away from it."""
        last = max(self._items, default=0)
        ui.run_javascript(f"consoleLog.toEnd({self._lines.id}, {last}, {'true' if always else 'false'})")

    def _accept_scroll(self, place: str, line: int) -> None:
        """The reader has scrolled to the start, the middle or the end of what the browser has; line: the topmost one.

        At the end of the log the box follows it; anywhere else it stays, and what lies beyond the edge is added.
        """
        window = self._read_window()
        if window is None or not self._items:
            return
        first, last = min(self._items), max(self._items)
        if place == "end" and last >= window.total:
            self._first = 0
        elif place == "end" or (place == "start" and first > window.dropped + 1):
            self._move_window(line - WINDOW_LINES // 2, line)
            return
        elif not self._first:
            self._first, self._total = first, last
        self._refresh()

    def _explain_empty(self) -> str:
        translate = self._preferences.translate
        if self._tail is None:
            return translate("No step has started yet.")
        if self._tail.why:
            return translate("The log ended: {why}", why=self._tail.why)
        return translate("This step printed nothing.") if self._tail.over else translate("No line yet.")

    def _make_item(self, number: int, line: str) -> dict[str, Any]:
        """What the browser is sent for a line; the same object as before if nothing changed, which costs less."""
        classes = "at" if number in (self._search.line, self.linked) else "tells" if number == self._tells else ""
        if not classes and is_clipped(line):
            classes = "warns"
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
        for each in (*self._jumps, self._goto):
            each.set_visibility(several)
        # Where more lines follow the page stays at the box's edge: it would carry the box away from the pointer.
        contains = window is not None and window.last < total
        self._lines.classes(add="contains" if contains else "", remove="" if contains else "contains")
        new = max(0, total - self._total)
        self._follow.set_visibility(bool(self._first))
        self._follow.set_text(translate("{n} new lines, follow", n=new) if new else translate("Follow"))
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
            self._scroll_to(line, "show")

    def _go_to_line(self) -> None:
        if self._goto.value:
            self._scroll_to(int(self._goto.value), "", "top")

    def _turn_window(self, by: int) -> None:
        """Show the lines before (-1) or after (1) those that the browser has."""
        if self._items:
            line = min(self._items) - WINDOW_LINES if by < 0 else max(self._items) + 1
            self._scroll_to(line, "", "top")

    def _scroll_to(self, line: int, reveal: str, edge: str = "middle") -> None:
        """Scroll to a line, and move the window around it if it is outside.

        reveal: "show" brings the line into the browser's window too, "focus" also gives the box the keyboard's focus.
        edge: of the box, where the line is to be: top or middle.
        """
        window = self._read_window()
        if window is None or not window.lines:
            return
        line = max(window.dropped + 1, min(line, window.total))
        inside = window.first <= line <= window.last
        self._move_window(window.first if inside else line - WINDOW_LINES // 2, line, reveal, edge)

    def _move_window(self, first: int, line: int, reveal: str = "", edge: str = "top") -> None:
        """Show the lines from `first` on, and no longer follow the end; the other words: as of `_scroll_to`."""
        window = self._read_window()
        if window is None:
            return
        if not self._first:
            self._total = window.total
        self._first = max(1, window.dropped + 1, min(first, window.total - WINDOW_LINES + 1))
        self._refresh()
        index = line - min(self._items, default=1)
        words = f"{index}, {line}, {edge!r}, {reveal!r}"
        ui.run_javascript(f"consoleLog.toLine({self._lines.id}, {words})")

    def _follow_end(self) -> None:
        self._first = 0
        self._refresh()
        self._scroll_to_end(always=True)


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
