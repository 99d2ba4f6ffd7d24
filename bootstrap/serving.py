"""Commands that serve until Ctrl-C: the page, and the forward to the webhook listener."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap import names
from bootstrap.errors import BootstrapError, Interrupted, PreconditionError
from bootstrap.model import Pending
from bootstrap.text import count
from bootstrap.wait import until
from bootstrap.world import World
from bootstrap.world.listening import listen

if TYPE_CHECKING:
    from bootstrap.console.server import Console
    from bootstrap.converge import Outcome
    from bootstrap.world.forward import Forward, Stats

LISTENER = names.LISTENER
LISTENER_PORT = 8080
TEKTON_DASHBOARD, TEKTON_DASHBOARD_PORT = "tekton-dashboard", 9097
LOOK_SECONDS = 2.0
JOIN_SECONDS = 1.0
"""That whatever runs beside the console is given to end."""
FURTHER = 20
"""Ports after that of the settings that the console tries."""


def dashboard(world: World, *, port: int = 0, browse: bool = False) -> int:
    """Serve the console until Ctrl-C or SIGTERM. port 0: dashboard.port of the settings, or the next one that is free.

    Raises PreconditionError, naming the holder if it can be found, when a port that was asked for is taken.
    """
    sock = _listen(world, port)
    from bootstrap.console.server import Console  # after the port is held: loading it takes a moment

    console = Console(world, sock, lambda: _look(world))
    url = console.url
    world.report.line(f"environment {world.config.name}: {url}   (Ctrl-C ends it)")
    # A browser takes its time to start, and an API server that does not answer must not keep the page away.
    aside = [lambda ended: _link(world, console, ended)]
    if browse:
        aside.append(lambda _: _browse(world, url))
    with contextlib.suppress(KeyboardInterrupt), _meanwhile(aside):
        console.serve()
    world.cancel.request()  # a look may be under way in another thread, with programs of its own
    return 0


@contextlib.contextmanager
def _meanwhile(works: Iterable[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Do those in threads of their own while the block runs; the event tells them when it has ended."""
    ended = threading.Event()
    threads = [threading.Thread(target=each, args=(ended,), daemon=True) for each in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(JOIN_SECONDS)


def _link(world: World, console: Console, ended: threading.Event) -> None:
    console.feed.settle()  # the runs come first
    try:
        with tekton_dashboard(world) as address:
            if address:
                console.links["Tekton Dashboard"] = address
                ended.wait()
    except BootstrapError as error:
        world.report.warn(error.message)


@contextlib.contextmanager
def tekton_dashboard(world: World) -> Iterator[str]:
    """The address on 127.0.0.1 that leads to Tekton Dashboard as long as the block runs; "" if there is none.

    Its port is dashboard.tekton_port, or a free one if that is taken, which is said.
    """
    try:
        there = world.kube.get("v1", "Service", TEKTON_DASHBOARD, names.TEKTON) is not None
    except BootstrapError:  # the page itself says what is wrong with the cluster
        there = False
    if not there:
        yield ""
        return
    from bootstrap.world.forward import Forward

    forward = Forward(
        world.kube, names.TEKTON, TEKTON_DASHBOARD, TEKTON_DASHBOARD_PORT, world.config.dashboard.tekton_port
    )
    try:
        forward.start()
    except PreconditionError as error:
        world.report.warn(f"{error.message}; Tekton Dashboard takes another")
        forward = Forward(world.kube, names.TEKTON, TEKTON_DASHBOARD, TEKTON_DASHBOARD_PORT, 0)
        forward.start()
    try:
        address = f"http://127.0.0.1:{forward.local_port}"
        world.report.line(f"Tekton Dashboard, which only reads: {address}")
        yield address
    finally:
        forward.stop()


def _look(world: World) -> list[Outcome]:
    """Check every step. What that needs is loaded by the first look."""
    from bootstrap import flows
    from bootstrap.converge import look

    return look(flows.steps(world), world, world.clock)


def _listen(world: World, port: int) -> socket.socket:
    """On the port that was asked for, else on that of the settings or the next one that is free, which is said."""
    wanted, host = port or world.config.dashboard.port, world.config.dashboard.host.strip("[]")
    try:
        return listen(wanted, host)
    except PreconditionError as error:
        if port or not wanted:
            raise PreconditionError(error.message, hint=f"invoke dashboard --port {_another(wanted)}") from None
        taken = error
    for number in range(wanted + 1, min(wanted + 1 + FURTHER, 65536)):
        with contextlib.suppress(PreconditionError):
            found = listen(number, host)
            world.report.line(f"{taken.message}; the console takes {number}")
            return found
    raise PreconditionError(taken.message, hint=f"invoke dashboard --port {_another(wanted + FURTHER)}")


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
    from bootstrap.world.forward import Forward  # not before: the console is to be there at once

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
