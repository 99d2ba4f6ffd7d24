"""How things look at the terminal, as plain lines: rows of steps, tables, errors. Colour comes on top."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from bootstrap.core.errors import BootstrapError, Fault, Interrupted, UsageError
from bootstrap.core.text import count, duration
from bootstrap.incluster.text import clean, one_line

NAME_WIDTH = 12
INDENT = 9
"""Of what stands below a row."""


def row(mark: str, name: str, text: str, seconds: float, width: int, *, cut: bool = False) -> str:
    """ "  ok   registry    push and pull proved            2 s". cut: shorten `text` so that all fits `width`.

    Its end stays, for there a cause says what is the matter; what it is the matter with stands in the middle.
    """
    head = f"  {mark:<4} {one_line(name):<{NAME_WIDTH - 1}} "
    tail = duration(seconds)
    text = one_line(text)
    room = width - len(head) - len(tail) - 2
    if cut:
        text = _shortened_within(text, room)
    return f"{head}{text:<{max(room, 0)}}  {tail}"


def shortened(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"


def _shortened_within(text: str, room: int) -> str:
    """ "Deployment tekton-…ines-controller: 0 of 1 pods available"."""
    if len(text) <= room or room < 2:
        return shortened(text, room)
    start = room // 3
    return f"{text[:start]}…{text[start + 1 - room :]}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns, two spaces apart; a header unless every column's name is empty."""
    cells = [[one_line(cell) for cell in line] for line in ([columns] if any(columns) else [])]
    cells += [[one_line(cell) for cell in line] for line in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{size}}" for cell, size in zip(line, widths, strict=True)).rstrip() for line in cells]


def error(failure: BaseException) -> Iterator[str]:
    """Cause, evidence, hint."""
    if isinstance(failure, UsageError) and failure.faults:
        yield from faults(failure.faults)
    elif isinstance(failure, Interrupted):
        yield one_line(failure.message)
    else:
        words = one_line(str(failure))
        yield f"error: {words}" if isinstance(failure, BootstrapError) else f"error: {type(failure).__name__}: {words}"
    if isinstance(failure, BootstrapError):
        yield from (f"{'':{INDENT}}{line}" for line in clean(failure.evidence).expandtabs().splitlines())
        yield from [f"  next: {one_line(failure.hint)}"] if failure.hint else []


def faults(found: Iterable[Fault]) -> Iterator[str]:
    """Grouped by file, variable or flag; a single one without a line needs no header."""
    ordered = sorted(found, key=lambda fault: (not fault.line, fault.where, fault.line))
    for where, group in groupby(ordered, key=lambda fault: one_line(fault.where)):
        faulty = list(group)
        if len(faulty) == 1 and not faulty[0].line:
            yield f"{where}: {one_line(faulty[0].text)}"
            continue
        yield f"{where}: {count(len(faulty), 'fault')}"
        width = max(len(str(fault.line)) for fault in faulty)
        for fault in faulty:
            yield f"  line {fault.line:<{width}}  {one_line(fault.text)}" if fault.line else f"  {one_line(fault.text)}"
