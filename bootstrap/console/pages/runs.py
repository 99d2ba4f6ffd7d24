"""The list of runs. It is filtered here and not in the browser, so that thousands of runs do not slow a browser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from nicegui import ui

from bootstrap.console.pages.widgets import (
    Dialog,
    Text,
    list_options,
    notify_error,
    refresh_on_change,
    run_in_thread,
    set_attributes,
    start_in_background,
)
from bootstrap.console.preferences import Preferences
from bootstrap.console.views.runs import COLUMNS, SIZE, STATES, Filter, list_applications, list_branches, list_rows
from bootstrap.core.errors import BootstrapError, UsageError
from bootstrap.objects.run_status import WAYS

if TYPE_CHECKING:
    from bootstrap.console.context import Context

ROW = """
<q-tr :props="props">
  <q-td key="state"><span :class="'pill is-' + props.row.state">
    <q-icon :name="props.row.icon" aria-hidden="true" />{{ props.row.word }}</span></q-td>
  <q-td key="run"><div class="what" :class="{ wide: props.row.app }">
    <span><span v-if="props.row.app" class="soft">{{ props.row.app }} · </span
    ><a class="name" :href="'/run/' + props.row.key">{{ props.row.key }}</a></span>
    <span v-if="props.row.why" class="small soft wrap">{{ props.row.why }}</span></div></q-td>
  <q-td key="commit"><span class="mono nowrap">{{ props.row.short }}</span></q-td>
  <q-td key="branch" class="wrap">{{ props.row.branch }}</q-td>
  <q-td key="author" class="less wrap" :title="props.row.author">{{ props.row.author.split(" <")[0] }}</q-td>
  <q-td key="by" class="nowrap">{{ props.row.way }}</q-td>
  <q-td key="length" class="nowrap">{{ props.row.length }}</q-td>
  <q-td key="image" class="less mono nowrap">{{ props.row.digest }}</q-td>
  <q-td key="when" class="nowrap soft" :title="props.row.stamp">{{ props.row.ago }}</q-td>
