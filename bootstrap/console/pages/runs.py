"""The list of runs: live, filtered here and not in the browser, so that any number of them stays light."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import Text, asked, begin, choices, give, live, refuse
from bootstrap.console.preferences import Reader
from bootstrap.console.views.runs import COLUMNS, SIZE, STATES, Filter, branches, run_rows
from bootstrap.core.errors import BootstrapError
from bootstrap.objects.run_status import WAYS

if TYPE_CHECKING:
    from bootstrap.console.context import Context

ROW = """
<q-tr :props="props">
  <q-td key="state"><span :class="'pill is-' + props.row.state">
    <q-icon :name="props.row.icon" aria-hidden="true" />{{ props.row.word }}</span></q-td>
  <q-td key="run"><div class="what"><a class="name" :href="'/run/' + props.row.key">{{ props.row.key }}</a>
    <span v-if="props.row.why" class="small soft wrap">{{ props.row.why }}</span></div></q-td>
  <q-td key="commit"><span class="mono nowrap">{{ props.row.short }}</span></q-td>
  <q-td key="branch" class="wrap">{{ props.row.branch }}</q-td>
  <q-td key="author" class="less wrap" :title="props.row.author">{{ props.row.author.split(" <")[0] }}</q-td>
  <q-td key="by">{{ props.row.way }}</q-td>
  <q-td key="length" class="nowrap">{{ props.row.length }}</q-td>
  <q-td key="image" class="less mono nowrap">{{ props.row.digest }}</q-td>
  <q-td key="when" class="nowrap soft" :title="props.row.stamp">{{ props.row.ago }}</q-td>
