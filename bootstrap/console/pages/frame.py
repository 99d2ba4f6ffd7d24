"""What is around every page: its head, the way from page to page, language and appearance, the line to the cluster."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse
from nicegui import app, ui

from bootstrap.console.context import STATIC, STYLE
from bootstrap.console.pages import deployment, environment, run, runs, webhooks_and_polls
from bootstrap.console.pages.widgets import Part, Text, begin, give, link, live
from bootstrap.console.preferences import LANGUAGE, THEME, THEMES, Reader, reader_of
from bootstrap.console.static_page import PAGES
from bootstrap.console.translations import LANGUAGES

if TYPE_CHECKING:
    from bootstrap.console.context import Context

DARK = {"auto": None, "light": False, "dark": True}
YEAR = 365 * 24 * 3600
ZONE = "const f = Intl.DateTimeFormat().resolvedOptions(); return [f.timeZone, new Date().getTimezoneOffset()]"


def application(console: Context) -> FastAPI:
    """The whole of it, without the guard."""
    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _choices(outer)
    ui.add_css(STYLE.read_text(), shared=True)
    ui.run_with(
        outer,
        root=lambda: page(console),
        title=f"{console.world.config.name} · console",
        favicon=STATIC / "icon.svg",
        dark=None,
        binding_refresh_interval=None,
        gzip_middleware_factory=None,  # it comes from this machine
        reconnect_timeout=30,
        tailwind=False,
        show_welcome_message=False,
    )
    app.colors(primary="#1f5fbf")
    return outer


def _choices(outer: FastAPI) -> None:
    def keep(cookie: str, value: str, known: Any) -> Response:
        if value not in known:
            return Response(status_code=HTTPStatus.NOT_FOUND)
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        answer.set_cookie(cookie, value, max_age=YEAR, samesite="strict", httponly=True)
        return answer

    @outer.get("/choose/language/{value}")
    def language(value: str) -> Response:
        return keep(LANGUAGE, value, LANGUAGES)

    @outer.get("/choose/theme/{value}")
    def theme(value: str) -> Response:
        return keep(THEME, value, THEMES)


def page(console: Context) -> None:
    client = ui.context.client
    reader = reader_of(client.request.cookies, client.request.headers.get("accept-language", ""))
    if reader.theme != "auto":
        ui.dark_mode(DARK[reader.theme])
    link("#main", reader.words("Skip to content"), "skip")
    here = _top(console, reader)
    _lost(console, reader)
    routes: dict[str, Callable[..., Any]] = {
        "/": lambda start="": runs.show(console, reader, start=bool(start)),  # see welcome.START
        "/run/{name}": lambda name: run.show(console, reader, name),
        "/delivery": lambda: deployment.show(console, reader),
        "/arrivals": lambda: webhooks_and_polls.show(console, reader),
        "/environment": lambda: environment.show(console, reader),
    }
    with ui.element("div").classes("page") as main:
        give(main, id="main", tabindex="-1")
        ui.sub_pages(routes)

    def mark(path: str) -> None:
        for target, each in here.items():
            current = path == target or (target == "/" and path.startswith("/run/"))
            each.classes(add="here" if current else "", remove="" if current else "here")
            if current:
                give(each, aria_current="page")
            else:
                each.props.pop("aria-current", None)

    client.sub_pages_router.on_path_changed(mark)
    mark(client.sub_pages_router.current_path)
    begin(_where(reader))


async def _where(reader: Reader) -> None:
    """Learn the reader's time zone, once the browser is there."""
    try:
        name, behind = await ui.run_javascript(f"(() => {{ {ZONE} }})()", timeout=5.0)
    except (TimeoutError, TypeError, ValueError):
        return
    reader.live_in(str(name), int(behind))


def _top(console: Context, reader: Reader) -> dict[str, ui.element]:
    words = reader.words
    here = {}
    with ui.element("header").classes("top"):
        with ui.element("div").classes("brand"):
            give(ui.element("img"), src="/favicon.ico", alt="")
            Text(console.world.config.name, tag="span")
        with ui.element("nav").classes("nav"):
            for target, name in PAGES.items():
                here[target] = link(target, words(name))
            further = Part(_further, tag="span")
            live(lambda: len(console.links), lambda: further.show({words(k): v for k, v in console.links.items()}))
        with ui.element("div").classes("tools"):
            language = {key: (name, reader.words.language == key) for key, name in LANGUAGES.items()}
            _menu("translate", words("Language"), "language", language)
            themes = {key: (words(name), reader.theme == key) for key, name in THEMES.items()}
            _menu("contrast", words("Appearance"), "theme", themes)
    return here


def _further(links: dict[str, str]) -> None:
    for name, address in links.items():
        Text(name + " ↗", tag="a", href=address, target="_blank", rel="noopener noreferrer")


def _menu(icon: str, name: str, what: str, choices: dict[str, tuple[str, bool]]) -> None:
    with ui.button(icon=icon).props("flat round dense color=grey-7") as button:
        give(button, aria_label=name)
        with ui.menu():
            for key, (label, chosen) in choices.items():
                target = f"/choose/{what}/{key}"
                item = ui.menu_item(label, on_click=lambda target=target: ui.context.client.open(target))
                item.classes("text-bold" if chosen else "")


def _lost(console: Context, reader: Reader) -> None:
    def build(why: str) -> None:
        if not why:
            return
        with ui.element("div").classes("lost") as box:
            give(box, role="alert")
            ui.icon("cloud_off").props("aria-hidden=true")
            with ui.element("div"):
                Text(reader.words("The cluster does not answer; what is shown is what was last seen."), "text-bold")
                Text(f"{why}. {reader.words('It is asked again by itself.')}", "small wrap")

    part = Part(build)
    live(lambda: console.feed.version, lambda: part.show(console.mask(console.feed.lost)))
