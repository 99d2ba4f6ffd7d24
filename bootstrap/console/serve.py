"""`invoke dashboard`: serves the console until Ctrl-C, and Tekton Dashboard beside it where there is one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, PreconditionError
from bootstrap.world import World
from bootstrap.world.listen import listen, propose_port

if TYPE_CHECKING:
    from bootstrap.console.server import Console
    from bootstrap.steps.reconcile import Outcome

TEKTON_DASHBOARD, TEKTON_DASHBOARD_PORT = "tekton-dashboard", 9097
JOIN_SECONDS = 1.0
"""How long the command waits, at its end, for each thread that runs beside the console."""
FURTHER = 20
"""How many ports after the configured one are tried."""


def dashboard(world: World, *, port: int = 0, browse: bool = False) -> int:
    """`invoke dashboard`: serve the console until Ctrl-C or SIGTERM; returns the exit code.

    port: the one to listen on; 0 for dashboard.port of the settings, or the next one that is free. browse: open the
    address in a browser. Raises PreconditionError if a port that was asked for is taken; the message names the process
    that has it, if that can be found.
    """
    world = world.for_looking()  # an open page must not make anew what `down` has just deleted
    sock = _open_socket(world, port)
    from bootstrap.console.server import Console  # after the port is held: loading it takes a moment

    console = Console(world, sock, lambda: _check_steps(world))
    url = console.url
    world.report.line(f"environment {world.config.name}: {url}   (Ctrl-C ends it)")
    # A browser takes its time to start, and an API server that does not answer must not keep the page away.
    aside = [lambda ended: _link_tekton_dashboard(world, console, ended)]
    if browse:
        aside.append(lambda _: _open_browser(world, url))
    with contextlib.suppress(KeyboardInterrupt), _run_beside(aside):
        console.serve()
    world.cancel.request()  # a look may be under way in another thread, with programs of its own
    return 0


@contextlib.contextmanager
def _run_beside(actions: Iterable[Callable[[threading.Event], None]]) -> Iterator[None]:
    """Call each action in a thread of its own while the block runs; the event is set when the block has ended."""
    ended = threading.Event()
    threads = [threading.Thread(target=each, args=(ended,), daemon=True) for each in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(JOIN_SECONDS)


def _link_tekton_dashboard(world: World, console: Console, ended: threading.Event) -> None:
    console.watch_cache.wait_until_settled()  # the runs come first
    try:
        with forward_tekton_dashboard(world) as address:
            if address:
                console.links["Tekton Dashboard"] = address
                ended.wait()
    except BootstrapError as error:
        world.report.warn(error.message)


@contextlib.contextmanager
def forward_tekton_dashboard(world: World) -> Iterator[str]:
    """Forward a local port to Tekton Dashboard while the block runs; gives its address, "" if it is not installed.

    The port is dashboard.tekton_port, or a free one if that is taken, of which the user is told.
    """
    try:
        there = world.kube.get("v1", "Service", TEKTON_DASHBOARD, constants.TEKTON) is not None
    except BootstrapError:  # the page itself says what is wrong with the cluster
        there = False
    if not there:
        yield ""
        return
    from bootstrap.world.kube.service_forward import Forward

    forward = Forward(
        world.kube, constants.TEKTON, TEKTON_DASHBOARD, TEKTON_DASHBOARD_PORT, world.config.dashboard.tekton_port
    )
    try:
        forward.start()
    except PreconditionError as error:
        world.report.warn(f"{error.message}; Tekton Dashboard takes another")
        forward = Forward(world.kube, constants.TEKTON, TEKTON_DASHBOARD, TEKTON_DASHBOARD_PORT, 0)
        forward.start()
    try:
        address = f"http://127.0.0.1:{forward.local_port}"
        world.report.line(f"Tekton Dashboard, which only reads: {address}")
        yield address
    finally:
        forward.stop()


def _check_steps(world: World) -> list[Outcome]:
    """Check every step. The modules that this needs are imported by the first call."""
    from bootstrap.steps import graph
    from bootstrap.steps.reconcile import check_steps

    return check_steps(graph.list_steps(world), world, world.clock)


def _open_socket(world: World, port: int) -> socket.socket:
    """Listen on `port`, or for 0 on that of the settings or the next one that is free, of which the user is told.

    Raises PreconditionError if `port`, or every port that was tried, is taken.
    """
    wanted, host = port or world.config.dashboard.port, world.config.dashboard.host.strip("[]")
    try:
        return listen(wanted, host)
    except PreconditionError as error:
        if port or not wanted:
            raise PreconditionError(error.message, hint=f"invoke dashboard --port {propose_port(wanted)}") from None
        taken = error
    for number in range(wanted + 1, min(wanted + 1 + FURTHER, 65536)):
        with contextlib.suppress(PreconditionError):
            sock = listen(number, host)
            world.report.line(f"{taken.message}; the console takes {number}")
            return sock
    raise PreconditionError(taken.message, hint=f"invoke dashboard --port {propose_port(wanted + FURTHER)}")


def _open_browser(world: World, url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        world.report.warn(f"no browser was found; open {url}")
