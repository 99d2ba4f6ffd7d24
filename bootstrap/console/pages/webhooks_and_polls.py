"""Webhook deliveries and polls: what became of each, and why if nothing did."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import (
    Column,
    LeaveHook,
    Refreshable,
    Text,
    add_clamped,
    add_link,
    add_pill,
    add_table,
    refresh_on_change,
    run_in_thread,
    set_attributes,
    start_in_background,
)
from bootstrap.console.preferences import Preferences
from bootstrap.core.errors import BootstrapError
from bootstrap.world.kube.watch import Stream

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]
STAGES = {
    "run": ("became a run", "check_circle"),
    "exists": ("its commit has a run already", "check_circle"),
    "deleted": ("became a run, deleted since", "delete_outline"),
    "refused": ("refused", "error"),
    "unsent": ("not delivered", "error"),
    "under way": ("under way", "sync"),
    "signed": ("wrong signature", "block"),
    "arrived": ("no push to a branch", "block"),
    "buildable": ("nothing to build", "block"),
    "watched": ("branch not watched", "block"),
    "event": ("event that starts nothing", "block"),
}


class _DeliveryCounter:
    """Counts the lines that webhook deliveries leave in the interceptors' logs, which it follows until `close`.

    count: it grows with each delivery. The logs are followed in threads while the page is open.
    """

    def __init__(self, console: Context) -> None:
        self.count = 0
        self._console = console
        self._streams: list[Stream[str]] = []
        self._closed = False
        threading.Thread(target=self._follow_interceptors, name="deliveries", daemon=True).start()

    def _follow_interceptors(self) -> None:
        try:
            places = self._console.queries.list_interceptors()
        except BootstrapError:
            return
        for place in places:
            threading.Thread(target=self._follow_log, args=place, name="deliveries", daemon=True).start()

    def _follow_log(self, namespace: str, pod: str) -> None:
        try:
            with self._console.world.kube.follow_log(namespace, pod, tail_lines=0) as lines:
                self._streams.append(lines)
                for line in lines:
                    if self._closed:
                        return
                    if "note:" in line or "heard:" in line:
                        self.count += 1
        except BootstrapError:
            return

    def close(self) -> None:
        self._closed = True
        for stream in self._streams:
            stream.close()


class _WebhooksAndPollsPage:
    def __init__(self, console: Context, preferences: Preferences) -> None:
        self._console, self._preferences = console, preferences
        self._busy = False
        self._again = False
        translate = preferences.translate
        counter = _DeliveryCounter(console)
        LeaveHook(counter.close)
        with ui.element("div").classes("bar"):
            Text(translate("Webhooks"), "grow", tag="h1")
            ui.button(translate("Refresh"), icon="refresh", on_click=self._read).props("flat dense")
        with ui.element("section").classes("card flat"):
            Text(translate("Webhook deliveries"), "q-pa-md", tag="h2")
            self._deliveries = Refreshable(self._build_deliveries)
            self._deliveries.show(None, "")
        with ui.element("section").classes("card flat"):
            Text(translate("Polls"), "q-pa-md", tag="h2")
            self._polls = Refreshable(self._build_polls)
            self._polls.show(None)
        refresh_on_change(lambda: counter.count + len(console.watch_cache.list_runs()), self._read)

    def _read(self) -> None:
        if self._busy:
            self._again = True
            return
        self._busy = True
        start_in_background(self._read_all())

    async def _read_all(self) -> None:
        console = self._console
        try:
            while True:
                self._again = False
                try:
                    self._deliveries.show(console.mask(await run_in_thread(console.queries.list_deliveries)), "")
                except BootstrapError as error:
                    self._deliveries.show(None, console.mask(f"{error.message}. {error.hint}"))
                with contextlib.suppress(BootstrapError):  # the alert at the top of the page says so
                    self._polls.show(console.mask(await run_in_thread(console.queries.list_polls)))
                if not self._again:
                    return
        finally:
            self._busy = False

    def _build_deliveries(self, document: Document | None, error: str) -> None:
        translate, preferences = self._preferences.translate, self._preferences
        if document is None:
            Text(error or translate("reading…"), "empty")
            return
        columns = [
            Column(translate("When"), 6.5),
            Column(translate("Outcome"), 15),
            Column(translate("Why")),
            Column(translate("Event"), 6),
            Column(translate("Branch"), 10),
            Column(translate("Commit"), 6),
            Column(translate("Repository"), 13),
        ]
        rows = [
            [
                lambda row=row: set_attributes(
                    Text(preferences.format_age(row["when"]), "nowrap"), title=preferences.format_stamp(row["when"])
                ),
                lambda row=row: self._add_outcome(row),
                translate.translate_message(row["why"]),
                row["event"],
                lambda row=row: add_clamped(row["ref"].removeprefix("refs/heads/")),
                lambda row=row: Text(row["commit"][:7], "mono"),
                row["repository"],
            ]
            for row in document["rows"]
        ]
        add_table(columns, rows, translate("No delivery yet. Push a commit, or try: invoke webhook --test"))
        if document["strangers"]:
            text = translate(
                "{n} without an id, the last: {text}", n=len(document["strangers"]), text=document["strangers"][-1]
            )
            Text(text, "q-pa-md small soft wrap")

    def _add_outcome(self, row: Document) -> None:
        translate = self._preferences.translate
        word, icon = STAGES.get(row["stage"], ("", "block"))
        stage = row["stage"] if row["stage"] in STAGES else "dropped"
        add_pill(
            stage.replace(" ", "-"),
            translate(word) if word else translate("dropped at {gate}", gate=row["stage"]),
            icon,
        )
        if row["run"]:
            with ui.element("div"):
                add_link(f"/run/{row['run']}", row["run"], "small wrap")

    def _build_polls(self, document: Document | None) -> None:
        translate = self._preferences.translate
        if document is None:
            Text(translate("reading…"), "empty")
            return
        minutes = document["minutes"]
        text = (
            translate("polled every {n} min", n=minutes) if minutes else translate("polled only by hand: invoke poll")
        )
        Text(text, "soft small q-px-md q-pb-sm")
        rows = [
            [
                row["repository"],
                ", ".join(f"{name} {commit[:7]}" for name, commit in sorted(row["branches"].items())) or "–",
                lambda row=row: self._add_answer(row),
            ]
            for row in document["rows"]
        ]
        columns = [
            Column(translate("Repository")),
            Column(translate("Branches known"), 24, label=True),
            Column(translate("Last answer"), 20),
        ]
        add_table(columns, rows)

    def _add_answer(self, row: Document) -> None:
        translate = self._preferences.translate
        if row["why"]:
            add_pill("failed", translate("failed"), "error")
            Text(row["why"], "small wrap")
        elif row["seen"]:
            add_pill("ready", translate("ok"), "check_circle")
        else:
            Text(translate("not polled yet"), "soft")


def build_page(console: Context, preferences: Preferences) -> None:
    """Build the page for one reader. Called by NiceGUI for each visit, within the page."""
    ui.page_title(f"{preferences.translate('Webhooks')} · {console.world.config.name}")
    _WebhooksAndPollsPage(console, preferences)
