"""The door to the terminal: sole importer of `rich`, sole printer. (Contract; see the Protocols.)"""

from __future__ import annotations

from typing import Protocol


class StepLine(Protocol):
    """The line of one step while it runs. Threads may call it at the same time."""

    def cause(self, text: str) -> None:
        """Why it is not ready yet; shown live, and once as a line without a terminal."""
        ...

    def progress(self, text: str) -> None:
        """A second, detail line below it ("kubernetes ok  etcd ok  tekton 5/8 · 6m12s of about 16m")."""
        ...

    def ready(self, text: str, *, changed: bool) -> None: ...

    def failed(self, text: str) -> None: ...


class Report(Protocol):
    def step(self, name: str) -> StepLine: ...

    def line(self, text: str) -> None:
        """One plain line on stdout."""
        ...

    def warn(self, text: str) -> None: ...

    def error(self, error: BaseException) -> None:
        """Cause, evidence, hint, on stderr; every fault of a UsageError."""
        ...

    def table(self, columns: list[str], rows: list[list[str]]) -> None: ...
