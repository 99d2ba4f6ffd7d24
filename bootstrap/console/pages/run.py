"""One run: the graph of its tasks, their logs, why it failed, what went in and came out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.log_tail import Tail
from bootstrap.console.pages.log import LogView, line_that_tells
from bootstrap.console.pages.widgets import (
    Leaving,
    Part,
    Text,
    asked,
    begin,
    copy,
    facts,
    give,
    link,
    live,
    pill,
    refuse,
    table,
)
from bootstrap.console.preferences import Reader
from bootstrap.console.views.failure_reasons import reason
from bootstrap.console.views.runs import run_page, steps_to_show
from bootstrap.core.errors import BootstrapError

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]


class _Task:
    """A box of the graph, which is changed in place: it keeps the keyboard's focus while times go on."""

    def __init__(self, name: str, choose: Any) -> None:
        with ui.element("button").classes("task") as self.box:
            Text(name, "title")
            self._pill = Part(lambda state, word, icon, length: self._fill(state, word, icon, length))
        give(self.box, type="button", data_task=name)
        self.box.on("click", choose)

    def _fill(self, state: str, word: str, icon: str, length: str) -> None:
        pill(state, f"{word} · {length}" if length else word, icon)

    def show(self, box: Document, reader: Reader, *, chosen: bool) -> None:
        self._pill.show(box["state"], reader.words(box["state"]), box["icon"], box["length"])
        give(self.box, title=box["why"], aria_pressed="true" if chosen else "false")
        self.box.classes(add="chosen" if chosen else "", remove="" if chosen else "chosen")


