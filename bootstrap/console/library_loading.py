"""Loads the web library in less than half the time that it would take, by leaving out what nobody needs here.

Its socketio also has a client, whose HTTP libraries are loaded if they are there; FastAPI also looks for models of the
old pydantic, and describes OpenAPI in models whose validators nothing asks for. And pydantic looks through every
installed package for plugins of its own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

UNUSED = ("aiohttp", "requests", "websocket", "pydantic.v1")
"""Optional for those who import them, and only looked for while the library is loaded."""
TURN_SECONDS = 0.0005
"""Python's own is ten times as long."""


class _Absent:
    """A finder, as `sys.meta_path` has them, that knows those are not there; for the thread that made it only."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname in UNUSED and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is not needed", name=fullname)


@contextlib.contextmanager
def load_quickly() -> Iterator[None]:
    """Imports within are as if those libraries were not installed, models of pydantic are built when they are first
    used, and no rubbish is looked for meanwhile."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        with pause_collector(), _defer_models():
            yield
    finally:
        sys.meta_path.remove(absent)


@contextlib.contextmanager
def pause_collector() -> Iterator[None]:
    """What is loaded within stays, so that no rubbish is looked for in it, neither now nor later.

    Loading hardly ever pauses by itself, so other threads have their turn sooner: they read the cluster and let
    readers in.
    """
    turn = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(turn)


@contextlib.contextmanager
def _defer_models() -> Iterator[None]:
    """Models inherit their configuration from the base of all, which is pydantic's own way to set it for many."""
    from pydantic import BaseModel, ConfigDict

    before = BaseModel.model_config
    BaseModel.model_config = ConfigDict(defer_build=True)
    try:
        yield
    finally:
        BaseModel.model_config = before
