"""Ports of this machine that a command serves on."""

from __future__ import annotations

import errno
import socket

from bootstrap.core.errors import PreconditionError
from bootstrap.world import host


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A socket that listens on a TCP port. host: an address or name of this machine.

    Raises PreconditionError if it cannot be had, with the process that has the port where that can be found.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(64)
    except OSError as error:
        sock.close()
        raise PreconditionError(_refusal(port, error), hint="choose another port in invoke.yaml or by --port") from None
    return sock


def _refusal(port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"port {port} cannot be listened on: {(error.strerror or 'refused').lower()}"
    number, argv = host.find_listener(port) or (0, [])
    if not number:
        return f"port {port} is taken"
    return f"port {port} is taken by process {number}" + (f" ({argv[0].rpartition('/')[2]})" if argv else "")


def propose_port(port: int) -> int:
    """The port to propose when `port` is taken."""
    return port + 1 if port < 65535 else 1024
