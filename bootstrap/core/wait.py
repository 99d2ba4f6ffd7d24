"""The only loop that sleeps: ask, wait, ask again, until an answer or the limit."""

from __future__ import annotations

from collections.abc import Callable

from bootstrap.core.clock import Clock
from bootstrap.core.errors import TimedOut
from bootstrap.core.model import Failed, Pending, Ready, Unknown, Verdict


def until(
    probe: Callable[[], Verdict],
    *,
    clock: Clock,
    limit: float,
    what: str,
    every: float = 0.5,
    on_change: Callable[[Pending | Unknown], None] = lambda _: None,
) -> Ready | Failed:
    """Ask `probe` every `every` seconds until it answers Ready or Failed.

    `on_change` hears each new cause once, for the live line. `what` names the thing waited for.
    Raises TimedOut after `limit` seconds, with the last cause as evidence.
    """
    end = clock.now() + limit
    last: Verdict | None = None
    while True:
        verdict = probe()
        if isinstance(verdict, Ready | Failed):
            return verdict
        if verdict != last:
            on_change(verdict)
            last = verdict
        if clock.now() >= end:
            raise TimedOut(f"{what} was not ready within {limit:g} s", evidence=verdict.why)
        clock.sleep(min(every, max(0.0, end - clock.now())))
