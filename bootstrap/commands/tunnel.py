"""`invoke tunnel`: webhooks come in by a host that the git host can reach, over a reverse tunnel of ssh."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

from bootstrap.commands import ssh_client
from bootstrap.commands.listener import LISTENER, LISTENER_PORT, require_listener
from bootstrap.commands.ssh_client import RemotePort, SshLogin
from bootstrap.core import constants
from bootstrap.core.errors import CommandError, Interrupted, PreconditionError, TimedOut, UsageError
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.text import format_count, format_duration
from bootstrap.core.wait import until
from bootstrap.world import World
from bootstrap.world.kube.service_forward import Forward, Stats
from bootstrap.world.shell import Process, run_in_background

PAUSES = (1, 2, 5, 10, 20, 30)
"""Seconds before ssh is started again; the last one repeats."""
LOOKS = (1, 2, 4, 8, 15, 30)
"""Seconds between two looks from the far side, each of them a login, until one of them gets an answer."""
PATIENCE = 3
"""Looks without an answer before that is said."""
LOOK_LIMIT = 60.0


def tunnel(world: World, *, to: str, port: int = 9080, ssh_port: int = 0, identity: str = "", config: str = "") -> int:
    """Port `port` of the host leads to the listener, until Ctrl-C or SIGTERM.

    Raises UsageError for a login that is none; PreconditionError when there is no listener, no ssh, or the first
    connection fails; later ones are tried again unless the host refuses us.
    """
    login = SshLogin(to, ssh_port, _resolve_file("--identity", identity), _resolve_file("--config", config))
    if not world.shell.which("ssh"):
        raise PreconditionError("the program ssh was not found", hint="apt-get install openssh-client")
    require_listener(world)
    with Forward(world.kube, constants.RUNS, LISTENER, LISTENER_PORT, 0) as forward:
        world.report.line(f"connecting to {login.to}   (Ctrl-C ends it)")
        try:
            _supervise(world, login, port, forward)
        except (KeyboardInterrupt, Interrupted):
            world.report.line(f"ended after {format_count(forward.stats.connections, 'connection')}")
    return 0


def _resolve_file(flag: str, name: str) -> str:
    """The absolute path of a file that a flag names, "" for none. Raises UsageError."""
    if not name:
        return ""
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"{flag}: there is no file {name}")
    return str(path)


def _supervise(world: World, login: SshLogin, far: int, forward: Forward) -> None:
    """Start ssh, and again whenever it ends; never returns. Raises PreconditionError when there is no point in that."""
    held, pauses = False, iter(PAUSES)
    while True:
        with run_in_background(world.shell, login.make_reverse_command(far, forward.local_port)) as process:
            if _watch(world, login, far, process, forward.stats):
                held, pauses = True, iter(PAUSES)
        refusal = ssh_client.explain_refusal(process.read_tail(), login, far)
        if refusal.lasting or not held:
            raise PreconditionError(refusal.message, hint=refusal.hint)
        pause = next(pauses, PAUSES[-1])
        world.report.line(f"lost: {refusal.message}; again in {format_duration(pause)}")
        world.clock.sleep(pause)


def _watch(world: World, login: SshLogin, far: int, process: Process, stats: Stats) -> bool:
    """Say how the far host sees the port, and wait until ssh ends. Whether the tunnel ever held.

    An answer counts if it came by us: where sshd gets the port of one loopback address only, another program may have
    that of the other. Raises PreconditionError then.
    """
    for number, pause in enumerate(itertools.chain(LOOKS, itertools.repeat(LOOKS[-1])), start=1):
        before = stats.connections
        view, why = _check_port(world, login, far)
        if not process.is_alive():
            return False
        by_us = stats.connections > before
        if view.status and by_us:
            for line in describe_port(login, far, view):
                world.report.line(line)
            break
        if view.tool and not by_us and (view.status or number >= PATIENCE):
            refusal = ssh_client.explain_taken_port(login, far)
            raise PreconditionError(refusal.message, hint=refusal.hint)
        if why and number >= PATIENCE:
            world.report.warn(f"the tunnel stands, but from {login.host} it cannot be checked: {why}")
            break
        if number == PATIENCE:
            world.report.warn(f"port {far} of {login.host} does not answer yet; is the listener ready? invoke status")
        world.clock.sleep(pause)
        if not process.is_alive():
            return number >= PATIENCE

    def look() -> Verdict:
        return Pending("") if process.is_alive() else Ready()

    until(look, clock=world.clock, limit=math.inf, what="ssh", every=0.5)
    return True


def _check_port(world: World, login: SshLogin, far: int) -> tuple[RemotePort, str]:
    """The port as the remote host sees it, and why that is not known, "" if it is."""
    try:
        printed = world.shell.run(login.make_check_command(far), stdin=ssh_client.CHECK, limit=LOOK_LIMIT).stdout
    except CommandError as error:
        return RemotePort(), error.evidence.rpartition("\n")[2] or error.message
    except TimedOut as error:
        return RemotePort(), error.message
    view = ssh_client.parse_check(printed)
    return view, "" if view.tool else "it has neither curl, python3, bash nor nc, or gives no shell"


def describe_port(login: SshLogin, far: int, view: RemotePort) -> list[str]:
    """The lines about a remote port that answers."""
    leads = (
        f"{login.host}:{far} leads to {constants.RUNS}/{LISTENER}: HTTP {view.status}, asked from there by {view.tool}"
    )
    if view.open_to == "all":
        return [leads, f"enter at the git host: http://{login.host}:{far}/   (if no firewall is before it)"]
    if view.open_to == "unknown":
        return [leads, f"whether others reach port {far} of {login.host} cannot be told from there; try it"]
    return [
        leads,
        f"only {login.host} itself reaches it. Either put its web server before it (that gives you https too),",
        "or set `GatewayPorts clientspecified` in its /etc/ssh/sshd_config, reload sshd, and start this again",
    ]
