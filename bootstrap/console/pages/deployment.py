"""What is deployed: version, digest, commit, since when, the rollout under way, and the rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import (
    Column,
    Dialog,
    Refreshable,
    Text,
    add_copy_button,
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
from bootstrap.console.views.deployment import describe_deployment
from bootstrap.core.errors import BootstrapError

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]
WORDS = {"serving": "serving", "rolling": "rolling out", "stuck": "stuck"}
ICONS = {"serving": "check_circle", "rolling": "sync", "stuck": "error"}
HOW = {"run": "by a run", "rollback": "rolled back", "undo": "undone, the next one failed"}
POD_ICONS = {"ready": "check_circle", "starting": "schedule", "leaving": "logout"}


class _DeploymentPage:
    def __init__(self, console: Context, preferences: Preferences) -> None:
        self._console, self._preferences = console, preferences
        self._version: Document = {}
        self._asked_for: object = None
        self._answers = 0
        translate = preferences.translate
        Text(translate("Deployment"), tag="h1")
        self._now = Refreshable(self._build_now)
        with ui.element("section").classes("card flat"):
            Text(translate("Pods"), "q-pa-md", tag="h2")
            self._pods = Refreshable(self._build_pods)
        with ui.element("section").classes("card flat"):
            Text(translate("History"), "q-pa-md", tag="h2")
            self._history = Refreshable(self._build_history)
        refresh_on_change(lambda: console.watch_cache.version + self._answers, self._refresh)

    def _refresh(self) -> None:
        cache = self._console.watch_cache
        config = self._console.world.config
        rollout, runs = cache.get_rollout(), cache.list_runs()
        document = describe_deployment(rollout, config.pipeline.container, runs, self._version)
        cache.request_tasks(row["run"] for row in document["history"] if row["run"])
        document = self._console.mask(document)
        ready = ("Deployment" in cache.seen) or bool(document["there"])
        brief = {key: value for key, value in document.items() if key not in ("pods", "history")}
        brief["ago"] = self._preferences.format_age(document.get("since", ""))
        self._now.show(brief, ready)
        self._pods.show([{**pod, "ago": self._preferences.format_age(pod["since"])} for pod in document["pods"]])
        self._history.show([{**row, "ago": self._preferences.format_age(row["since"])} for row in document["history"]])
        self._ask_version((document.get("image"), document.get("ready"), document.get("state")))

    def _ask_version(self, state: object) -> None:
        """Ask for /version if the pods have changed: without that its answer cannot have."""
        if state != self._asked_for:
            self._asked_for = state
            start_in_background(self._read_version())

    async def _read_version(self) -> None:
        version = await run_in_thread(self._console.queries.read_version)
        if version != self._version:
            self._version = version
            self._answers += 1_000_000_000

    def _build_now(self, document: Document, read: bool) -> None:
        translate = self._preferences.translate
        with ui.element("section").classes("card"):
            if not document["there"]:
                with ui.element("div").classes("empty"):
                    if read:
                        Text(translate("Nothing is deployed yet."))
                        Text(translate("The first run that succeeds deploys it."), "small")
                    else:
                        Text(translate("Reading the cluster…"))
                return
            with ui.element("div").classes("bar"):
                Text(document["name"], "big")
                set_attributes(
                    add_pill(document["state"], translate(WORDS[document["state"]]), ICONS[document["state"]]),
                    data_test="rollout",
                )
                Text(translate("{n} of {all} pods ready", n=document["ready"], all=document["wanted"]), "soft")
                if document["state"] != "serving":
                    Text(translate("{n} of {all} pods are new", n=document["updated"], all=document["wanted"]), "soft")
            if document["why"]:
                Text(document["why"], "quote")
            with ui.element("div").classes("q-mt-md"):
                self._add_facts(document)

    def _add_facts(self, document: Document) -> None:
        translate = self._preferences.translate
        with ui.element("dl").classes("facts"):
            Text(translate("Version"), tag="dt")
            Text(document["version"] or translate("/version does not answer"), tag="dd")
            Text(translate("Commit"), tag="dt")
            with ui.element("dd"):
                set_attributes(
                    Text(document["commit"][:12] or translate("unknown commit"), "mono", tag="span"), data_test="commit"
                )
                if document["commit"]:
                    add_copy_button(document["commit"], translate)
                if document["run"]:
                    add_link(f"/run/{document['run']}", document["run"], "q-ml-sm")
            Text(translate("Digest"), tag="dt")
            with ui.element("dd"):
                set_attributes(Text(document["digest"], "mono", tag="span"), data_test="digest")
                if document["digest"]:
                    add_copy_button(document["image"], translate)
            if document["since"]:
                Text(translate("Since"), tag="dt")
                Text(f"{document['ago']} · {self._preferences.format_time(document['since'])}", tag="dd")

    def _build_pods(self, pods: list[Document]) -> None:
        translate = self._preferences.translate
        columns = [
            Column(translate("State"), 8.5),
            Column(translate("Pod")),
            Column(translate("Digest"), 9),
            Column(translate("Node"), 12),
            Column(translate("Restarts"), 6.5, label=True),
            Column(translate("Since"), 8),
        ]
        rows = [
            [
                lambda pod=pod: add_pill(pod["state"], translate(pod["state"]), POD_ICONS[pod["state"]]),
                pod["name"] + (f" — {pod['why']}" if pod["why"] else ""),
                lambda pod=pod: Text(pod["digest"], "mono"),
                pod["node"],
                pod["restarts"],
                pod["ago"],
            ]
            for pod in pods
        ]
        add_table(columns, rows, translate("none"))

    def _build_history(self, history: list[Document]) -> None:
        translate = self._preferences.translate
        columns = [
            Column("#", 3.5, label=True),
            Column(translate("Commit"), 6.5),
            Column(translate("Author")),
            Column(translate("Digest"), 9),
            Column(translate("Since"), 8),
            Column(translate("Run"), 13),
            Column(translate("How"), 8),
            Column(translate("Action"), 9.5),
        ]
        rows = [
            [
                row["number"],
                lambda row=row: Text(row["commit"][:7] or "–", "mono"),
                lambda row=row: Text(row["author"].partition(" <")[0] or "–", title=row["author"]),
                lambda row=row: Text(row["digest"], "mono"),
                lambda row=row: Text(row["ago"], title=self._preferences.format_stamp(row["since"])),
                lambda row=row: add_link(f"/run/{row['run']}", row["run"]) if row["run"] else Text("–"),
                lambda row=row: self._add_how(row),
                lambda row=row: self._add_rollback(row),
            ]
            for row in history
        ]
        add_table(columns, rows, translate("none"))

    def _add_how(self, row: Document) -> None:
        translate = self._preferences.translate
        how = HOW.get(row["how"])
        Text(translate(how) if how else "–")
        if row["by"]:
            Text(translate("by {who}", who=row["by"]), "small soft wrap")

    def _add_rollback(self, row: Document) -> None:
        translate = self._preferences.translate
        if row["current"]:
            add_pill("serving", translate("now"), "check_circle")
            return
        if row["failed"]:
            add_pill("failed", translate("failed"), "error")
            return
        if not row["kept"]:
            Text("–")
            return
        button = ui.button(translate("Roll back"), icon="undo", on_click=lambda: self._confirm_rollback(row)).props(
            "flat dense"
        )
        set_attributes(button, data_test=f"back-{row['number']}")

    def _confirm_rollback(self, row: Document) -> None:
        translate, console = self._preferences.translate, self._console
        name = console.world.config.pipeline.deployment
        dialog = Dialog(translate("Roll back {name}?", name=name))
        with dialog.card:
            about = "{name} goes back to {digest} (commit {commit}), one pod after the other; nobody is cut off."
            commit = row["commit"][:7] or translate("unknown commit")
            Text(translate(about, name=name, digest=row["digest"], commit=commit), "soft q-my-md")
            with ui.element("div").classes("bar"):
                ui.element("div").classes("grow")
                ui.button(translate("Back"), on_click=dialog.close).props("flat autofocus")
                set_attributes(
                    ui.button(translate("Roll back"), on_click=lambda: go()).props("unelevated"), data_test="back-now"
                )

        async def go() -> None:
            from bootstrap.console import actions

            dialog.close()
            with dialog.reader:
                try:
                    await run_in_thread(lambda: actions.roll_back(console.world, row["image"]))
                except BootstrapError as error:
                    notify_error(error, console.mask)
                    return
                told = translate("{name} goes back to {digest}.", name=name, digest=row["digest"])
                ui.notify(told, position="bottom")

        dialog.open()


def build_page(console: Context, preferences: Preferences) -> None:
    """Build the page for one reader. Called by NiceGUI for each visit, within the page."""
    ui.page_title(f"{preferences.translate('Deployment')} · {console.world.config.name}")
    _DeploymentPage(console, preferences)
