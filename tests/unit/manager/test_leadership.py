"""Only the manager that holds the Lease acts, and it ends when it cannot say any more that it does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.lease_holder import LeaseHolder
from bootstrap.manager import leadership
from bootstrap.manager.leadership import Leadership
from tests.unit.incluster.lease_server import LeaseServer, make_lease

AWAY = ApiFailure(0, "the API does not answer (TimeoutError)")


@pytest.fixture(autouse=True)
def _hasten(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fraction of every time."""
    monkeypatch.setattr(leadership, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(leadership, "RENEWED_WITHIN", 0.6)
    caplog.set_level(logging.INFO, "manager")


class Place:
    """A manager called me. ended: why it ended itself."""

    def __init__(self, server: LeaseServer | None = None) -> None:
        self.server = server or LeaseServer()
        self.ended: list[str] = []
        self.over = threading.Event()
        # so short that one who does not renew has lost it soon
        holder = LeaseHolder(self.server, "ns", "x", "me", 15, lambda: time.monotonic() * 100)
        self.leadership = Leadership(holder, end=self.end)

    def end(self, why: str) -> None:
        self.ended.append(why)
        self.over.set()

    def acquire(self, seconds: float | None = None) -> bool:
        """seconds: until it is told to stop."""

        async def run() -> bool:
            stop = asyncio.Event()
            if seconds is not None:
                asyncio.get_running_loop().call_later(seconds, stop.set)
            return await self.leadership.acquire(stop)

        return asyncio.run(run())


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.server.denied = None
    made.leadership.release()


def test_the_first_one_leads_at_once_and_renews(place: Place) -> None:
    assert (place.acquire(), place.leadership.leads) == (True, True)
    first = place.server.spec["renewTime"]
    time.sleep(0.2)
    assert place.server.spec["renewTime"] > first
    assert place.ended == []


def test_the_next_one_need_not_wait_for_one_that_ended_in_order(place: Place) -> None:
    place.acquire()
    place.leadership.release()
    assert not place.leadership.leads
    assert (place.server.spec["holderIdentity"], place.server.spec["leaseDurationSeconds"]) == ("", 1)
    calls = len(place.server.log)
    time.sleep(0.1)
    assert len(place.server.log) == calls, "nothing is renewed any more"


def test_another_is_waited_for_and_named(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.server.put(make_lease("pod-1"))
    assert place.acquire(seconds=0.06) is False
    assert (place.leadership.leads, place.leadership.waits_for) == (False, "pod-1")
    assert caplog.messages == ["waiting for the Lease manager, which pod-1 holds"]
    assert place.server.spec["holderIdentity"] == "pod-1"


def test_one_that_is_gone_is_taken_over(place: Place) -> None:
    place.server.put(make_lease("pod-1"))
    assert place.acquire() is True
    assert place.server.spec["holderIdentity"] == "me"


def test_an_api_that_is_away_is_waited_for(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.server.denied = ApiFailure(403, "HTTP 403 from the API")
    assert place.acquire(seconds=0.1) is False
    assert caplog.messages == ["the Lease manager cannot be had: HTTP 403 from the API"]


def test_one_that_cannot_renew_ends_before_another_may_take_over(place: Place) -> None:
    place.acquire()
    begun = time.monotonic()
    place.server.denied = AWAY
    assert place.over.wait(5)
    assert place.ended == ["the Lease manager was not renewed within 1 s: this manager ends"]
    assert time.monotonic() - begun < 5


def test_nor_does_a_request_that_hangs_hold_it_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.acquire()
    free = threading.Event()
    monkeypatch.setattr(place.server, "write", lambda wanted: free.wait(10) and wanted)
    assert place.over.wait(5)
    free.set()


def test_a_short_absence_is_none(place: Place) -> None:
    place.acquire()
    place.server.denied = AWAY
    time.sleep(0.03)
    place.server.denied = None
    time.sleep(0.2)
    assert place.ended == []


def test_one_that_another_has_taken_ends_at_once(place: Place) -> None:
    place.acquire()
    place.server.set(holderIdentity="pod-2")
    assert place.over.wait(5)
    assert place.ended[0] == "pod-2 has taken the Lease manager: this manager ends"


def test_a_lease_that_is_not_given_back_keeps_nobody_from_ending(place: Place) -> None:
    place.acquire()
    place.server.denied = AWAY
    place.leadership.release()
    assert not place.leadership.leads


def test_the_times_leave_a_margin() -> None:
    code = "from bootstrap.manager.leadership import *; print(REQUEST_SECONDS, RENEWED_WITHIN, LEASE_SECONDS)"
    found = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    request, within, lease = map(float, found.split())
    assert request < within < lease


def test_the_end_is_one_line_and_a_code_that_is_not_0() -> None:
    """Also where the main thread hangs."""
    code = """
import logging, threading, time
logging.basicConfig(level=logging.INFO, format="%(message)s")
from bootstrap.manager.leadership import end_process
threading.Thread(target=end_process, args=("the Lease is lost",)).start()
time.sleep(60)
"""
    argv: Any = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the Lease is lost\n")
