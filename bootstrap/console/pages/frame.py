"""The frame around every page: header, navigation, choice of language and appearance, and the alert while the cluster
does not answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse
from nicegui import Client, app, ui
from nicegui.language import Language
from nicegui.translations import translations

from bootstrap.console.context import SCRIPT, STATIC, STYLE
from bootstrap.console.pages import applications, deployment, environment, run, runs, webhooks_and_polls
from bootstrap.console.pages.widgets import (
    Refreshable,
    Text,
    add_link,
    refresh_on_change,
    set_attributes,
    start_in_background,
)
from bootstrap.console.preferences import LANGUAGE, TELL_ZONE, THEME, THEMES, Preferences, read_preferences
from bootstrap.console.static_page import PAGES, RENAMED
from bootstrap.console.translations import CHINESE, ENGLISH, LANGUAGES, Translator
from bootstrap.console.views.runs import Filter

if TYPE_CHECKING:
    from bootstrap.console.context import Context

DARK = {"auto": None, "light": False, "dark": True}
COME_BACK = "location.assign('%s?back=' + encodeURIComponent(location.pathname + location.search))"
YEAR = 365 * 24 * 3600
LIBRARY_LANGUAGES: Mapping[str, Language] = {ENGLISH: "en-US", CHINESE: "zh-CN"}
"""Our languages as NiceGUI calls them; a browser understands the same names in the attribute `lang`."""
ZONE = "const f = Intl.DateTimeFormat().resolvedOptions(); return [f.timeZone, new Date().getTimezoneOffset()]"


def make_application(console: Context) -> FastAPI:
    """The ASGI application with all pages, without the check of the token."""
    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _add_choices(outer)
    _add_redirects(outer)
    ui.add_css(STYLE.read_text(), shared=True)
    ui.add_head_html(f"<script>{SCRIPT.read_text()}</script>", shared=True)  # the middleware lets it run
    ui.run_with(
        outer,
        root=lambda: build_page(console),
        title=f"{console.world.config.name} · console",
        favicon=STATIC / "icon.svg",
        dark=None,
        binding_refresh_interval=None,
        gzip_middleware_factory=None,  # the browser runs on this machine
        reconnect_timeout=30,
        tailwind=False,
        show_welcome_message=False,
    )
    app.colors(primary="#1f5fbf")
    for language, name in LIBRARY_LANGUAGES.items():
        told = Translator(language)
        translations[name] |= {
            "connection_lost": told("The console does not answer."),
            "trying_to_reconnect": told("If it has ended, start invoke dashboard again and open its new address."),
        }
    return outer


def _add_choices(outer: FastAPI) -> None:
    def keep(cookie: str, value: str, known: Any, back: str) -> Response:
        if value not in known:
            return Response(status_code=HTTPStatus.NOT_FOUND)
        # A path of our own, and never one that a browser would read as the name of another host.
        answer = RedirectResponse("/" + back.lstrip("/\\"), HTTPStatus.SEE_OTHER)
        answer.set_cookie(cookie, value, max_age=YEAR, samesite="strict", httponly=True)
        return answer

    @outer.get("/choose/language/{value}")
    def language(value: str, back: str = "/") -> Response:
        return keep(LANGUAGE, value, LANGUAGES, back)

    @outer.get("/choose/theme/{value}")
    def theme(value: str, back: str = "/") -> Response:
        return keep(THEME, value, THEMES, back)


def _add_redirects(outer: FastAPI) -> None:
    def redirect_to(target: str) -> Callable[[], Response]:
        return lambda: RedirectResponse(target, HTTPStatus.PERMANENT_REDIRECT)

    for old, new in RENAMED.items():
        outer.add_api_route(old, redirect_to(new))


def build_page(console: Context) -> None:
    """Build the frame and the page of the current address within it. Called by NiceGUI for each visit."""
    client = ui.context.client
    preferences = read_preferences(client.request.cookies, client.request.headers.get("accept-language", ""))
    _set_language(client, preferences)
    if preferences.theme != "auto":
        ui.dark_mode(DARK[preferences.theme])
    add_link("#main", preferences.translate("Skip to content"), "skip")
    here = _add_header(console, preferences)
    _add_alert(console, preferences)
    routes: dict[str, Callable[..., Any]] = {
        "/": lambda start="", text="", state="", by="", branch="", app="", page="": runs.build_page(
            console, preferences, start=bool(start), wanted=Filter(text, state, by, branch, app), page=page
        ),  # start: see static_page.START
        "/run/{name}": lambda name, task="", step="", line="": run.build_page(
            console, preferences, name, task=task, step=step, line=line
        ),
        "/applications": lambda: applications.build_page(console, preferences),
        "/deployment": lambda: deployment.build_page(console, preferences),
        "/webhooks": lambda: webhooks_and_polls.build_page(console, preferences),
        "/environment": lambda: environment.build_page(console, preferences),
    }
    with ui.element("div").classes("page") as main:
        set_attributes(main, id="main", tabindex="-1")
        _SubPages(routes, preferences=preferences, title=console.world.config.name)

    def mark_current(address: str) -> None:
        path = address.partition("?")[0]
        for target, each in here.items():
            current = path == target or (target == "/" and path.startswith("/run/"))
            each.classes(add="here" if current else "", remove="" if current else "here")
            if current:
                set_attributes(each, aria_current="page")
            else:
                each.props.pop("aria-current", None)

    client.sub_pages_router.on_path_changed(mark_current)
    mark_current(client.sub_pages_router.current_path)
    start_in_background(_learn_time_zone(preferences))


class _SubPages(ui.sub_pages):
    """The page of the current address; for an address that is none of ours a page that says so."""

    def __init__(self, routes: dict[str, Callable[..., Any]], *, preferences: Preferences, title: str) -> None:
        self._preferences, self._title = preferences, title
        super().__init__(routes)

    def _render_404(self) -> None:
        translate = self._preferences.translate
        ui.page_title(f"{translate('Not found')} · {self._title}")
        with ui.element("div").classes("card empty"):
            Text(translate("There is no such page."), tag="h1")
            add_link("/", "← " + translate("All runs"))


def _set_language(client: Client, preferences: Preferences) -> None:
    """Have the library tell the page's language, and use it for its own words. A page is shared by all readers."""
    client.page = copy.copy(client.page)
    client.page.language = LIBRARY_LANGUAGES[preferences.translate.language]


