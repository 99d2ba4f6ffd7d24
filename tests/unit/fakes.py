"""Small strict stand-ins for doors: a clock that jumps, a report that remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FakeClock:
    """Sleeping moves it on at once. on_sleep: hears the time after each sleep, to make things happen meanwhile."""

    time: float = 1000.0
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[float], None] = lambda _: None

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.time += seconds
        self.on_sleep(self.time)


@dataclass
class FakeLine:
    """said: what the line heard, as ("cause", text), ("ready", text, changed)..."""

    name: str
    said: list[tuple[Any, ...]] = field(default_factory=list)

    def show_cause(self, text: str) -> None:
        self.said.append(("cause", text))

    def show_progress(self, text: str) -> None:
        self.said.append(("progress", text))

    def show_log(self, text: str) -> None:
        self.said.append(("log", text))

    def end_ready(self, text: str, *, changed: bool) -> None:
        self.said.append(("ready", text, changed))

    def end_failed(self, text: str) -> None:
        self.said.append(("failed", text))

    def end_skipped(self, text: str) -> None:
        self.said.append(("skipped", text))


@dataclass
class FakeReport:
    """steps: a line per name. printed: ("line", text), ("error", error)... in order."""

    steps: dict[str, FakeLine] = field(default_factory=dict)
    printed: list[tuple[Any, ...]] = field(default_factory=list)

    def step(self, name: str) -> FakeLine:
        return self.steps.setdefault(name, FakeLine(name))

    def line(self, text: str) -> None:
        self.printed.append(("line", text))

    def warn(self, text: str) -> None:
        self.printed.append(("warn", text))

    def error(self, error: BaseException) -> None:
        self.printed.append(("error", error))

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        self.printed.append(("table", columns, rows))

    def json(self, value: Any) -> None:
        self.printed.append(("json", value))
