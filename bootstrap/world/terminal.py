"""The adapter for the terminal: sole importer of `rich`, sole printer.

With a terminal the steps under way are redrawn in place below what is done. Without one (a pipe, a CI log, TERM=dumb)
the same facts come as one line per change, never with carriage returns. Results go to stdout, warnings and errors to
stderr. Foreign text (logs, messages of programs) is stripped of control characters. In what steps, warnings and errors
say, secrets are masked; results are printed as they are, for some commands are asked for a secret.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.console import Console
from rich.text import Text

from bootstrap.core import terminal_layout
from bootstrap.core.masking import mask_known
from bootstrap.core.model import Secret
from bootstrap.incluster.text import clean, one_line

if TYPE_CHECKING:
    from rich.live import Live

WIDEST = 100
CAUSE_PAUSE = 5.0
"""Seconds between two lines of the same step where there is no terminal; causes change with every pod."""
PROGRESS_PAUSE = 20.0
_STYLES = {"ok": "green", "...": "cyan", "FAIL": "bold red", "fail": "bold red", "warn": "yellow", "skip": "dim"}


class StepLine(Protocol):
    """The line of one step while it runs. Threads may call it at the same time."""

    def show_cause(self, text: str) -> None:
        """Show why the step is not ready yet: live, or as a line of its own without a terminal."""
        ...

    def show_progress(self, text: str) -> None:
        """Show a second, detail line below it ("kubernetes ok  etcd ok  tekton 5/8 · 6m12s of about 16m")."""
        ...

    def show_log(self, text: str) -> None:
        """Show lines that the step printed, above everything live, each with the step's name."""
        ...

    def end_ready(self, text: str, *, changed: bool) -> None:
        """End the line: the step is ready. Unchanged steps are shown only if another one changes later."""
        ...

    def end_failed(self, text: str) -> None:
        """End the line: the step failed."""
        ...

    def end_skipped(self, text: str) -> None:
        """End the line: the step was not run."""
        ...


class Report(Protocol):
    """What a command tells its user. Threads may call it at the same time."""

    def step(self, name: str) -> StepLine:
        """The line of this step; the same one while it is open, a new one after its end."""
        ...

    def line(self, text: str) -> None:
        """Print one plain line on stdout."""
        ...

    def warn(self, text: str) -> None:
        """Print a warning on stderr, as one line."""
        ...

    def error(self, error: BaseException) -> None:
        """Print cause, evidence and hint on stderr, or every fault of a UsageError. Ends all that is live."""
        ...

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Print a table on stdout, aligned; without a header if all names are empty."""
        ...

    def json(self, value: Any) -> None:
        """Print a value as one line of JSON on stdout; secrets are masked."""
        ...


class TerminalReport:
    """A Report for people, on a terminal or in a log."""

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = _make_console(out or sys.stdout, environ)
        self._err = _make_console(err or sys.stderr, environ)
        self.now = now
        self._lock = threading.RLock()
        self._open: dict[str, _Line] = {}
        self._held: list[Text] = []
        self._live: Live | None = None

    @property
    def interactive(self) -> bool:
        """Whether stdout is a terminal that lines can be redrawn on."""
        return self._out.is_terminal

    @property
    def width(self) -> int:
        """Columns that a line may take."""
        return min(self._out.width, WIDEST) if self.interactive else 80

    def step(self, name: str) -> StepLine:
        """The line of this step; the same one while it is open."""
        with self._lock:
            if name not in self._open:
                self._open[name] = _Line(self, name)
            if self.interactive and self._live is None:
                from rich.live import Live

                self._live = Live(console=self._out, get_renderable=self._render, transient=True, redirect_stdout=False)
                self._live.start()
                atexit.register(self.close)  # the cursor has to come back, whatever happens
            return self._open[name]

    def line(self, text: str) -> None:
        """Print one plain line on stdout."""
        with self._lock:
            self._held.clear()
            self._out.print(Text(clean(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, without disturbing what is redrawn."""
        with self._lock:
            # What is redrawn and stderr share a terminal: past rich, the two would overwrite each other.
            console = self._out if self._live and self._err.is_terminal else self._err
            console.print(Text(mask_known(f"warning: {one_line(text)}"), "yellow"), soft_wrap=True)

    def error(self, error: BaseException) -> None:
        """End all that is live, and print the error on stderr."""
        with self._lock:
            self._open.clear()
            self.close()
            for index, line in enumerate(terminal_layout.format_error(error)):
                self._err.print(Text(mask_known(line), "" if index else "bold red"), soft_wrap=True)

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Print a table on stdout; a mark in the first column is coloured."""
        lines = terminal_layout.format_table(columns, rows)
        with self._lock:
            for line in lines[: len(lines) - len(rows)]:
                self._out.print(Text(line, "bold"), soft_wrap=True)
            for line, cells in zip(lines[len(lines) - len(rows) :], rows, strict=True):
                self._out.print(_style_mark(line, cells[0]), soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print a value as one line of JSON on stdout; secrets are masked.

        Raises TypeError for a value that JSON has no form for.
        """
        text = json.dumps(value, ensure_ascii=False, default=_mask)
        with self._lock:
            print(text, file=self._out.file, flush=True)

    def print_row(self, mark: str, text: Text | str, *, flush: bool = True) -> None:
        """Print a row for good, after those that were held back; or hold it back too. For step lines."""
        text = _style_mark(text, mark) if isinstance(text, str) else text
        with self._lock:
            self._held.append(text)
            if flush:
                for held in self._held:
                    self._out.print(held, soft_wrap=True)
                self._held.clear()

    def close_line(self, line: _Line) -> None:
        """Take a line that has ended out of what is redrawn. For step lines."""
        with self._lock:
            if self._open.get(line.name) is line:
                del self._open[line.name]
            if not self._open:
                self.close()

    def close(self) -> None:
        """End what is redrawn and give the cursor back."""
        with self._lock:
            if self._live:
                self._live.stop()
                self._live = None
                atexit.unregister(self.close)

    def _render(self) -> Text:
        """Called by rich's own thread, which holds rich's lock: taking ours here could lock up both."""
        return Text("\n").join(part for line in list(self._open.values()) for part in line.render())


