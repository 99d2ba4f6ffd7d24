"""How commits arrive: webhook deliveries and polls, each with what became of it, and why if nothing did."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import Leaving, Part, Text, asked, begin, give, link, live, pill, table
from bootstrap.console.preferences import Reader
from bootstrap.core.errors import BootstrapError
from bootstrap.world.kube.watch import Stream

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]
TOLD = {
    "run": ("became a run", "check_circle"),
    "exists": ("its commit has a run already", "check_circle"),
    "refused": ("refused", "error"),
    "unsent": ("never arrived", "error"),
    "under way": ("under way", "sync"),
}


class _Bell:
    """Rings when a delivery leaves a line in a log: the logs are followed while somebody looks, and not asked again
    and again. rung: how often."""

    def __init__(self, console: Context) -> None:
        self.rung = 0
        self._console = console
        self._streams: list[Stream[str]] = []
        self._closed = False
        threading.Thread(target=self._hang, name="bell", daemon=True).start()

    def _hang(self) -> None:
        try:
            places = self._console.sources.doorbells()
        except BootstrapError:
            return
        for place in places:
            threading.Thread(target=self._listen, args=place, name="bell", daemon=True).start()

    def _listen(self, namespace: str, pod: str) -> None:
        try:
            with self._console.world.kube.follow_log(namespace, pod, tail_lines=0) as lines:
                self._streams.append(lines)
                for line in lines:
                    if self._closed:
                        return
                    self.rung += "note:" in line or "heard:" in line
        except BootstrapError:
            return

    def close(self) -> None:
        self._closed = True
        for stream in self._streams:
            stream.close()


class _Arrivals:
    def __init__(self, console: Context, reader: Reader) -> None:
        self._console, self._reader = console, reader
        self._busy = False
        self._again = False
        words = reader.words
        bell = _Bell(console)
        Leaving(bell.close)
        with ui.element("div").classes("bar"):
            Text(words("Webhooks"), "grow", tag="h1")
            ui.button(words("Refresh"), icon="refresh", on_click=self._read).props("flat dense")
        with ui.element("section").classes("card flat"):
            Text(words("Webhook deliveries"), "q-pa-md", tag="h2")
            self._deliveries = Part(self._build_deliveries)
            self._deliveries.show(None, "")
        with ui.element("section").classes("card flat"):
            Text(words("Polls"), "q-pa-md", tag="h2")
            self._polls = Part(self._build_polls)
            self._polls.show(None)
        live(lambda: bell.rung + len(console.feed.runs()), self._read)

    def _read(self) -> None:
        if self._busy:
            self._again = True
            return
        self._busy = True
        begin(self._reading())

    async def _reading(self) -> None:
        console = self._console
        try:
            while True:
                self._again = False
                try:
                    self._deliveries.show(console.mask(await asked(console.sources.deliveries)), "")
                except BootstrapError as error:
                    self._deliveries.show(None, console.mask(f"{error.message}. {error.hint}"))
                with contextlib.suppress(BootstrapError):  # the line about the cluster says so
                    self._polls.show(console.mask(await asked(console.sources.polls)))
                if not self._again:
                    return
        finally:
            self._busy = False

    def _build_deliveries(self, found: Document | None, error: str) -> None:
        words, reader = self._reader.words, self._reader
        if found is None:
            Text(error or words("reading…"), "empty")
            return
        columns = [
            words(each) for each in ("When", "What became of it", "Why", "Event", "Branch", "Commit", "Repository")
        ]
        rows = [
            [
                lambda row=row: give(Text(reader.ago(row["when"]), "nowrap"), title=reader.stamp(row["when"])),
                lambda row=row: self._became(row),
                row["why"],
                row["event"],
                row["ref"].removeprefix("refs/heads/"),
                lambda row=row: Text(row["commit"][:7], "mono"),
                row["repository"],
            ]
            for row in found["rows"]
        ]
        table(columns, rows, words("No delivery yet. Push a commit, or try: invoke webhook --test"))
        if found["strangers"]:
            said = words("{n} without an id, the last: {text}", n=len(found["strangers"]), text=found["strangers"][-1])
            Text(said, "q-pa-md small soft wrap")

    def _became(self, row: Document) -> None:
        words = self._reader.words
        word, icon = TOLD.get(row["stage"], ("", "block"))
        stage = row["stage"] if row["stage"] in TOLD else "dropped"
        pill(stage.replace(" ", "-"), words(word) if word else words("dropped at {gate}", gate=row["stage"]), icon)
        if row["run"]:
            with ui.element("div"):
                link(f"/run/{row['run']}", row["run"], "small wrap")

    def _build_polls(self, found: Document | None) -> None:
        words = self._reader.words
        if found is None:
            Text(words("reading…"), "empty")
            return
        minutes = found["minutes"]
        said = words("asked every {n} min", n=minutes) if minutes else words("asked only by hand: invoke poll")
        Text(said, "soft small q-px-md q-pb-sm")
        rows = [
            [
                row["repository"],
                ", ".join(f"{name} {commit[:7]}" for name, commit in sorted(row["branches"].items())) or "–",
                lambda row=row: self._answer(row),
            ]
            for row in found["rows"]
        ]
        table([words(each) for each in ("Repository", "Branches known", "Last answer")], rows)

    def _answer(self, row: Document) -> None:
        words = self._reader.words
        if row["why"]:
            pill("failed", words("failed"), "error")
            Text(row["why"], "small wrap")
        elif row["seen"]:
            pill("ready", words("ok"), "check_circle")
        else:
            Text(words("not asked yet"), "soft")


def show(console: Context, reader: Reader) -> None:
    ui.page_title(f"{reader.words('Webhooks')} · {console.world.config.name}")
    _Arrivals(console, reader)
