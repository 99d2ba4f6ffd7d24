"""The door to "is it there?": asks web servers side by side, each for a moment only."""

from __future__ import annotations

import functools
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import TypeVar

T = TypeVar("T")


def ask(url: str, limit: float) -> int:
    """HTTP status of a GET through the proxy of the environment, if any; 0 if nothing answered."""
    try:
        with urllib.request.urlopen(url, timeout=limit) as answer:  # noqa: S310 - urls are data of ours or of tools
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, HTTPException, ValueError):
        return 0


def ask_here(port: int, path: str, limit: float) -> int:
    """HTTP status of a GET to a port of this machine, whatever proxy is set; 0 if nothing answered."""
    connection = HTTPConnection("127.0.0.1", port, timeout=limit)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def connects(host: str, port: int, limit: float) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), timeout=limit):
            return True
    except (OSError, UnicodeError):
        return False


def resolves(name: str) -> int:
    """1 if DNS, or the hosts file, knows the name; else 0."""
    try:
        return int(bool(socket.getaddrinfo(name, 443)))
    except (OSError, UnicodeError):
        return 0


def side_by_side(probe: Callable[[str], int], subjects: Iterable[str], limit: float) -> dict[str, int]:
    """What `probe` says of each subject; 0 for those that did not answer within `limit` seconds altogether."""
    return all_within({subject: functools.partial(probe, subject) for subject in subjects}, limit, late=0)


def all_within(probes: Mapping[str, Callable[[], T]], limit: float, *, late: T) -> dict[str, T]:
    """What each probe says, all asked at once; `late` for those that did not answer within `limit` seconds.

    Threads are daemons: a name server that never answers must not hold the command's end.
    """
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
