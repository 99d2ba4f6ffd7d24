"""A Lease is taken, renewed and given back, each by a write that fails over what somebody else wrote meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bootstrap.incluster import lease
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import Api, ApiFailure

MEETING_SECONDS = 1.0
"""Until it is looked again at a Lease that somebody else wrote at the same moment."""
NOT_FOUND, CONFLICT = 404, 409


class Met(Exception):
    """Somebody else wrote or deleted the Lease since it was read."""


class Lost(Exception):
    """Another holds the Lease; the text is its name."""


class Leases(Protocol):
    """The way to one Lease. Each call may raise what its transport raises."""

    def read(self) -> Object | None:
        """As it is; None if there is none."""
        ...

    def write(self, wanted: Object) -> Object:
        """Create it where it has no resource version, else replace the one that has that; as it is then. Raises Met."""
        ...


@dataclass
class LeaseHolder:
    """leases: the way to it. holder: who takes it. seconds: how long it is held without a renewal.

    now: seconds of a clock that does not go back. wall: seconds since the epoch.
    """

    leases: Leases
    namespace: str
    name: str
    holder: str
    seconds: int
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _held: Object | None = None
    """As it was last written by us, None while it is not held."""
    _seen: lease.Sighting | None = None

    @property
    def is_held(self) -> bool:
        return self._held is not None

    @property
    def other(self) -> str:
        """Who held it at the last look; "" for nobody."""
        return lease.get_holder(self._seen.spec) if self._seen else ""

    def take(self) -> float:
        """0 once it is held; until then, in how many seconds it can be had unless it changes."""
        found = self.leases.read()
        self._seen = lease.note_sighting(found, self._seen, self.now())
        wait = lease.find_wait(self._seen, self.holder, self.now(), self.seconds)
        if wait:
            return wait
        wanted = lease.take(found, self.namespace, self.name, self.holder, self.seconds, self.wall())
        try:
            self._held = self.leases.write(wanted)
        except Met:
            return MEETING_SECONDS
        return 0.0

    def renew(self) -> None:
        """Say that it is still held. Raises Lost if another has it by now, and Met if it changes at each try."""
        self._write(lease.renew)

    def give_back(self) -> None:
        """Let others take it at once. One that another has by now stays. Nothing happens where it is not held."""
        try:
            self._write(lease.give_back)
        except Lost:
            pass
        finally:
            self._held = None

    def _write(self, change: Callable[[Object, float], Object]) -> None:
        """Write our Lease as it was, changed; once more where that was not its newest version.

        So it is where the answer to a write of ours was lost, and where somebody has set a label.
        """
        if self._held is None:
            return
        try:
            self._held = self.leases.write(change(self._held, self.wall()))
        except Met:
            found = self.leases.read()
            if found and not lease.is_held_by(found, self.holder):
                self._held = None
                raise Lost(lease.get_holder(found.get("spec") or {}) or "nobody") from None
            # one that somebody has deleted is made again
            again = found or lease.take(None, self.namespace, self.name, self.holder, self.seconds, self.wall())
            self._held = self.leases.write(change(again, self.wall()))


class ApiLeases:
    """A Lease by the API of the pod's own cluster. Its calls raise ApiFailure."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self._all = f"/apis/{lease.API_VERSION}/namespaces/{namespace}/{lease.PLURAL}"
        self._one = f"{self._all}/{name}"

    def read(self) -> Object | None:
        try:
            return self._api.request("GET", self._one)
        except ApiFailure as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def write(self, wanted: Object) -> Object:
        exists = "resourceVersion" in wanted["metadata"]
        try:
            return self._api.request("PUT" if exists else "POST", self._one if exists else self._all, wanted)
        except ApiFailure as error:
            if error.status == CONFLICT or (exists and error.status == NOT_FOUND):
                raise Met from None
            raise