async def _learn_time_zone(preferences: Preferences) -> None:
    """Ask the browser for its time zone. Where it is another than the cookie had, the page is built anew."""
    try:
        name, behind = await ui.run_javascript(f"(() => {{ {TELL_ZONE}; {ZONE} }})()", timeout=5.0)
    except (TimeoutError, TypeError, ValueError):
        return
    before, moment = preferences.zone, datetime.now(UTC)
    preferences.set_time_zone(str(name), int(behind))
    if before.utcoffset(moment) != preferences.zone.utcoffset(moment):
        ui.navigate.reload()


def _add_header(console: Context, preferences: Preferences) -> dict[str, ui.element]:
    translate = preferences.translate
    here = {}
    with ui.element("header").classes("top"):
        with ui.element("div").classes("brand"):
            set_attributes(ui.element("img"), src="/favicon.ico", alt="")
            Text(console.world.config.name, tag="span")
        with ui.element("nav").classes("nav"):
            for target, name in PAGES.items():
                here[target] = add_link(target, translate(name))
            further = Refreshable(_add_further_links, tag="span")
            refresh_on_change(
                lambda: len(console.links), lambda: further.show({translate(k): v for k, v in console.links.items()})
            )
        with ui.element("div").classes("tools"):
            language = {key: (name, preferences.translate.language == key) for key, name in LANGUAGES.items()}
            _add_menu("translate", translate("Language"), "language", language)
            themes = {key: (translate(name), preferences.theme == key) for key, name in THEMES.items()}
            _add_menu("contrast", translate("Appearance"), "theme", themes)
    return here


def _add_further_links(links: dict[str, str]) -> None:
    for name, address in links.items():
        Text(name + " ↗", tag="a", href=address, target="_blank", rel="noopener noreferrer")


def _add_menu(icon: str, name: str, what: str, list_options: dict[str, tuple[str, bool]]) -> None:
    with ui.button(icon=icon).props("flat round dense color=grey-7") as button:
        set_attributes(button, aria_label=name)
        with ui.menu():
            for key, (label, chosen) in list_options.items():
                target = f"/choose/{what}/{key}"
                item = ui.menu_item(label, on_click=lambda target=target: ui.run_javascript(COME_BACK % target))
                item.classes("text-bold" if chosen else "")


def _add_alert(console: Context, preferences: Preferences) -> None:
    def build(why: str) -> None:
        if not why:
            return
        with ui.element("div").classes("lost") as box:
            set_attributes(box, role="alert")
            ui.icon("cloud_off").props("aria-hidden=true")
            with ui.element("div"):
                Text(
                    preferences.translate("The cluster does not answer; what is shown is what was last seen."),
                    "text-bold",
                )
                Text(f"{why}. {preferences.translate('It is asked again by itself.')}", "small wrap")

    part = Refreshable(build)
    refresh_on_change(lambda: console.watch_cache.version, lambda: part.show(console.mask(console.watch_cache.lost)))
