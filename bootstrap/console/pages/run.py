"""One run: the graph of its tasks, their logs, why it failed, what went in and came out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from nicegui import ui

from bootstrap.console.log_tail import LogTail
from bootstrap.console.pages.log import LogView, find_cause
from bootstrap.console.pages.widgets import (
    Column,
    Dialog,
    LeaveHook,
    Refreshable,
    Text,
    add_copy_button,
    add_facts,
    add_link,
    add_pill,
    add_table,
    notify_error,
    refresh_on_change,
    run_in_thread,
    set_attributes,
    start_in_background,
)
from bootstrap.console.preferences import Preferences
from bootstrap.console.views.failure_reasons import explain_failure
from bootstrap.console.views.runs import choose_step, describe_run_page
from bootstrap.core.errors import BootstrapError
from bootstrap.objects.run_status import RunState

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]


class _TaskBox:
    """A task's box in the graph. It is changed in place, so that it keeps the keyboard's focus while times go on."""

    def __init__(self, name: str, choose: Any) -> None:
        with ui.element("button").classes("task") as self.box:
            Text(name, "title")
            self._pill = Refreshable(lambda state, word, icon, length: self._fill(state, word, icon, length))
        set_attributes(self.box, type="button", data_task=name)
        self.box.on("click", choose)

    def _fill(self, state: str, word: str, icon: str, length: str) -> None:
        add_pill(state, f"{word} · {length}" if length else word, icon)

    def show(self, box: Document, preferences: Preferences, *, chosen: bool) -> None:
        self._pill.show(box["state"], preferences.translate(box["state"]), box["icon"], box["length"])
        set_attributes(self.box, title=box["why"], aria_pressed="true" if chosen else "false")
        self.box.classes(add="chosen" if chosen else "", remove="" if chosen else "chosen")


class _RunPage:
    def __init__(
        self, console: Context, preferences: Preferences, name: str, wanted: tuple[str, str], line: int
    ) -> None:
        self._console, self._preferences, self._name = console, preferences, name
        self._document: Document | None = None
        self._chosen = wanted
        self._by_hand = bool(wanted[0])
        self._tails: dict[tuple[str, str], LogTail] = {}
        self._boxes: dict[str, _TaskBox] = {}
        self._events_of: object = None
        console.watch_cache.request_tasks([name])
        self._build()
        self._log.linked = line
        refresh_on_change(lambda: console.watch_cache.version, self._refresh, ticking=self._is_running)
        refresh_on_change(self._count_changes, self._show_cause)
        LeaveHook(self._close_tails)

    # -- build the parts -----------------------------------------------------------------------------------

    def _build(self) -> None:
        translate = self._preferences.translate
        add_link("/", "← " + translate("All runs"), "small")
        self._missing = Refreshable(self._build_missing)
        with ui.element("div").classes("bar"):
            Text(self._console.mask(self._name), "grow", tag="h1")
            self._cancel = ui.button(translate("Cancel run"), icon="block", on_click=self._confirm_cancel).props("flat")
            self._rerun = ui.button(translate("Rerun"), icon="replay", on_click=self._rerun_run).props("outline")
        self._body = ui.element("div").classes("stack")
        with self._body:
            self._head = Refreshable(self._build_head, "bar")
            self._why = Refreshable(self._build_why)
            with ui.element("section").classes("card"):
                Text(translate("Tasks"), tag="h2")
                self._graph = Refreshable(self._build_graph, "graph")
            with ui.element("section").classes("card"):
                self._steps = Refreshable(self._build_steps, "steps q-mb-sm")
                self._log = LogView(self._preferences, self._choose_line)
            with ui.element("div").classes("pair"):
                with ui.element("section").classes("card"):
                    Text(translate("Parameters"), tag="h2")
                    self._params = Refreshable(self._build_pairs)
                with ui.element("section").classes("card"):
                    Text(translate("Results"), tag="h2")
                    self._results = Refreshable(self._build_pairs)
            with ui.element("section").classes("card"):
                Text(translate("Events"), tag="h2")
                self._events = Refreshable(self._build_events, "events")
                set_attributes(self._events.box, tabindex="0", role="region", aria_label=translate("Events"))

    def _build_missing(self, missing: bool) -> None:
        if missing:
            with ui.element("div").classes("card empty"):
                Text(self._preferences.translate("There is no run {name}.", name=self._console.mask(self._name)))
                Text(self._preferences.translate("It may have been deleted: old runs are."), "small")

    def _build_head(self, run: Document, when: str, stamp: str) -> None:
        translate = self._preferences.translate
        set_attributes(add_pill(run["state"], translate(run["state"]), run["icon"]), data_test="state")
        if run["commit"]:
            with ui.element("span").classes("nowrap"):
                Text(run["short"], "mono", tag="span")
                add_copy_button(run["commit"], translate)
        for each in (run["branch"], run["author"], translate(run["by"]), run["length"]):
            if each:
                Text(each, "soft", tag="span")
        set_attributes(Text(when, "soft", tag="span"), title=stamp)

    def _build_graph(self, columns: list[list[str]]) -> None:
        self._boxes = {}
        for column in columns:
            with ui.element("div").classes("column"):
                for name in column:
                    self._boxes[name] = _TaskBox(name, lambda name=name: self._choose(name))

    def _build_steps(self, task: str, steps: list[Document], chosen: str) -> None:
        translate = self._preferences.translate
        Text(f"{translate('Log')} · {task}" if task else translate("Log"), "grow", tag="h2")
        for step in steps if len(steps) > 1 else ():
            button = ui.button(step["name"], icon=step["icon"], on_click=lambda s=step: self._choose(task, s["name"]))
            button.props("dense no-caps size=sm " + ("unelevated" if step["name"] == chosen else "flat"))
            button.set_enabled(bool(step["pod"]))

    def _build_pairs(self, pairs: Document) -> None:
        if pairs:
            add_facts(pairs.items())
        else:
            Text(self._preferences.translate("none"), "soft")

    def _build_events(self, rows: list[Document]) -> None:
        translate, preferences = self._preferences.translate, self._preferences
        columns = [
            Column(translate("When"), 6),
            Column(translate("Object"), 13),
            Column(translate("Reason"), 11),
            Column(translate("Message")),
        ]
        table = [
            [
                lambda r=r: Text(
                    preferences.format_clock(r["when"]), "nowrap", title=preferences.format_stamp(r["when"])
                ),
                r["about"],
                lambda r=r: add_pill("warn", r["reason"], "warning") if r["type"] == "Warning" else Text(r["reason"]),
                r["message"] + (f" (×{r['count']})" if r["count"] > 1 else ""),
            ]
            for r in rows
        ]
        add_table(columns, table, translate("none"))

    def _build_why(self, why: str, number: int, line: str, key: tuple[str, str], calm: bool) -> None:
        """calm: it ended without a failure."""
        translate = self._preferences.translate
        if not why:
            return
        with ui.element("section").classes("card" if calm else "card why"):
            Text(translate("Why it ended" if calm else "Why it failed"), tag="h2")
            set_attributes(Text(why), data_test="why")
            if line:
                set_attributes(Text(line, "quote"), data_test="line")
                ui.button(translate("Show in the log"), on_click=lambda: self._show_line(key, number)).props(
                    "flat dense"
                ).classes("q-mt-xs")

    # -- refresh them --------------------------------------------------------------------------------

    def _is_running(self) -> bool:
        return bool(self._document and not self._document["over"])

    def _refresh(self) -> None:
        cache = self._console.watch_cache
        run = cache.get_run(self._name)
        if run is not None:
            cache.request_tasks([self._name])
        self._missing.show(run is None and cache.synced)
        self._body.set_visibility(run is not None or not cache.synced)
        if run is None:
            self._rerun.set_visibility(False)
            self._cancel.set_visibility(False)
            return
        document = self._console.mask(describe_run_page(run, cache.get_plan(self._name), datetime.now(UTC)))
        self._document = document
        self._rerun.set_visibility(document["over"])
        self._cancel.set_visibility(not document["over"])
        brief = {key: document[key] for key in ("state", "icon", "commit", "short", "branch", "author", "by", "length")}
        created = document["created"]
        created = document["created"]
        self._head.show(brief, self._preferences.format_age(created), self._preferences.format_stamp(created))
        self._graph.show(document["columns"])
        self._show_log(choose_step(run, cache.get_plan(self._name)))
        for name, box in self._boxes.items():
            box.show(document["tasks"][name], self._preferences, chosen=name == self._chosen[0])
        self._params.show(document["params"])
        self._results.show(document["results"])
        self._ask_events([(name, task["state"]) for name, task in document["tasks"].items()])

    def _show_log(self, wanted: tuple[str, str]) -> None:
        """Show the log of the wanted (task, step), unless the reader has chosen another."""
        if not self._by_hand:
            self._chosen = wanted
        task = (self._document or {})["tasks"].get(self._chosen[0])
        steps = task["steps"] if task else []
        if self._by_hand and not self._chosen[1]:
            self._chosen = (self._chosen[0], _choose_logged(steps))
        self._steps.show(self._chosen[0], [{k: s[k] for k in ("name", "icon", "pod")} for s in steps], self._chosen[1])
        self._log.show(self._open_tail(*self._chosen))

    def _open_tail(self, task: str, step: str) -> LogTail | None:
        key = (task, step)
        if key not in self._tails:
            task_box = (self._document or {}).get("tasks", {}).get(task, {})
            row = next((each for each in task_box.get("steps", ()) if each["name"] == step and each["pod"]), None)
            if row is None:
                return None
            self._tails[key] = LogTail(
                self._console.world.kube, row["pod"], row["container"], self._console.mask.mask_lines
            )
        return self._tails[key]

    def _count_changes(self) -> int:
        """A number that grows when the failed step's log changes, or any run."""
        run = self._console.watch_cache.get_run(self._name)
        task = run.failed_task if run else None
        tail = self._open_tail(task.name, task.failed_step) if task and task.failed_step else None
        return (tail.version if tail else 0) * 1_000_000 + self._console.watch_cache.version

    def _show_cause(self) -> None:
        run = self._console.watch_cache.get_run(self._name)
        if run is None:
            return
        why = self._console.mask(explain_failure(run, self._preferences.translate))
        task = run.failed_task
        key = (task.name, task.failed_step) if task else ("", "")
        tail = self._open_tail(*key) if why and task and task.failed_step else None
        number, line = find_cause(tail) if tail else (0, "")
        self._why.show(why, number, line, key, run.state in (RunState.CANCELLED, RunState.SUPERSEDED))
        if number and self._chosen == key:
            self._log.mark(number)

    def _show_line(self, key: tuple[str, str], number: int) -> None:
        self._choose(*key)
        self._log.show_line(number)

    def _choose(self, task: str, step: str = "") -> None:
        steps = (self._document or {}).get("tasks", {}).get(task, {}).get("steps", [])
        self._chosen = (task, step or _choose_logged(steps))
        self._by_hand = True
        self._log.linked = 0
        self._refresh()
        self._update_address()

    def _choose_line(self, line: int) -> None:
        self._by_hand = True
        self._log.linked = line
        self._refresh()
        self._update_address()

    def _update_address(self) -> None:
        """Have the address name what the reader chose, so that a reload, a bookmark and others come to it."""
        task, step = self._chosen
        chosen = {"task": task, "step": step, "line": self._log.linked}
        ui.navigate.history.replace(f"/run/{quote(self._name)}?{urlencode({k: v for k, v in chosen.items() if v})}")

    def _ask_events(self, state: object) -> None:
        if state != self._events_of:
            self._events_of = state
            start_in_background(self._read_events())

    async def _read_events(self) -> None:
        run = self._console.watch_cache.get_run(self._name)
        if run is None:
            return
        try:
            events = await run_in_thread(lambda: self._console.queries.list_events(run))
        except BootstrapError:
            return  # the alert at the top of the page says so
        self._events.show(self._console.mask(events))

    # -- buttons ----------------------------------------------------------------------------

    async def _rerun_run(self) -> None:
        from bootstrap.console import actions

        translate, console = self._preferences.translate, self._console
        with ui.context.client:
            try:
                name = await run_in_thread(lambda: actions.rerun(console.world, self._name))
            except BootstrapError as error:
                notify_error(error, console.mask)
                return
            ui.notify(translate("Run {name} was started.", name=name), type="positive", position="bottom")
            ui.navigate.to(f"/run/{name}")

    def _confirm_cancel(self) -> None:
        translate = self._preferences.translate
        dialog = Dialog(translate("Cancel run {name}?", name=self._name))
        with dialog.card:
            Text(translate("What it has deployed already stays. Its notification is still sent."), "soft q-my-md")
            with ui.element("div").classes("bar"):
                ui.element("div").classes("grow")
                ui.button(translate("Keep it"), on_click=dialog.close).props("flat autofocus")
                ui.button(translate("Cancel run"), on_click=lambda: cancel()).props("unelevated color=negative")

        async def cancel() -> None:
            from bootstrap.console import actions

            dialog.close()
            with dialog.reader:
                try:
                    await run_in_thread(lambda: actions.cancel_run(self._console.world, self._name))
                except BootstrapError as error:
                    notify_error(error, self._console.mask)
                    return
                ui.notify(translate("Run {name} is being cancelled.", name=self._name), position="bottom")

        dialog.open()

    def _close_tails(self) -> None:
        for tail in self._tails.values():
            tail.close()


def _choose_logged(steps: list[Document]) -> str:
    """The step of a task whose log to show: the one that failed, or the last one that has a log; "" if none has."""
    logged = [each for each in steps if each["pod"]]
    bad = next((each for each in logged if each["state"] == "Failed"), None)
    return str((bad or logged[-1])["name"]) if logged else ""


def build_page(
    console: Context, preferences: Preferences, name: str, *, task: str = "", step: str = "", line: str = ""
) -> None:
    """Build the page for one reader. Called by NiceGUI for each visit, within the page.

    name: of the run, as the address has it; there may be no such run. task, step, line: what the address asks for of
    its logs, "" for what the page chooses.
    """
    ui.page_title(f"{console.mask(name)} · {console.world.config.name}")
    number = int(line) if line.isascii() and line.isdigit() else 0
    _RunPage(console, preferences, name, (task, step), number)