</q-tr>
"""


class _List:
    """The page of one reader."""

    def __init__(self, console: Context, reader: Reader) -> None:
        self._console = console
        self._reader = reader
        self._wanted = Filter()
        self._page = 0
        self._rows: list[dict[str, Any]] = []
        self._build()
        live(lambda: console.feed.version, self._refresh, ticking=self._ticking)

    def start(self) -> None:
        """Open the dialog, once: neither a reload nor a way back is to open it again."""
        ui.navigate.history.replace("/")
        begin(self._form())

    def _build(self) -> None:
        words = self._reader.words
        with ui.element("div").classes("bar"):
            Text(words("Runs"), "grow", tag="h1")
            start = ui.button(words("Start a run"), icon="play_arrow", on_click=self._form).props("unelevated no-caps")
            give(start, data_test="start")
        with ui.element("div").classes("bar"):
            search = ui.input(words("Search"), on_change=lambda e: self._narrow(text=e.value or "")).props(
                "outlined dense clearable type=search debounce=150"
            )
            search.classes("grow").style("min-width: 12rem")
            states = {each.value: words(each.value) for each in STATES}
            self._select(words("State"), choices(words, states), "state")
            self._branches = self._select(words("Branch"), choices(words, []), "branch")
            self._select(words("Started by"), choices(words, {way: words(way) for way in WAYS}), "by")
        with ui.element("div").classes("card flat"):
            columns = [
                {"name": key, "label": words(name), "field": key, "align": "left"} for key, name in COLUMNS.items()
            ]
            self._table = ui.table(columns=columns, rows=[], row_key="key", pagination={"rowsPerPage": 0})
            self._table.classes("runs").props("flat hide-pagination")
            self._table.add_slot("body", ROW)
            self._table.add_slot("no-data", "<span></span>")
            self._empty = Text("", "empty")
        with ui.element("div").classes("bar"):
            self._count = Text("", "soft small grow")
            give(self._count, aria_live="polite")
            self._newer = ui.button(words("Newer"), icon="chevron_left", on_click=lambda: self._turn(-1)).props(
                "flat dense"
            )
            self._older = ui.button(words("Older"), on_click=lambda: self._turn(1)).props(
                "flat dense icon-right=chevron_right"
            )

    def _select(self, label: str, options: dict[str, str], key: str) -> ui.select:
        select = ui.select(options, value="", label=label, on_change=lambda e: self._narrow(**{key: e.value or ""}))
        select.props("outlined dense options-dense").style("min-width: 8.5rem")
        return select

    def _narrow(self, **changed: str) -> None:
        self._wanted = Filter(**{**self._wanted.__dict__, **changed})
        self._page = 0
        self._refresh()

    def _turn(self, by: int) -> None:
        self._page = max(0, self._page + by)
        self._refresh()

    def _ticking(self) -> bool:
        return any(not row["over"] for row in self._rows)

    def _refresh(self) -> None:
        feed, words, now = self._console.feed, self._reader.words, datetime.now(UTC)
        runs = feed.runs()
        rows, total = run_rows(runs, self._wanted, self._page, SIZE, now)
        if not rows and self._page:
            self._page = max(0, (total - 1) // SIZE)
            rows, total = run_rows(runs, self._wanted, self._page, SIZE, now)
        feed.want(row["key"] for row in rows)
        said = [self._reader.row(row) for row in self._console.mask(rows)]
        if said != self._rows:
            self._rows = said
            self._table.rows = said
        self._tell(len(runs), total)
        found = choices(words, [self._console.mask(each) for each in branches(runs)])
        if found != self._branches.options:
            self._branches.set_options(found)

    def _tell(self, known: int, total: int) -> None:
        words, first = self._reader.words, self._page * SIZE
        last = min(first + SIZE, total)
        several = total > SIZE
        self._count.set_text(
            words("{first}–{last} of {n}", first=first + 1, last=last, n=total)
            if several
            else words("1 run" if total == 1 else "{n} runs", n=total)
        )
        self._newer.set_visibility(several)
        self._older.set_visibility(several)
        self._newer.set_enabled(self._page > 0)
        self._older.set_enabled(last < total)
        if self._rows:
            said = ""
        elif not self._console.feed.synced:
            said = words("Reading the cluster…") if not self._console.feed.lost else ""
        else:
            said = words("No run matches." if known else "Nothing has run yet. Start a run here, or push a commit.")
        self._empty.set_text(said)
        self._empty.set_visibility(bool(said))

    async def _form(self) -> None:
        """The dialog to start a run, made from the pipeline's parameters."""
        console, words = self._console, self._reader.words
        try:
            params = console.mask(await asked(console.sources.parameters))
        except BootstrapError as error:
            refuse(error, console.mask)
            return
        with ui.dialog() as dialog, ui.element("div").classes("card"):
            Text(words("Start a run"), tag="h1")
            fields = {}
            for each in sorted(params, key=lambda p: p["name"] != "REVISION"):
                field = ui.input(each["name"], value=each["value"]).props("outlined dense").classes("q-mt-sm")
                give(field, hint=words(each["about"]), spellcheck="false")
                fields[each["name"]] = field
            with ui.element("div").classes("bar q-mt-md"):
                ui.element("div").classes("grow")
                ui.button(words("Back"), on_click=dialog.close).props("flat")
                button = ui.button(words("Start"), on_click=lambda: start()).props("unelevated")
                give(button, data_test="start-now")

        async def start() -> None:
            from bootstrap.console import actions  # what it needs is not loaded before it is needed

            values = {name: str(field.value or "") for name, field in fields.items()}
            button.set_enabled(False)
            try:
                name = await asked(lambda: actions.start(console.world, values))
            except BootstrapError as error:
                refuse(error, console.mask)
                button.set_enabled(True)
                return
            dialog.close()
            ui.notify(words("Run {name} was started.", name=name), type="positive", position="bottom")
            ui.navigate.to(f"/run/{name}")

        dialog.on("hide", dialog.delete)
        dialog.open()


def show(console: Context, reader: Reader, *, start: bool) -> None:
    """start: with the dialog that starts one."""
    ui.page_title(f"{reader.words('Runs')} · {console.world.config.name}")
    made = _List(console, reader)
    if start:
        made.start()
