"""The environment of a session is made by commands that are ended on the way, and by two at once at last."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.world.shell import STOP_GRACE
from tests.e2e.footprint import processes_of
from tests.e2e.product import Answer, Product

ENDS = (
    ("ok   registry", 0, signal.SIGKILL),
    ("...  cluster", 1, signal.SIGKILL),
    ("...  cluster", 8, signal.SIGTERM),
    ("...  tekton", 1, signal.SIGKILL),
)
"""What a command has said, the seconds after that, and the signal that ends it."""
BUILD_LIMIT = 1800
"""Seconds that the first may take until the registry runs: with cold caches it builds all images before."""
GRACE = 2 * STOP_GRACE + 5
"""Seconds that the guard of a killed command may take: SIGTERM, its grace, SIGKILL; and some for a busy machine."""


@dataclass(frozen=True)
class BringUp:
    """ended: the commands of ENDS. strays: programs that outlived them. last: of two at once, the one that began
    first. beside: the one that waited for it.
    """

    ended: Sequence[Answer]
    strays: Sequence[str]
    last: Answer
    beside: Answer

    @property
    def out(self) -> str:
        """What all of them said, in order."""
        return "".join(each.out for each in (*self.ended, self.last, self.beside))


def bring_up(product: Product) -> BringUp:
    """Each goes on from where the one before it was ended, at once, while what that one began may still end."""
    ended = [_end_up(product, *each) for each in ENDS]
    strays = _strays_after(product.name, GRACE)
    with product.running("up") as first:
        first.until_said("...")
        beside = product.run("up", limit=900)
        last = first.end(600)
    return BringUp(ended, strays, last, beside)


def _end_up(product: Product, words: str, seconds: float, number: signal.Signals) -> Answer:
    with product.running("up") as command:
        command.until_said(words, limit=BUILD_LIMIT)
        time.sleep(seconds)
        command.signal(number)
        return command.end(30)


def _strays_after(name: str, seconds: float) -> list[str]:
    """What is left after `seconds`; looked at until nothing is."""
    end = time.monotonic() + seconds
    while (found := _list_strays(name)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _list_strays(name: str) -> list[str]:
    """Programs of ours that outlived their command. What runs in containers belongs to those."""
    return [
        words for _, words in processes_of(name) if Path(words.split()[0]).name in ("kind", "docker", "crane", "python")
    ]
