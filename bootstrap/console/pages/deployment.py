"""What is deployed: version, digest, commit, since when, the rollout under way, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import Part, Text, asked, begin, copy, facts, give, link, live, pill, refuse, table
from bootstrap.console.preferences import Reader
from bootstrap.console.views.deployment import delivery
from bootstrap.core.errors import BootstrapError

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]
WORDS = {"serving": "serving", "rolling": "rolling out", "stuck": "stuck"}
ICONS = {"serving": "check_circle", "rolling": "sync", "stuck": "error"}
POD_ICONS = {"ready": "check_circle", "starting": "schedule", "leaving": "logout"}


class _Delivery:
    def __init__(self, console: Context, reader: Reader) -> None:
        self._console, self._reader = console, reader
        self._version: Document = {}
        self._asked_for: object = None
        self._answers = 0
        words = reader.words
        Text(words("Deployment"), tag="h1")
        self._now = Part(self._build_now)
        with ui.element("section").classes("card flat"):
            Text(words("Pods"), "q-pa-md", tag="h2")
            self._pods = Part(self._build_pods)
        with ui.element("section").classes("card flat"):
            Text(words("History"), "q-pa-md", tag="h2")
            self._history = Part(self._build_history)
        live(lambda: console.feed.version + self._answers, self._refresh)

    def _refresh(self) -> None:
        feed = self._console.feed
        config = self._console.world.config
        rollout, runs = feed.rollout(), feed.runs()
        document = delivery(rollout, config.pipeline.container, runs, self._version)
        feed.want(row["run"] for row in document["history"] if row["run"])
        document = self._console.mask(document)
        ready = ("Deployment" in feed.seen) or bool(document["there"])
        brief = {key: value for key, value in document.items() if key not in ("pods", "history")}
        brief["ago"] = self._reader.ago(document.get("since", ""))
        self._now.show(brief, ready)
        self._pods.show([{**pod, "ago": self._reader.ago(pod["since"])} for pod in document["pods"]])
        self._history.show([{**row, "ago": self._reader.ago(row["since"])} for row in document["history"]])
        self._ask_version((document.get("image"), document.get("ready"), document.get("state")))

    def _ask_version(self, state: object) -> None:
        """What the application answers can only have changed with its pods."""
        if state != self._asked_for:
            self._asked_for = state
            begin(self._read_version())

    async def _read_version(self) -> None:
        found = await asked(self._console.sources.version)
        if found != self._version:
            self._version = found
            self._answers += 1_000_000_000

    def _build_now(self, found: Document, read: bool) -> None:
        words = self._reader.words
        with ui.element("section").classes("card"):
            if not found["there"]:
                with ui.element("div").classes("empty"):
                    if read:
                        Text(words("Nothing is deployed yet."))
                        Text(words("The first run that succeeds deploys it."), "small")
                    else:
                        Text(words("Reading the cluster…"))
                return
            with ui.element("div").classes("bar"):
                Text(found["name"], "big")
                give(pill(found["state"], words(WORDS[found["state"]]), ICONS[found["state"]]), data_test="rollout")
                Text(words("{n} of {all} pods ready", n=found["ready"], all=found["wanted"]), "soft")
                if found["state"] != "serving":
                    Text(words("{n} of {all} pods are new", n=found["updated"], all=found["wanted"]), "soft")
            if found["why"]:
                Text(found["why"], "quote")
            with ui.element("div").classes("q-mt-md"):
                self._facts(found)

    def _facts(self, found: Document) -> None:
        words = self._reader.words
        with ui.element("dl").classes("facts"):
            Text(words("Version"), tag="dt")
            Text(found["version"] or words("/version does not answer"), tag="dd")
            Text(words("Commit"), tag="dt")
            with ui.element("dd"):
                give(Text(found["commit"][:12] or words("unknown commit"), "mono", tag="span"), data_test="commit")
                if found["commit"]:
                    copy(found["commit"], words)
                if found["run"]:
                    link(f"/run/{found['run']}", found["run"], "q-ml-sm")
            Text(words("Digest"), tag="dt")
            with ui.element("dd"):
                give(Text(found["digest"], "mono", tag="span"), data_test="digest")
                if found["digest"]:
                    copy(found["image"], words)
        facts(
            {words("Since"): f"{found['ago']} · {self._reader.stamp(found['since'])}"}.items() if found["since"] else ()
        )

    def _build_pods(self, pods: list[Document]) -> None:
        words = self._reader.words
        columns = [words(each) for each in ("State", "Run", "Digest", "Node", "Restarts", "Since")]
        columns[1] = "Pod"
        rows = [
            [
                lambda pod=pod: pill(pod["state"], words(pod["state"]), POD_ICONS[pod["state"]]),
                pod["name"] + (f" — {pod['why']}" if pod["why"] else ""),
                lambda pod=pod: Text(pod["digest"], "mono"),
                pod["node"],
                pod["restarts"],
                pod["ago"],
            ]
            for pod in pods
        ]
        table(columns, rows, words("none"))

    def _build_history(self, history: list[Document]) -> None:
        words = self._reader.words
        columns = ["#", *(words(each) for each in ("Commit", "Author", "Digest", "Since", "Run")), ""]
        rows = [
            [
                row["revision"],
                lambda row=row: Text(row["commit"][:7] or "–", "mono"),
                row["author"],
                lambda row=row: Text(row["digest"], "mono"),
                row["ago"],
                lambda row=row: link(f"/run/{row['run']}", row["run"]) if row["run"] else Text("–"),
                lambda row=row: self._way_back(row),
            ]
            for row in history
        ]
        table(columns, rows, words("none"))

    def _way_back(self, row: Document) -> None:
        words = self._reader.words
        if row["current"]:
            pill("serving", words("now"))
            return
        button = ui.button(words("Roll back"), icon="undo", on_click=lambda: self._ask(row)).props("flat dense")
        give(button, data_test=f"back-{row['revision']}")

    def _ask(self, row: Document) -> None:
        words, console = self._reader.words, self._console
        name = console.world.config.pipeline.deployment
        with ui.dialog() as dialog, ui.element("div").classes("card"):
            Text(words("Roll back {name}?", name=name), tag="h1")
            about = "{name} goes back to {digest} (commit {commit}), one pod after the other; nobody is cut off."
            commit = row["commit"][:7] or words("unknown commit")
            Text(words(about, name=name, digest=row["digest"], commit=commit), "soft q-my-md")
            with ui.element("div").classes("bar"):
                ui.element("div").classes("grow")
                ui.button(words("Back"), on_click=dialog.close).props("flat autofocus")
                give(ui.button(words("Roll back"), on_click=lambda: go()).props("unelevated"), data_test="back-now")

        async def go() -> None:
            from bootstrap.console import actions

            dialog.close()
            try:
                await asked(lambda: actions.roll_back(console.world, row["image"]))
            except BootstrapError as error:
                refuse(error, console.mask)
                return
            ui.notify(words("{name} goes back to {digest}.", name=name, digest=row["digest"]), position="bottom")

        dialog.on("hide", dialog.delete)
        dialog.open()


def show(console: Context, reader: Reader) -> None:
    ui.page_title(f"{reader.words('Deployment')} · {console.world.config.name}")
    _Delivery(console, reader)
