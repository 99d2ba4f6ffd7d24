"""The adapter for "is it there?": asks web servers side by side, each for a moment only. Limits are in seconds."""

from __future__ import annotations

import functools
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from bootstrap.world import http_client

T = TypeVar("T")


def read_status(url: str, limit: float) -> int:
    """HTTP status of a GET through the proxy of the environment, if any; 0 if nothing answered."""
    return _request_status(url, limit, proxies=True)


def read_local_status(port: int, path: str, limit: float) -> int:
    """HTTP status of a GET to a port of this machine, whatever proxy is set; 0 if nothing answered."""
    return _request_status(f"http://127.0.0.1:{port}{path}", limit, proxies=False)


def _request_status(url: str, limit: float, *, proxies: bool) -> int:
    try:
        return http_client.request("GET", url, limit, proxies=proxies, follow=proxies, limit=0).status
    except OSError:
        return 0


def read_certificate(host: str, port: int, tls: ssl.SSLContext, limit: float) -> bytes:
    """The certificate that a server shows, in DER. tls: how it is verified. Raises OSError; ssl.SSLError is one."""
    with (
        socket.create_connection((host, port), timeout=limit) as plain,
        tls.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def accepts_connections(host: str, port: int, limit: float) -> bool:
    """Whether something listens on the TCP port."""
    try:
        with socket.create_connection((host, port), timeout=limit):
            return True
    except (OSError, UnicodeError):
        return False


def resolves(name: str) -> int:
    """1 if DNS, or the hosts file, knows the name; else 0. A number, so that it can be used in `probe_all`."""
    try:
        return int(bool(socket.getaddrinfo(name, 443)))
    except (OSError, UnicodeError):
        return 0


def probe_all(probe: Callable[[str], int], subjects: Iterable[str], limit: float) -> dict[str, int]:
    """What `probe` says of each subject; 0 for those that did not answer within `limit` seconds altogether."""
    return run_probes({subject: functools.partial(probe, subject) for subject in subjects}, limit, late=0)


def run_probes(probes: Mapping[str, Callable[[], T]], limit: float, *, late: T) -> dict[str, T]:
    """What each probe says, all asked at once; `late` for those that did not answer within `limit` seconds.

    Threads are daemons: a name server that never answers must not hold the command's end.
    """
    http_client.load_library()  # takes none of the probes' time
    answers = dict.fromkeys(probes, late)
    arrived: queue.SimpleQueue[tuple[str, T]] = queue.SimpleQueue()
    for name, probe in probes.items():
        threading.Thread(target=lambda n=name, p=probe: arrived.put((n, p())), daemon=True).start()
    end = time.monotonic() + limit
    for _ in answers:
        try:
            name, answer = arrived.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        answers[name] = answer
    return answers
