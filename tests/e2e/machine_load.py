"""What the machine did while a test ran: a test that is slow for want of a processor or a disk says so by itself.

From /proc/stat and /proc/pressure (Documentation/filesystems/proc.rst and accounting/psi.rst of Linux).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BUSY, IOWAIT, STOLEN = (0, 1, 2, 5, 6), 4, 7
"""Columns of the line `cpu`: user, nice, system, irq and softirq; waiting for a disk; another machine's."""


@dataclass(frozen=True)
class Reading:
    """seconds: of the clock. cpu: seconds of all processors, by column. io, memory: seconds in which something waited
    for a disk, or for memory; 0 where the kernel does not tell.
    """

    seconds: float
    cpu: tuple[float, ...]
    io: float
    memory: float


@dataclass(frozen=True)
class Load:
    """Of a span of time. All but seconds: percent of it, of all processors together."""

    seconds: float
    busy: float
    iowait: float
    stolen: float
    io: float
    memory: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:7.1f} s  processors {self.busy:3.0f} % busy, {self.iowait:.0f} % waiting for a disk, "
            f"{self.stolen:.0f} % stolen; waited for: disk {self.io:.0f} %, memory {self.memory:.0f} %"
        )


def read_load(proc: Path = Path("/proc")) -> Reading:
    """What the counters say now. proc: where the kernel's files are. Raises OSError without /proc/stat."""
    ticks = os.sysconf("SC_CLK_TCK")
    [line] = [each for each in (proc / "stat").read_text().splitlines() if each.startswith("cpu ")]
    cpu = tuple(int(each) / ticks for each in line.split()[1:9])
    return Reading(
        time.monotonic(), cpu, _read_pressure(proc / "pressure/io"), _read_pressure(proc / "pressure/memory")
    )


def _read_pressure(file: Path) -> float:
    """Seconds of the line `some`."""
    try:
        [line] = [each for each in file.read_text().splitlines() if each.startswith("some ")]
    except OSError:
        return 0.0
    return int(line.rpartition("total=")[2]) / 1e6


def compute_load(before: Reading, after: Reading) -> Load:
    """What was done between two readings."""
    spent = [b - a for a, b in zip(before.cpu, after.cpu, strict=True)]
    of_all, seconds = sum(spent) or 1.0, after.seconds - before.seconds

    def share(value: float) -> float:
        return 100 * value / (seconds or 1.0)

    return Load(
        seconds,
        100 * sum(spent[column] for column in BUSY) / of_all,
        100 * spent[IOWAIT] / of_all,
        100 * spent[STOLEN] / of_all,
        share(after.io - before.io),
        share(after.memory - before.memory),
    )


def describe_slowest(loads: Sequence[tuple[str, Load]], count: int) -> list[str]:
    """Lines for people: the slowest tests, the slowest first. loads: names and what the machine did meanwhile."""
    slowest = sorted(loads, key=lambda each: -each[1].seconds)[:count]
    return [f"{load}  {name}" for name, load in slowest]
