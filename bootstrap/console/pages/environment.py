"""How the environment is: steps and why, what to type next, addresses, the last `up`, images, resources, warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nicegui import ui

from bootstrap.console.pages.widgets import Part, Text, asked, begin, copy, give, pill, table
from bootstrap.console.preferences import Reader
from bootstrap.console.views.resources import cores, size
from bootstrap.console.views.timeline import timeline
from bootstrap.console.views.times import length
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


class _Environment:
    """Each part reads for itself, so that a slow one holds up no other. Nothing is read again but on request, or when
    the cluster answers again."""

    def __init__(self, console: Context, reader: Reader) -> None:
        self._console, self._reader = console, reader
        words = reader.words
        with ui.element("div").classes("bar"):
            Text(words("Environment"), "grow", tag="h1")
            self._read_at = Text("", "soft small")
            ui.button(words("Refresh"), icon="refresh", on_click=self._read).props("flat dense")
        self._next = self._section("Next", self._build_next)
        self._steps = self._section("Steps", self._build_steps, flat=True)
        with ui.element("div").classes("pair"):
            self._places = self._section("Where things are", self._build_places)
            self._resources = self._section("Resources", self._build_resources)
        self._timeline = self._section("The last up", self._build_timeline)
        self._doctor = self._section("Doctor", self._build_doctor, flat=True)
        self._images = self._section("Images", self._build_images, flat=True)
        self._lost = False
        self._read()
        ui.timer(1.0, self._after_a_loss)

    def _section(self, name: str, build: Callable[..., None], *, flat: bool = False) -> Part:
        with ui.element("section").classes("card flat" if flat else "card"):
            Text(self._reader.words(name), "q-pa-md" if flat else "", tag="h2")
            part = Part(build)
        with part.box:
            Text(self._reader.words("reading…"), "empty" if flat else "soft")
        return part

    def _after_a_loss(self) -> None:
        lost = bool(self._console.feed.lost)
        if self._lost and not lost:
            self._read()
        self._lost = lost

    def _read(self) -> None:
        sources = self._console.sources
        self._timeline.show(sources.last_up())
        begin(self._one(lambda: sources.steps(self._console.feed.runs()), self._show_steps))
        begin(self._one(sources.resources, self._resources.show))
        begin(self._one(sources.images, self._images.show))
        begin(self._one(sources.doctor, self._doctor.show))

    async def _one(self, read: Callable[[], Any], use: Callable[[Any], None]) -> None:
        try:
            use(self._console.mask(await asked(read)))
        except BootstrapError as error:
            use(self._console.mask(error.message))

    def _show_steps(self, found: Document | str) -> None:
        if isinstance(found, str):
            self._steps.show(found)
            return
        self._next.show(found["next"])
        self._steps.show(found["steps"])
        self._places.show({**found["endpoints"], "kubeconfig": found["kubeconfig"], "context": found["context"]})
        self._read_at.set_text(self._reader.words("read {ago}", ago=self._reader.stamp(found["read"])))

    def _build_next(self, found: Document) -> None:
        with ui.element("div").classes("bar"):
            Text(found["command"], "mono text-bold wrap", tag="span")
            copy(found["command"], self._reader.words)
        Text(found["why"], "soft")

    def _build_steps(self, steps: list[Document] | str) -> None:
        words = self._reader.words
        if isinstance(steps, str):
            Text(steps, "empty")
            return
        ready = sum(each["verdict"] == "ready" for each in steps)
        said = words("{n} of {all} steps are ready", n=ready, all=len(steps))
        Text(words("every step is ready") if ready == len(steps) else said, "soft small q-px-md q-pb-sm")
        rows = [
            [
                lambda step=step: pill(step["verdict"], words(step["verdict"]), ICONS[step["verdict"]]),
                step["name"],
                step["why"],
                f"{step['seconds']:.1f} s",
            ]
            for step in steps
        ]
        table([words(each) for each in ("State", "Step", "Why", "Time")], rows)

    def _build_places(self, places: Document) -> None:
        with ui.element("dl").classes("facts"):
            for name, value in places.items():
                Text(name, tag="dt")
                with ui.element("dd"):
                    Text(value, "mono", tag="span")
                    copy(value, self._reader.words)

    def _build_resources(self, nodes: list[Document] | str) -> None:
        words = self._reader.words
        if isinstance(nodes, str):
            Text(nodes, "soft")
            return
        for node in nodes:
            Text(f"{node['name']} · {node['pods']} {words('Pods')}", "text-bold q-mt-sm")
            for kind, name, shown in (("cpu", "CPU", cores), ("memory", "Memory", size)):
                self._gauge(words(name), node[kind], shown)

    def _gauge(self, name: str, found: Document, shown: Callable[[float | None], str]) -> None:
        words, whole = self._reader.words, found["all"] or 1
        parts = [f"{words(key)} {shown(found[key])}" for key in ("used", "requests", "limits")]
        Text(f"{name}: {' · '.join(parts)} / {shown(found['all'])}", "small soft")
        with ui.element("div").classes("gauge"):
            ui.element("div").classes("fill").style(f"width: {min(100, 100 * (found['used'] or 0) / whole):.1f}%")
            ui.element("div").classes("mark").style(f"left: {min(99.5, 100 * found['requests'] / whole):.1f}%")

    def _build_timeline(self, record: Document) -> None:
        words = self._reader.words
        bars = timeline(record)
        if not bars:
            Text(words("No up was recorded yet."), "soft")
            return
        took = length(float(record.get("seconds") or 0))
        Text(
            words("{when}, {length} in all", when=self._reader.stamp(str(record.get("ended") or "")), length=took),
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
        words = self._reader.words
        if isinstance(findings, str) or not findings:
            Text(str(findings or words("Nothing to warn of.")), "empty")
            return
        rows = [
            [lambda f=f: pill(f["level"], words(f["level"]), ICONS[f["level"]]), f["name"], f["what"], f["fix"]]
            for f in findings
        ]
        table(["", words("Finding"), words("Why"), words("Fix")], rows)

    def _build_images(self, images: list[Document] | str) -> None:
        words = self._reader.words
        if isinstance(images, str):
            Text(images, "empty")
            return
        supply = self._console.world.config.supply
        Text(words("{n} images, supply {supply}", n=len(images), supply=supply), "soft small q-px-md q-pb-sm")
        rows = [
            [
                i["name"],
                lambda i=i: give(Text(i["digest"][:19], "mono"), title=i["digest"]),
                lambda i=i: Text(i["size"], "nowrap"),
                i["aliases"],
            ]
            for i in images
        ]
        table([words("Image"), words("Digest"), words("Size"), ""], rows)


def show(console: Context, reader: Reader) -> None:
    ui.page_title(f"{reader.words('Environment')} · {console.world.config.name}")
    _Environment(console, reader)
