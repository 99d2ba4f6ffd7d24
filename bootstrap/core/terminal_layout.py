"""Plain lines for the terminal: rows of steps, tables, errors. `world.terminal` adds colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from bootstrap.core.errors import BootstrapError, Fault, Interrupted, UsageError
from bootstrap.core.text import format_count, format_duration
from bootstrap.incluster.text import clean, one_line

NAME_WIDTH = 12
INDENT = 9
"""Columns that the lines below a row are moved to the right."""


def format_row(mark: str, name: str, text: str, seconds: float, width: int, *, cut: bool = False) -> str:
    """ "  ok   registry    push and pull proved            2 s". cut: shorten `text` so that all fits `width`.

    `text` loses its middle: a cause names the object first and the reason last, and the reason matters most.
    """
    head = f"  {mark:<4} {one_line(name):<{NAME_WIDTH - 1}} "
    tail = format_duration(seconds)
    text = one_line(text)
    room = width - len(head) - len(tail) - 2
    if cut:
        text = _shorten_middle(text, room)
    return f"{head}{text:<{max(room, 0)}}  {tail}"


def shorten(text: str, room: int) -> str:
    """The text, or its beginning and an ellipsis: at most `room` characters."""
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"


def _shorten_middle(text: str, room: int) -> str:
    """The text without its middle, at most `room` characters: "Deployment tekton-…ines-controller: 0 of 1 pods"."""
    if len(text) <= room or room < 2:
        return shorten(text, room)
    start = room // 3
    return f"{text[:start]}…{text[start + 1 - room :]}"


def format_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns, two spaces apart; a header unless every column's name is empty."""
    cells = [[one_line(cell) for cell in line] for line in ([columns] if any(columns) else [])]
    cells += [[one_line(cell) for cell in line] for line in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{size}}" for cell, size in zip(line, widths, strict=True)).rstrip() for line in cells]


def fit_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> list[list[str]]:
    """The rows of a table with the widest cells shortened, until it has at most `width` columns.

    The first column stays whole: its words are what one types next. No column gets narrower than its name.
    """
    cells = [[one_line(cell) for cell in line] for line in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for _ in range(sum(widths) + 2 * (len(widths) - 1) - width):
        widest = max(range(1, len(widths)), key=lambda each: widths[each] * (widths[each] > len(columns[each])))
        widths[widest] = max(widths[widest] - 1, len(columns[widest]))
    return [[shorten(cell, size) for cell, size in zip(line, widths, strict=True)] for line in cells]


def format_error(failure: BaseException) -> Iterator[str]:
    """The lines of a failure: its cause, then the evidence, then the next command to type."""
    if isinstance(failure, UsageError) and failure.faults:
        yield from format_faults(failure.faults)
    elif isinstance(failure, Interrupted):
        yield one_line(failure.message)
    else:
        words = one_line(str(failure))
        yield f"error: {words}" if isinstance(failure, BootstrapError) else f"error: {type(failure).__name__}: {words}"
    if isinstance(failure, BootstrapError):
        yield from (f"{'':{INDENT}}{line}" for line in clean(failure.evidence).expandtabs().splitlines())
        yield from [f"  next: {one_line(failure.hint)}"] if failure.hint else []


def format_faults(found: Iterable[Fault]) -> Iterator[str]:
    """The lines of faults, grouped by file, variable or flag; a single fault without a line needs no header."""
    ordered = sorted(found, key=lambda fault: (not fault.line, fault.where, fault.line))
    for where, group in groupby(ordered, key=lambda fault: one_line(fault.where)):
        faulty = list(group)
        if len(faulty) == 1 and not faulty[0].line:
            yield f"{where}: {one_line(faulty[0].text)}"
            continue
        yield f"{where}: {format_count(len(faulty), 'fault')}"
        width = max(len(str(fault.line)) for fault in faulty)
        for fault in faulty:
            yield f"  line {fault.line:<{width}}  {one_line(fault.text)}" if fault.line else f"  {one_line(fault.text)}"
