"""One manager acts: the one that holds the Lease `manager`. It ends itself when it cannot renew that in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.lease_holder import LeaseHolder, Lost, Met

LOG = logging.getLogger("manager")
NAME = "manager"
LEASE_SECONDS, RENEWED_WITHIN, RENEW_SECONDS = 15, 10.0, 2.0
"""The times of client-go's leader election: how long the Lease is held, within what time it must be renewed, and how
often that is tried. The difference of the first two is for clocks that do not go equally fast."""
REQUEST_SECONDS = 3.0
"""Limit of a request about the Lease: one that hangs leaves time for others."""
SAID_SECONDS = 30.0
"""How often a manager that waits says for whom."""


def end_process(why: str) -> None:
    """End at once, with whatever threads are doing, so that nothing is done without the Lease."""
    LOG.error("%s", why)
    logging.shutdown()
    os._exit(1)


class Leadership:
    """holder: the way to the Lease. end: called with a sentence when it is lost; it does not return.

    now: seconds of a clock that does not go back.
    """

    def __init__(
        self,
        holder: LeaseHolder,
        *,
        end: Callable[[str], None] = end_process,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._holder = holder
        self._end = end
        self._now = now
        self._renewed = 0.0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.leads = False

    @property
    def waits_for(self) -> str:
        """Who holds the Lease, as far as a manager knows that waits for it; "" for nobody."""
        return self._holder.other

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait for the Lease, for as long as it takes; False if `stop` was set before. It is renewed from then on."""
        said, said_at = "", 0.0
        while not stop.is_set():
            begun = self._now()
            why, wait = await asyncio.to_thread(self._try_to_take)
            if self._holder.is_held:
                self._lead(begun)
                return True
            if why != said or begun >= said_at + SAID_SECONDS:
                LOG.info("%s", why)
                said, said_at = why, begun
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(wait, RENEW_SECONDS))
        return False

    def _try_to_take(self) -> tuple[str, float]:
        """(why it is not held, in how many seconds it may be)."""
        try:
            wait = self._holder.take()
        except ApiFailure as error:
            return f"the Lease {NAME} cannot be had: {error.strerror}", RENEW_SECONDS
        return f"waiting for the Lease {NAME}, which {self.waits_for or 'another'} holds", wait

    def _lead(self, begun: float) -> None:
        """begun: when the request was sent that took the Lease; the server counts from later on."""
        LOG.info("the Lease %s is held by this manager", NAME)
        self._renewed = begun
        self.leads = True
        # Threads: neither an event loop that is busy nor a request that hangs holds up the end.
        self._threads = [
            threading.Thread(target=each, name=f"lease-{each.__name__}", daemon=True)
            for each in (self._keep_renewing, self._watch_renewals)
        ]
        for each in self._threads:
            each.start()

    def _keep_renewing(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            begun = self._now()
            try:
                self._holder.renew()
            except Lost as error:
                self._end(f"{error} has taken the Lease {NAME}: this manager ends")
                return
            except Met:
                continue
            except ApiFailure as error:
                LOG.warning("the Lease %s is not renewed: %s", NAME, error.strerror)
                continue
            self._renewed = begun

    def _watch_renewals(self) -> None:
        while not self._over.wait(max(0.0, self._renewed + RENEWED_WITHIN - self._now())):
            if self._now() >= self._renewed + RENEWED_WITHIN:
                self._end(f"the Lease {NAME} was not renewed within {RENEWED_WITHIN:.0f} s: this manager ends")
                return

    def release(self) -> None:
        """Give the Lease back, once nothing is done any more: the next manager need not wait until it expires."""
        self._over.set()
        for each in self._threads:
            each.join()
        self.leads = False
        try:
            self._holder.give_back()
        except (Met, ApiFailure) as error:
            LOG.warning("the Lease %s is not given back: %s", NAME, error)
