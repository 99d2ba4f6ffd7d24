"""Commands that serve until Ctrl-C: the page, and the forward to the webhook listener."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from bootstrap import flows, names
from bootstrap.console.readings import Readings
from bootstrap.console.server import Server
from bootstrap.converge import look
from bootstrap.errors import BootstrapError, Interrupted, PreconditionError
from bootstrap.model import Pending
from bootstrap.text import count
from bootstrap.wait import until
from bootstrap.world import World
from bootstrap.world.forward import Forward, Stats, listen

LISTENER = names.LISTENER
LISTENER_PORT = 8080
LOOK_SECONDS = 2.0


def dashboard(world: World, *, port: int = 0, browse: bool = False) -> int:
    """Serve the page on 127.0.0.1 until Ctrl-C or SIGTERM. port 0: dashboard.port of the settings.

    Raises PreconditionError, naming the holder if it can be found, when the port is taken.
    """
    wanted = port or world.config.dashboard.port
    try:
        socket = listen(wanted)
    except PreconditionError as error:
        raise PreconditionError(error.message, hint=f"invoke dashboard --port {_another(wanted)}") from None
    readings = Readings(world, lambda: look(flows.steps(world), world, world.clock))
    with Server(socket, readings, world.report.warn) as server:
        world.report.line(f"environment {world.config.name}: {server.url}   (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            if browse:
                _browse(world, server.url)
            server.serve_forever()
    world.cancel.request()  # a look may be under way in another thread, with programs of its own
    return 0


def _another(port: int) -> int:
    return port + 1 if port < 65535 else 1024


def _browse(world: World, url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        world.report.warn(f"no browser was found; open {url}")


def listener(world: World, *, port: int = 0) -> int:
    """Forward the webhook listener to 127.0.0.1 until Ctrl-C or SIGTERM. port 0: listener.port of the settings.

    Raises PreconditionError when there is no listener, or the port is taken.
    """
    require_listener(world)
    wanted = port or world.config.listener.port
    forward = Forward(world.kube, names.RUNS, LISTENER, LISTENER_PORT, wanted)
    try:
        forward.start()
    except PreconditionError as error:
        raise PreconditionError(error.message, hint=f"invoke listener --port {_another(wanted)}") from None
    try:
        _supervise(world, forward)
    except (KeyboardInterrupt, Interrupted):
        pass
    finally:
        forward.stop()
    stats = forward.stats
    world.report.line(f"ended after {count(stats.connections, 'connection')}, {stats.dropped} dropped")
    return 0


def require_listener(world: World) -> None:
    """Raises PreconditionError when the environment has none."""
    if world.kube.get("v1", "Service", LISTENER, names.RUNS) is None:
        raise PreconditionError(
            f"environment {world.config.name} has no webhook listener (Service {names.RUNS}/{LISTENER})",
            hint="invoke up · invoke status",
        )


def _supervise(world: World, forward: Forward) -> None:
    """Say what changes, for as long as the command runs."""
    world.report.line(f"http://127.0.0.1:{forward.local_port} leads to {names.RUNS}/{LISTENER}   (Ctrl-C ends it)")
    watch = Watch()

    def probe() -> Pending:
        for line in watch.news(forward.stats, *_pod(forward.choose)):
            world.report.line(line)
        return Pending("")

    until(probe, clock=world.clock, limit=math.inf, what="the listener", every=LOOK_SECONDS)


def _pod(choose: Callable[[], tuple[str, int]]) -> tuple[str, str]:
    """(ready pod, "") or ("", why there is none)."""
    try:
        return choose()[0], ""
    except BootstrapError as error:
        return "", error.message


@dataclass
class Watch:
    """What was said last about the forward, so that only changes are said."""

    pod: str = ""
    why: str = ""
    dropped: int = 0

    def news(self, stats: Stats, pod: str, why: str) -> list[str]:
        """pod: the ready one, "" if none; why: the reason then."""
        lines = []
        if stats.dropped > self.dropped:
            new = count(stats.dropped - self.dropped, "connection")
            lines.append(f"{new} dropped, {stats.dropped} in all: {stats.last_error or 'no cause is known'}")
        if why and why != self.why:
            lines.append(f"waiting: {why}")
        if pod and (pod != self.pod or self.why):
            lines.append(f"reconnected to pod {pod}" if self.pod else f"connected to pod {pod}")
        self.pod, self.why, self.dropped = pod or self.pod, why, stats.dropped
        return lines