class _Line:
    def __init__(self, report: TerminalReport, name: str) -> None:
        self.name = name
        self._report = report
        self._start = report.now()
        self._cause = ""
        self._progress = ""
        self._shown: dict[str, tuple[str, float]] = {}

    def show_cause(self, text: str) -> None:
        """Show why the step is not ready yet; without a terminal at most every CAUSE_PAUSE seconds."""
        self._cause = mask_known(text)
        self._say("cause", self._cause, CAUSE_PAUSE)

    def show_progress(self, text: str) -> None:
        """Show the detail below it; without a terminal at most every PROGRESS_PAUSE seconds."""
        self._progress = mask_known(text)
        self._say("progress", self._progress, PROGRESS_PAUSE)

    def show_log(self, text: str) -> None:
        """Show lines that the step printed, with the step's name."""
        for line in mask_known(clean(text)).expandtabs().splitlines():
            self._report.print_row("", Text(f"{'':7}{one_line(self.name)} | {line}", "dim"))

    def end_ready(self, text: str, *, changed: bool) -> None:
        """End the line as ready; it is held back if nothing changed."""
        self._end("ok", text, flush=changed)

    def end_failed(self, text: str) -> None:
        """End the line as failed."""
        self._end("FAIL", text)

    def end_skipped(self, text: str) -> None:
        """End the line as skipped."""
        self._end("skip", text)

    def render(self) -> list[Text]:
        """What is redrawn: the row, and a second one for the detail."""
        width = self._report.width
        lines = [_style_mark(self._format_row("...", self._cause, cut=True), "...")]
        if self._progress:
            detail = terminal_layout.shorten(one_line(self._progress), width - terminal_layout.INDENT)
            lines.append(Text(f"{'':{terminal_layout.INDENT}}{detail}", "dim"))
        return lines

    def _format_row(self, mark: str, text: str, *, cut: bool = False) -> str:
        return terminal_layout.format_row(
            mark, self.name, text, self._report.now() - self._start, self._report.width, cut=cut
        )

    def _end(self, mark: str, text: str, *, flush: bool = True) -> None:
        self._report.close_line(self)
        self._report.print_row(mark, self._format_row(mark, mask_known(text)), flush=flush)

    def _say(self, what: str, text: str, pause: float) -> None:
        """A line of its own where nothing is redrawn; not twice the same, and not too often."""
        if self._report.interactive or not text:
            return
        shown, when = self._shown.get(what, ("", float("-inf")))
        if text != shown and self._report.now() - when >= pause:
            self._shown[what] = (text, self._report.now())
            self._report.print_row("...", self._format_row("...", text))


def _make_console(file: TextIO, environ: Mapping[str, str]) -> Console:
    """Colour and redrawing only on a terminal that can; https://no-color.org is respected."""
    reconfigure = getattr(file, "reconfigure", None)
    if reconfigure:  # a locale without "…" must not end a command
        reconfigure(errors="replace")
    capable = file.isatty() and environ.get("TERM") not in (None, "", "dumb", "unknown")
    return Console(
        file=file,
        force_terminal=capable,
        no_color=bool(environ.get("NO_COLOR")) or not capable,
        highlight=False,
        markup=False,
        emoji=False,
        _environ=dict(environ),
    )


def _style_mark(line: str, mark: str) -> Text:
    text = Text(line)
    at = line.find(mark)
    if mark in _STYLES and at >= 0:
        text.stylize(_STYLES[mark], at, at + len(mark))
    return text


def _mask(value: object) -> str:
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