class _Run:
    def __init__(self, console: Context, reader: Reader, name: str) -> None:
        self._console, self._reader, self._name = console, reader, name
        self._document: Document | None = None
        self._chosen: tuple[str, str] = ("", "")
        self._by_hand = False
        self._tails: dict[tuple[str, str], Tail] = {}
        self._boxes: dict[str, _Task] = {}
        self._events_of: object = None
        console.feed.want([name])
        self._build()
        live(lambda: console.feed.version, self._refresh, ticking=self._ticking)
        live(self._told, self._explain)
        Leaving(self._leave)

    # -- its parts -----------------------------------------------------------------------------------

    def _build(self) -> None:
        words = self._reader.words
        link("/", "← " + words("All runs"), "small")
        self._missing = Part(self._build_missing)
        with ui.element("div").classes("bar"):
            Text(self._console.mask(self._name), "grow", tag="h1")
            self._cancel = ui.button(words("Cancel run"), icon="block", on_click=self._ask_cancel).props("flat")
            self._rerun = ui.button(words("Rerun"), icon="replay", on_click=self._again).props("outline")
        self._head = Part(self._build_head, "bar")
        self._why = Part(self._build_why)
        with ui.element("section").classes("card"):
            Text(words("Tasks"), tag="h2")
            self._graph = Part(self._build_graph, "graph")
        with ui.element("section").classes("card"):
            self._steps = Part(self._build_steps, "steps q-mb-sm")
            self._log = LogView(self._reader)
        with ui.element("div").classes("pair"):
            with ui.element("section").classes("card"):
                Text(words("Parameters"), tag="h2")
                self._params = Part(self._build_pairs)
            with ui.element("section").classes("card"):
                Text(words("Results"), tag="h2")
                self._results = Part(self._build_pairs)
        with ui.element("section").classes("card"):
            Text(words("Events"), tag="h2")
            self._events = Part(self._build_events, "events")

    def _build_missing(self, missing: bool) -> None:
        if missing:
            with ui.element("div").classes("card empty"):
                Text(self._reader.words("There is no run {name}.", name=self._console.mask(self._name)))
                Text(self._reader.words("It may have been deleted: old runs are."), "small")

    def _build_head(self, run: Document, when: str, stamp: str) -> None:
        words = self._reader.words
        give(pill(run["state"], words(run["state"]), run["icon"]), data_test="state")
        if run["commit"]:
            with ui.element("span").classes("nowrap"):
                Text(run["short"], "mono", tag="span")
                copy(run["commit"], words)
        for each in (run["branch"], run["author"], words(run["by"]), run["length"]):
            if each:
                Text(each, "soft", tag="span")
        give(Text(when, "soft", tag="span"), title=stamp)

    def _build_graph(self, columns: list[list[str]]) -> None:
        self._boxes = {}
        for column in columns:
            with ui.element("div").classes("column"):
                for name in column:
                    self._boxes[name] = _Task(name, lambda name=name: self._choose(name))

    def _build_steps(self, task: str, steps: list[Document], chosen: str) -> None:
        words = self._reader.words
        Text(f"{words('Log')} · {task}" if task else words("Log"), "grow", tag="h2")
        for step in steps if len(steps) > 1 else ():
            button = ui.button(step["name"], icon=step["icon"], on_click=lambda s=step: self._choose(task, s["name"]))
            button.props("dense no-caps size=sm " + ("unelevated" if step["name"] == chosen else "flat"))
            button.set_enabled(bool(step["pod"]))

    def _build_pairs(self, pairs: Document) -> None:
        if pairs:
            facts(pairs.items())
        else:
            Text(self._reader.words("none"), "soft")

    def _build_events(self, rows: list[Document]) -> None:
        words, reader = self._reader.words, self._reader
        columns = [words(each) for each in ("When", "Finding", "Reason", "Message")]
        said = [[reader.stamp(r["when"]), r["about"], r["reason"], r["message"]] for r in rows]
        table(columns, said, words("none"))

    def _build_why(self, reason: str, number: int, line: str, key: tuple[str, str]) -> None:
        words = self._reader.words
        if not reason:
            return
        with ui.element("section").classes("card why"):
            Text(words("Why it failed"), tag="h2")
            give(Text(reason), data_test="why")
            if line:
                give(Text(line, "quote"), data_test="line")
                ui.button(words("Show in the log"), on_click=lambda: self._show_line(key, number)).props(
                    "flat dense"
                ).classes("q-mt-xs")

    # -- what changes --------------------------------------------------------------------------------

    def _ticking(self) -> bool:
        return bool(self._document and not self._document["over"])

    def _refresh(self) -> None:
        feed = self._console.feed
        run = feed.run(self._name)
        if run is not None:
            feed.want([self._name])
        self._missing.show(run is None and feed.synced)
        if run is None:
            self._rerun.set_visibility(False)
            self._cancel.set_visibility(False)
            return
        document = self._console.mask(run_page(run, feed.plan(self._name), datetime.now(UTC)))
        self._document = document
        self._rerun.set_visibility(document["over"])
        self._cancel.set_visibility(not document["over"])
        brief = {key: document[key] for key in ("state", "icon", "commit", "short", "branch", "author", "by", "length")}
        self._head.show(brief, self._reader.ago(document["created"]), self._reader.stamp(document["created"]))
        self._graph.show(document["columns"])
        self._follow(steps_to_show(run))
        for name, box in self._boxes.items():
            box.show(document["tasks"][name], self._reader, chosen=name == self._chosen[0])
        self._params.show(document["params"])
        self._results.show(document["results"])
        self._ask_events([(name, task["state"]) for name, task in document["tasks"].items()])

    def _follow(self, wanted: tuple[str, str]) -> None:
        """Show the step that a reader wants to see, unless the reader has chosen one."""
        if not self._by_hand:
            self._chosen = wanted
        task = (self._document or {})["tasks"].get(self._chosen[0])
        steps = task["steps"] if task else []
        self._steps.show(self._chosen[0], [{k: s[k] for k in ("name", "icon", "pod")} for s in steps], self._chosen[1])
        self._log.show(self._tail(*self._chosen))

    def _tail(self, task: str, step: str) -> Tail | None:
        key = (task, step)
        if key not in self._tails:
            boxes = (self._document or {}).get("tasks", {})
            found = next(
                (each for each in boxes.get(task, {}).get("steps", ()) if each["name"] == step and each["pod"]), None
            )
            if found is None:
                return None
            self._tails[key] = Tail(self._console.world.kube, found["pod"], found["container"], self._console.mask.log)
        return self._tails[key]

    def _told(self) -> int:
        """Changes when the failed step's log does, or the run."""
        run = self._console.feed.run(self._name)
        task = run.failed_task if run else None
        tail = self._tail(task.name, task.failed_step) if task and task.failed_step else None
        return (tail.version if tail else 0) * 1_000_000 + self._console.feed.version

    def _explain(self) -> None:
        run = self._console.feed.run(self._name)
        if run is None:
            return
        why = self._console.mask(reason(run, self._reader.words))
        task = run.failed_task
        key = (task.name, task.failed_step) if task else ("", "")
        tail = self._tail(*key) if why and task and task.failed_step else None
        number, line = line_that_tells(tail) if tail else (0, "")
        self._why.show(why, number, line, key)
        if number and self._chosen == key:
            self._log.mark(number, go=False)

    def _show_line(self, key: tuple[str, str], number: int) -> None:
        self._choose(*key)
        self._log.mark(number, go=True)

    def _choose(self, task: str, step: str = "") -> None:
        steps = (self._document or {}).get("tasks", {}).get(task, {}).get("steps", [])
        logged = [each for each in steps if each["pod"]]
        bad = next((each for each in logged if each["state"] == "Failed"), None)
        self._chosen = (task, step or (bad or logged[-1])["name"] if logged else "")
        self._by_hand = True
        self._refresh()

    def _ask_events(self, state: object) -> None:
        if state != self._events_of:
            self._events_of = state
            begin(self._read_events())

    async def _read_events(self) -> None:
        run = self._console.feed.run(self._name)
        if run is None:
            return
        try:
            found = await asked(lambda: self._console.sources.events(run))
        except BootstrapError:
            return  # the line about the cluster says so
        self._events.show(self._console.mask(found))

    # -- what can be done ----------------------------------------------------------------------------

    async def _again(self) -> None:
        from bootstrap.console import actions

        words, console = self._reader.words, self._console
        try:
            name = await asked(lambda: actions.rerun(console.world, self._name))
        except BootstrapError as error:
            refuse(error, console.mask)
            return
        ui.notify(words("Run {name} was started.", name=name), type="positive", position="bottom")
        ui.navigate.to(f"/run/{name}")

    def _ask_cancel(self) -> None:
        words = self._reader.words
        with ui.dialog() as dialog, ui.element("div").classes("card"):
            Text(words("Cancel run {name}?", name=self._name), tag="h1")
            Text(words("What it has deployed already stays. Its notification is still sent."), "soft q-my-md")
            with ui.element("div").classes("bar"):
                ui.element("div").classes("grow")
                ui.button(words("Keep it"), on_click=dialog.close).props("flat autofocus")
                ui.button(words("Cancel run"), on_click=lambda: cancel()).props("unelevated color=negative")

        async def cancel() -> None:
            from bootstrap.console import actions

            dialog.close()
            try:
                await asked(lambda: actions.cancel(self._console.world, self._name))
            except BootstrapError as error:
                refuse(error, self._console.mask)
                return
            ui.notify(words("Run {name} is being cancelled.", name=self._name), position="bottom")

        dialog.on("hide", dialog.delete)
        dialog.open()

    def _leave(self) -> None:
        for tail in self._tails.values():
            tail.close()


def show(console: Context, reader: Reader, name: str) -> None:
    ui.page_title(f"{console.mask(name)} · {console.world.config.name}")
    _Run(console, reader, name)
