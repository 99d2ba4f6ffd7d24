"""The applications of the environment: what each is at, and what serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from nicegui import ui

from bootstrap.console.pages.central_repository import add_repository_card
from bootstrap.console.pages.widgets import (
    Column,
    Refreshable,
    Text,
    add_link,
    add_pill,
    add_table,
    refresh_on_change,
    set_attributes,
)
from bootstrap.console.preferences import Preferences
from bootstrap.console.queries import format_flags
from bootstrap.console.views.applications import list_applications

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]


class _ApplicationsPage:
    def __init__(self, console: Context, preferences: Preferences) -> None:
        self._console, self._preferences = console, preferences
        Text(preferences.translate("Applications"), tag="h1")
        add_repository_card(console, preferences)
        with ui.element("section").classes("card flat"):
            self._table = Refreshable(self._build_table)
        refresh_on_change(lambda: console.watch_cache.version, self._refresh)

    def _refresh(self) -> None:
        cache, translate = self._console.watch_cache, self._preferences.translate
        rows = self._console.mask(list_applications(cache.list_applications(), cache.list_runs()))
        read = "Application" in cache.seen and not cache.lost
        shown = [
            {
                **row,
                "word": translate("queued, place {n}", n=row["place"]) if row["place"] else translate(row["state"]),
                "why": "; ".join(map(translate.translate_message, row["why"].split("; "))),
                "ago": self._preferences.format_age(row["since"]),
            }
            for row in rows
        ]
        self._table.show(shown, read, bool(cache.lost))

    def _build_table(self, rows: list[Document], read: bool, lost: bool) -> None:
        translate = self._preferences.translate
        if not rows:
            with ui.element("div").classes("empty"):
                if read:
                    Text(translate("No application is declared. To declare one, type:"))
                    Text(f"invoke app-add NAME-OR-URL{format_flags(self._console.world.config)}", "mono wrap")
                elif not lost:  # the alert at the top of the page says so
                    Text(translate("Reading the cluster…"))
            return
        columns = [
            Column(translate("Application"), 12),
            Column(translate("Environment"), 11),
            Column(translate("State")),
            Column(translate("Serves"), 14, label=True),
            Column(translate("Repository"), 16),
        ]
        add_table(columns, [self._make_cells(row) for row in rows])

    def _make_cells(self, row: Document) -> list[object]:
        translate = self._preferences.translate
        return [
            lambda: add_link("/?" + urlencode({"app": row["app"]}), row["app"], "name"),
            lambda: self._add_environment(row),
            lambda: self._add_state(row),
            lambda: self._add_serving(row),
            row["repository"] or translate("the environment's own git server"),
        ]

    def _add_environment(self, row: Document) -> None:
        Text(row["environment"])
        if row["namespace"] != row["environment"]:
            Text(row["namespace"], "small soft")

    def _add_state(self, row: Document) -> None:
        """The state leads to the newest run."""
        if row["run"]:
            link = add_link(f"/run/{row['run']}", "")
            set_attributes(link, aria_label=f"{row['word']} · {row['run']}", title=row["run"])
            with link:
                add_pill(row["state"], row["word"], row["icon"])
        else:
            add_pill(row["state"], row["word"], row["icon"])
        if row["why"]:
            Text(row["why"], "small wrap")

    def _add_serving(self, row: Document) -> None:
        if not row["commit"]:
            Text(self._preferences.translate("nothing yet"), "soft")
            return
        if row["branch"]:
            Text(f"{row['branch']} ")
        Text(f"{row['commit'][:7]} ", "mono", tag="span")
        if row["ago"]:
            stamp = self._preferences.format_stamp(row["since"])
            set_attributes(Text(row["ago"], "soft nowrap", tag="span"), title=stamp)


def build_page(console: Context, preferences: Preferences) -> None:
    """Build the page for one reader. Called by NiceGUI for each visit, within the page."""
    ui.page_title(f"{preferences.translate('Applications')} · {console.world.config.name}")
    _ApplicationsPage(console, preferences)
