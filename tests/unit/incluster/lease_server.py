"""One Lease as an API server keeps it: a write of an older version than the newest is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bootstrap.incluster.lease_holder import Met

Object = dict[str, Any]


@dataclass
class LeaseServer:
    """live: None for none. meets: what somebody else does before each write, one after the other. denied: is raised by
    each call. log: the calls."""

    live: Object | None = None
    meets: list[Callable[[LeaseServer], None]] = field(default_factory=list)
    denied: Exception | None = None
    log: list[str] = field(default_factory=list)
    version: int = 0

    def read(self) -> Object | None:
        self._begin("read")
        return copy.deepcopy(self.live)

    def write(self, wanted: Object) -> Object:
        self._begin("write")
        if self.meets:
            self.meets.pop(0)(self)
        asked = wanted["metadata"].get("resourceVersion")
        if asked != (self.live["metadata"]["resourceVersion"] if self.live else None):
            raise Met
        return self.put(wanted)

    def _begin(self, call: str) -> None:
        self.log.append(call)
        if self.denied:
            raise self.denied

    def put(self, wanted: Object) -> Object:
        """Whoever does it."""
        assert (wanted["apiVersion"], wanted["kind"]) == ("coordination.k8s.io/v1", "Lease")
        self.version += 1
        metadata = wanted["metadata"] | {"resourceVersion": str(self.version)}
        self.live = json.loads(json.dumps(wanted | {"metadata": metadata}))
        return copy.deepcopy(self.live)

    def set(self, **spec: Any) -> None:
        """Somebody else changes it, or makes it."""
        found = self.live or make_lease()
        self.put(found | {"spec": found["spec"] | spec})

    @property
    def spec(self) -> Object:
        assert self.live is not None
        found: Object = self.live["spec"]
        return found


def make_lease(holder: str = "a", seconds: int = 15, name: str = "x") -> Object:
    """As another program writes it."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": "2027-01-15T08:00:00.000000Z",
            "renewTime": "2027-01-15T08:00:00.000000Z",
            "leaseTransitions": 3,
        },
    }
