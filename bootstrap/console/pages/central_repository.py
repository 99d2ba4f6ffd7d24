"""How far the central repository is applied, as a card above the applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from bootstrap.commands.central_repository import read_state
from bootstrap.console.pages.widgets import Refreshable, Text, add_pill, run_in_thread, start_in_background
from bootstrap.console.preferences import Preferences
from bootstrap.incluster.application_source import SourceState
from bootstrap.settings.central_repository import find_source

if TYPE_CHECKING:
    from bootstrap.console.context import Context

READ_SECONDS = 10.0


def add_repository_card(console: Context, preferences: Preferences) -> None:
    """Say which commit is applied, or what is wrong with the newest; nothing where the settings name no repository."""
    if find_source(console.world.config) is None:
        return
    translate = preferences.translate

    def build(mark: str, state: str, said: str, faults: tuple[str, ...]) -> None:
        with ui.element("section").classes("card"):
            with ui.element("div").classes("bar"):
                word, icon = _choose_pill(state)
                add_pill(word, translate(word), icon)
                Text(translate("Repository"), "soft", tag="span")
                Text(mark, "mono wrap", tag="span")
            Text(translate.translate_message(said), "wrap")
            for each in faults:
                Text(each, "mono small wrap")

    part = Refreshable(build)

    async def read() -> None:
        found = await run_in_thread(lambda: read_state(console.world)) or SourceState()
        faults = found.faults if len(found.faults) > 1 else ()
        part.show(*console.mask([found.mark, found.state, found.describe()]), tuple(console.mask([*faults])))

    start_in_background(read())
    ui.timer(READ_SECONDS, read)


def _choose_pill(state: str) -> tuple[str, str]:
    """(one of the console's states, its icon)."""
    if not state:
        return "pending", "schedule"
    return ("ready", "check_circle") if SourceState(state=state).is_well else ("failed", "error")
