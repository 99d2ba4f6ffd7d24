"""Loads NiceGUI in less than half the time that it would take, by leaving out what the console does not need.

- The HTTP clients of its socketio (aiohttp, requests, websocket) are hidden: they are imported if they can be found.
- FastAPI's models of OpenAPI, which nothing here uses, are not built before they are used.
- pydantic does not search every installed package for plugins, and FastAPI finds no models of the old pydantic.
- The garbage collector pauses meanwhile.

This relies on how those libraries are made today. With the environment variable TEKTON_BOOTSTRAP_PLAIN_LOADING=1 they
are imported as usual, which takes longer and changes nothing else.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

PLAIN_LOADING = "TEKTON_BOOTSTRAP_PLAIN_LOADING"
"""Environment variable; with the value 1 nothing here has any effect."""
UNUSED = ("aiohttp", "requests", "websocket", "pydantic.v1")
"""Modules that are hidden while NiceGUI is loaded. Those who import them do without them if they are not installed."""
SWITCH_SECONDS = 0.0005
"""Interval after which Python lets another thread run; its default is ten times as long."""


class _Absent:
    """A finder for `sys.meta_path` that says of UNUSED that they are not installed, to the thread that made it only."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname in UNUSED and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is not needed", name=fullname)


def _is_plain() -> bool:
    return os.environ.get(PLAIN_LOADING) == "1"


@contextlib.contextmanager
def load_quickly() -> Iterator[None]:
    """For the imports in the block: hide UNUSED, build models of pydantic when they are first used, pause the
    collector.

    Other threads import as usual. Without effect if PLAIN_LOADING is set.
    """
    if _is_plain():
        yield
        return
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
    """Pause the garbage collector in the block, and exempt from it for good what was loaded: modules stay anyway.

    Threads switch more often meanwhile, because importing hardly ever waits, and the others have to read the cluster
    and to answer browsers. Without effect if PLAIN_LOADING is set.
    """
    if _is_plain():
        yield
        return
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def _defer_models() -> Iterator[None]:
    """Build the models that are defined in the block when they are first used: they inherit the setting of
    BaseModel."""
    from pydantic import BaseModel, ConfigDict

    before = BaseModel.model_config
    BaseModel.model_config = ConfigDict(defer_build=True)
    try:
        yield
    finally:
        BaseModel.model_config = before