</q-tr>
"""


class _RunsPage:
    """The page of one reader."""

    def __init__(self, console: Context, preferences: Preferences, wanted: Filter, page: int) -> None:
        self._console = console
        self._preferences = preferences
        self._wanted = wanted
        self._page = page
        self._rows: list[dict[str, Any]] = []
        self._build()
        refresh_on_change(lambda: console.watch_cache.version, self._refresh, ticking=self._has_running)

    def open_dialog(self) -> None:
        """Open the dialog that starts a run, and take it out of the address: a reload must not open it again."""
        ui.navigate.history.replace("/")
        start_in_background(self._open_form())

    def _build(self) -> None:
        translate = self._preferences.translate
        with ui.element("div").classes("bar"):
            Text(translate("Runs"), "grow", tag="h1")
            start = ui.button(translate("Start a run"), icon="play_arrow", on_click=self._open_form).props(
                "unelevated no-caps"
            )
            set_attributes(start, data_test="start")
        with ui.element("div").classes("bar"):
            search = ui.input(
                translate("Search"), value=self._wanted.text, on_change=lambda e: self._narrow(text=e.value or "")
            ).props("outlined dense clearable type=search debounce=150")
            search.classes("grow").style("min-width: 12rem")
            self._apps = self._add_select(translate("Application"), list_options(translate, []), "app")
            states = {each.value: translate(each.value) for each in STATES}
            self._add_select(translate("State"), list_options(translate, states), "state")
            self._branches = self._add_select(translate("Branch"), list_options(translate, []), "branch")
            self._add_select(
                translate("Started by"), list_options(translate, {way: translate(way) for way in WAYS}), "by"
            )
        with ui.element("div").classes("card flat"):
            columns = [
                {"name": key, "label": translate(name), "field": key, "align": "left"} for key, name in COLUMNS.items()
            ]
            self._table = ui.table(columns=columns, rows=[], row_key="key", pagination={"rowsPerPage": 0})
            self._table.classes("runs").props("flat hide-pagination")
            self._table.add_slot("body", ROW)
            self._table.add_slot("no-data", "<span></span>")
            self._empty = Text("", "empty")
        with ui.element("div").classes("bar"):
            self._count = Text("", "soft small grow")
            set_attributes(self._count, aria_live="polite")
            self._newer = ui.button(
                translate("Newer"), icon="chevron_left", on_click=lambda: self._turn_page(-1)
            ).props("flat dense")
            self._older = ui.button(translate("Older"), on_click=lambda: self._turn_page(1)).props(
                "flat dense icon-right=chevron_right"
            )

    def _add_select(self, label: str, options: dict[str, str], key: str) -> ui.select:
        value = getattr(self._wanted, key)
        known = options | ({value: value} if value not in options else {})
        select = ui.select(known, value=value, label=label, on_change=lambda e: self._narrow(**{key: e.value or ""}))
        select.props("outlined dense options-dense").style("min-width: 8.5rem")
        return select

    def _narrow(self, **changed: str) -> None:
        self._wanted = Filter(**{**self._wanted.__dict__, **changed})
        self._page = 0
        self._refresh()
        self._update_address()

    def _turn_page(self, by: int) -> None:
        self._page = max(0, self._page + by)
        self._refresh()
        self._update_address()

    def _update_address(self) -> None:
        """Have the address name filters and page, so that a reload, a bookmark and the way back come to them."""
        chosen = {**self._wanted.__dict__, "page": self._page + 1 if self._page else 0}
        query = urlencode({key: value for key, value in chosen.items() if value})
        ui.navigate.history.replace("/" + (f"?{query}" if query else ""))

    def _has_running(self) -> bool:
        return any(not row["over"] for row in self._rows)

    def _refresh(self) -> None:
        cache, now = self._console.watch_cache, datetime.now(UTC)
        runs = cache.list_runs()
        rows, total = list_rows(runs, self._wanted, self._page, SIZE, now)
        if not rows and self._page:
            self._page = max(0, (total - 1) // SIZE)
            rows, total = list_rows(runs, self._wanted, self._page, SIZE, now)
        cache.request_tasks(row["key"] for row in rows)
        shown = [self._preferences.translate_row(row) for row in self._console.mask(rows)]
        if shown != self._rows:
            self._rows = shown
            self._table.rows = shown
        self._show_count(len(runs), total)
        self._offer(self._branches, {*list_branches(runs), self._wanted.branch})
        applications = {*list_applications(runs), self._wanted.app}
        self._offer(self._apps, applications)
        self._apps.set_visibility(applications != {""})

    def _offer(self, select: ui.select, values: set[str]) -> None:
        masked = sorted(self._console.mask(each) for each in values if each)
        options = list_options(self._preferences.translate, masked)
        if options != select.options:
            select.set_options(options)

    def _show_count(self, known: int, total: int) -> None:
        translate, first = self._preferences.translate, self._page * SIZE
        last = min(first + SIZE, total)
        several = total > SIZE
        self._count.set_text(
            translate("{first}–{last} of {n}", first=first + 1, last=last, n=total)
            if several
            else translate("1 run" if total == 1 else "{n} runs", n=total)
        )
        self._newer.set_visibility(several)
        self._older.set_visibility(several)
        self._newer.set_enabled(self._page > 0)
        self._older.set_enabled(last < total)
        if self._rows:
            text = ""
        elif not self._console.watch_cache.synced:
            text = translate("Reading the cluster…") if not self._console.watch_cache.lost else ""
        else:
            text = translate("No run matches." if known else "Nothing has run yet. Start a run here, or push a commit.")
        self._empty.set_text(text)
        self._empty.set_visibility(bool(text))

    async def _open_form(self) -> None:
        """Open the dialog that starts a run, made from the pipeline's parameters."""
        console, translate = self._console, self._preferences.translate
        try:
            params = console.mask(await run_in_thread(console.queries.list_parameters))
        except BootstrapError as error:
            notify_error(error, console.mask)
            return
        dialog = Dialog(translate("Start a run"))
        with dialog.card:
            fields = {}
            for each in sorted(params, key=lambda p: p["name"] != "REVISION"):
                field = ui.input(each["name"], value=each["value"]).props("outlined dense").classes("q-mt-sm")
                set_attributes(field, hint=translate(each["about"]), spellcheck="false")
                field.on("keydown.enter", lambda: start())
                fields[each["name"]] = field
            for first in list(fields.values())[:1]:
                first.props("autofocus")  # REVISION, the one that is changed most
            with ui.element("div").classes("bar q-mt-md"):
                ui.element("div").classes("grow")
                ui.button(translate("Back"), on_click=dialog.close).props("flat")
                button = ui.button(translate("Start"), on_click=lambda: start()).props("unelevated")
                set_attributes(button, data_test="start-now")

        async def start() -> None:
            from bootstrap.console import actions  # loads modules that the first page does without

            values = {name: str(field.value or "") for name, field in fields.items()}
            if not button.enabled:  # Enter was pressed twice
                return
            button.set_enabled(False)
            with dialog.reader:
                try:
                    name = await run_in_thread(lambda: actions.start_run(console.world, values))
                except BootstrapError as error:
                    name, _, why = console.mask(error.message).partition(" ")
                    if name in fields and isinstance(error, UsageError):
                        fields[name].error = why
                    notify_error(error, console.mask)
                    button.set_enabled(True)
                    return
                dialog.close()
                ui.notify(translate("Run {name} was started.", name=name), type="positive", position="bottom")
                ui.navigate.to(f"/run/{name}")

        dialog.open()


def build_page(
    console: Context, preferences: Preferences, *, start: bool, wanted: Filter | None = None, page: str = ""
) -> None:
    """Build the page for one reader. Called by NiceGUI for each visit, within the page.

    start: open the dialog that starts a run. wanted: which runs to show at first. page: of the list, counted from 1; ""
    is the first.
    """
    ui.page_title(f"{preferences.translate('Runs')} · {console.world.config.name}")
    number = int(page) - 1 if page.isascii() and page.isdigit() else 0
    shown = _RunsPage(console, preferences, wanted or Filter(), max(0, number))
    if start:
        shown.open_dialog()
