"""`invoke listener`: forwards the webhook listener to a port of this machine until Ctrl-C."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, Interrupted, PreconditionError
from bootstrap.core.model import Pending
from bootstrap.core.text import format_count
from bootstrap.core.wait import until
from bootstrap.world import World
from bootstrap.world.listen import propose_port

if TYPE_CHECKING:
    from bootstrap.world.kube.service_forward import Forward, Stats

LISTENER = constants.LISTENER
LISTENER_PORT = 8080
LOOK_SECONDS = 2.0


def listener(world: World, *, port: int = 0) -> int:
    """Forward the webhook listener to 127.0.0.1 until Ctrl-C or SIGTERM. port 0: listener.port of the settings.

    Raises PreconditionError when there is no listener, or the port is taken.
    """
    require_listener(world)
    from bootstrap.world.kube.service_forward import Forward  # not before: the console is to be there at once

    wanted = port or world.config.listener.port
    forward = Forward(world.kube, constants.RUNS, LISTENER, LISTENER_PORT, wanted)
    try:
        forward.start()
    except PreconditionError as error:
        raise PreconditionError(error.message, hint=f"invoke listener --port {propose_port(wanted)}") from None
    try:
        _supervise(world, forward)
    except (KeyboardInterrupt, Interrupted):
        pass
    finally:
        forward.stop()
    stats = forward.stats
    world.report.line(f"ended after {format_count(stats.connections, 'connection')}, {stats.dropped} dropped")
    return 0


def require_listener(world: World) -> None:
    """Raises PreconditionError when the environment has none."""
    if world.kube.get("v1", "Service", LISTENER, constants.RUNS) is None:
        raise PreconditionError(
            f"environment {world.config.name} has no webhook listener (Service {constants.RUNS}/{LISTENER})",
            hint="invoke up · invoke status",
        )


def _supervise(world: World, forward: Forward) -> None:
    """Say what changes, for as long as the command runs."""
    world.report.line(f"http://127.0.0.1:{forward.local_port} leads to {constants.RUNS}/{LISTENER}   (Ctrl-C ends it)")
    watch = ForwardWatch()

    def probe() -> Pending:
        for line in watch.list_changes(forward.stats, *_choose_pod(forward.choose_pod)):
            world.report.line(line)
        return Pending("")

    until(probe, clock=world.clock, limit=math.inf, what="the listener", every=LOOK_SECONDS)


def _choose_pod(choose: Callable[[], tuple[str, int]]) -> tuple[str, str]:
    """(ready pod, "") or ("", why there is none)."""
    try:
        return choose()[0], ""
    except BootstrapError as error:
        return "", error.message


@dataclass
class ForwardWatch:
    """Remembers what was printed about the forward, so that only changes are printed."""

    pod: str = ""
    why: str = ""
    dropped: int = 0

    def list_changes(self, stats: Stats, pod: str, why: str) -> list[str]:
        """The lines about what has changed. pod: the ready one, "" if none; why: the reason then."""
        lines = []
        if stats.dropped > self.dropped:
            new = format_count(stats.dropped - self.dropped, "connection")
            lines.append(f"{new} dropped, {stats.dropped} in all: {stats.last_error or 'no cause is known'}")
        if why and why != self.why:
            lines.append(f"waiting: {why}")
        if pod and (pod != self.pod or self.why):
            lines.append(f"reconnected to pod {pod}" if self.pod else f"connected to pod {pod}")
        self.pod, self.why, self.dropped = pod or self.pod, why, stats.dropped
        return lines
