"""The state of the environment: its steps, what to type next, addresses, the last `up`, images, resources, warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import (
    Column,
    Refreshable,
    Text,
    add_copy_button,
    add_pill,
    add_table,
    run_in_thread,
    set_attributes,
    start_in_background,
)
from bootstrap.console.preferences import Preferences
from bootstrap.console.views.resources import format_bytes, format_cores
from bootstrap.console.views.timeline import describe_timeline
from bootstrap.console.views.times import format_duration
from bootstrap.core.errors import BootstrapError

if TYPE_CHECKING:
    from bootstrap.console.context import Context

Document = dict[str, Any]
ICONS = {
    "ready": "check_circle",
    "pending": "schedule",
    "failed": "error",
    "unknown": "help",
    "warn": "warning",
    "fail": "error",
}


class _EnvironmentPage:
    """Each part is read on its own, so that a slow one delays no other. They are read again on request, and when the
    cluster answers again."""

    def __init__(self, console: Context, preferences: Preferences) -> None:
        self._console, self._preferences = console, preferences
        translate = preferences.translate
        with ui.element("div").classes("bar"):
            Text(translate("Environment"), "grow", tag="h1")
            self._read_at = Text("", "soft small")
            ui.button(translate("Refresh"), icon="refresh", on_click=self._read).props("flat dense")
        self._next = self._add_section("Next", self._build_next)
        self._steps = self._add_section("Steps", self._build_steps, flat=True)
        with ui.element("div").classes("pair"):
            self._places = self._add_section("Addresses", self._build_places)
            self._resources = self._add_section("Resources", self._build_resources)
        self._timeline = self._add_section("The last up", self._build_timeline)
        self._doctor = self._add_section("Doctor", self._build_doctor, flat=True)
        self._images = self._add_section("Images", self._build_images, flat=True)
        self._lost = False
        self._read()
        ui.timer(1.0, self._read_after_loss)

    def _add_section(self, name: str, build: Callable[..., None], *, flat: bool = False) -> Refreshable:
        with ui.element("section").classes("card flat" if flat else "card"):
            Text(self._preferences.translate(name), "q-pa-md" if flat else "", tag="h2")
            part = Refreshable(build)
        with part.box:
            Text(self._preferences.translate("reading…"), "empty" if flat else "soft")
        return part

    def _read_after_loss(self) -> None:
        lost = bool(self._console.watch_cache.lost)
        if self._lost and not lost:
            self._read()
        self._lost = lost

    def _read(self) -> None:
        queries = self._console.queries
        self._timeline.show(queries.read_last_up())
        start_in_background(
            self._show_answer(lambda: queries.check_steps(self._console.watch_cache.list_runs()), self._show_steps)
        )
        start_in_background(self._show_answer(queries.measure_resources, self._resources.show))
        start_in_background(self._show_answer(queries.list_images, self._images.show))
        start_in_background(self._show_answer(queries.examine_machine, self._doctor.show))

    async def _show_answer(self, read: Callable[[], Any], use: Callable[[Any], None]) -> None:
        try:
            use(self._console.mask(await run_in_thread(read)))
        except BootstrapError as error:
            use(self._console.mask(error.message))

    def _show_steps(self, document: Document | str) -> None:
        if isinstance(document, str):
            self._steps.show(document)
            return
        self._next.show(document["next"])
        self._steps.show(document["steps"])
        self._places.show(
            {**document["endpoints"], "kubeconfig": document["kubeconfig"], "context": document["context"]}
        )
        self._read_at.set_text(
            self._preferences.translate("read {ago}", ago=self._preferences.format_time(document["read"]))
        )

    def _build_next(self, document: Document) -> None:
        with ui.element("div").classes("bar"):
            Text(document["command"], "mono text-bold wrap", tag="span")
            add_copy_button(document["command"], self._preferences.translate)
        Text(self._preferences.translate.translate_message(document["why"]), "soft")

    def _build_steps(self, steps: list[Document] | str) -> None:
        translate = self._preferences.translate
        if isinstance(steps, str):
            Text(steps, "empty")
            return
        ready = sum(each["verdict"] == "ready" for each in steps)
        text = translate("{n} of {all} steps are ready", n=ready, all=len(steps))
        Text(translate("every step is ready") if ready == len(steps) else text, "soft small q-px-md q-pb-sm")
        rows = [
            [
                lambda step=step: add_pill(step["verdict"], translate(step["verdict"]), ICONS[step["verdict"]]),
                step["name"],
                translate.translate_message(step["why"]),
                f"{step['seconds']:.1f} s",
            ]
            for step in steps
        ]
        columns = [
            Column(translate("State"), 8.5),
            Column(translate("Step"), 10),
            Column(translate("Why")),
            Column(translate("Time"), 5),
        ]
        add_table(columns, rows)

    def _build_places(self, places: Document) -> None:
        with ui.element("dl").classes("facts"):
            for name, value in places.items():
                Text(name, tag="dt")
                with ui.element("dd"):
                    Text(value, "mono", tag="span")
                    add_copy_button(value, self._preferences.translate)

    def _build_resources(self, nodes: list[Document] | str) -> None:
        translate = self._preferences.translate
        if isinstance(nodes, str):
            Text(nodes, "soft")
            return
        for node in nodes:
            Text(f"{node['name']} · {node['pods']} {translate('Pods')}", "text-bold q-mt-sm")
            for kind, name, format_amount in (("cpu", "CPU", format_cores), ("memory", "Memory", format_bytes)):
                self._add_gauge(translate(name), node[kind], format_amount)

    def _add_gauge(self, name: str, amounts: Document, format_amount: Callable[[float | None], str]) -> None:
        translate, whole = self._preferences.translate, amounts["all"] or 1
        parts = [f"{translate(key)} {format_amount(amounts[key])}" for key in ("used", "requests", "limits")]
        Text(f"{name}: {' · '.join(parts)} / {format_amount(amounts['all'])}", "small soft")
        with ui.element("div").classes("gauge"):
            ui.element("div").classes("fill").style(f"width: {min(100, 100 * (amounts['used'] or 0) / whole):.1f}%")
            ui.element("div").classes("mark").style(f"left: {min(99.5, 100 * amounts['requests'] / whole):.1f}%")

    def _build_timeline(self, record: Document) -> None:
        translate = self._preferences.translate
        bars = describe_timeline(record)
        if not bars:
            Text(translate("No up was recorded yet."), "soft")
            return
        took = format_duration(float(record.get("seconds") or 0))
        Text(
            translate(
                "{when}, {length} in all",
                when=self._preferences.format_time(str(record.get("ended") or "")),
                length=took,
            ),
            "soft small q-mb-sm",
        )
        with ui.element("div").classes("bars"):
            for bar in bars:
                Text(bar["name"], "small")
                with ui.element("div").classes("lane"):
                    span = ui.element("div").classes("span" if bar["changed"] else "span idle")
                    span.style(f"left: {bar['start']}%; width: {min(bar['width'], 100 - bar['start'])}%")
                Text(bar["length"], "small soft nowrap")

    def _build_doctor(self, findings: list[Document] | str) -> None:
        translate = self._preferences.translate
        if isinstance(findings, str) or not findings:
            Text(str(findings or translate("Nothing to warn of.")), "empty")
            return
        rows = [
            [lambda f=f: add_pill(f["level"], translate(f["level"]), ICONS[f["level"]]), f["name"], f["what"], f["fix"]]
            for f in findings
        ]
        columns = [
            Column(translate("State"), 8.5),
            Column(translate("Finding"), 10),
            Column(translate("Why")),
            Column(translate("Fix"), 18, label=True),
        ]
        add_table(columns, rows)

    def _build_images(self, images: list[Document] | str) -> None:
        translate = self._preferences.translate
        if isinstance(images, str):
            Text(images, "empty")
            return
        supply = self._console.world.config.supply
        Text(translate("{n} images, supply {supply}", n=len(images), supply=supply), "soft small q-px-md q-pb-sm")
        rows = [
            [
                i["name"],
                lambda i=i: set_attributes(Text(i["digest"][:19], "mono"), title=i["digest"]),
                lambda i=i: Text(i["size"], "nowrap"),
                i["aliases"],
            ]
            for i in images
        ]
        columns = [
            Column(translate("Image"), 20),
            Column(translate("Digest"), 13),
            Column(translate("Size"), 6.5),
            Column(translate("Also called")),
        ]
        add_table(columns, rows)


def build_page(console: Context, preferences: Preferences) -> None:
    """Build the page for one reader. Called by NiceGUI for each visit, within the page."""
    ui.page_title(f"{preferences.translate('Environment')} · {console.world.config.name}")
    _EnvironmentPage(console, preferences)
