"""A Lease (coordination.k8s.io/v1): whether it may be taken, and what is written into it. Pure.

Form and rules are those of client-go's leader election (tools/leaderelection). A Lease has expired once it has not
changed for its own duration, by the clock of whoever looks: what the holder's clock says is not compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bootstrap.incluster.json_object import Object

API_VERSION, KIND, PLURAL = "coordination.k8s.io/v1", "Lease", "leases"
NAME_LENGTH = 253
"""Characters of the name of most kinds of objects."""
DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Sighting:
    """spec: of a Lease, as it is since it was last seen to change; {} for none. when: that was, by a clock of ours that
    does not go back, in seconds."""

    spec: Mapping[str, Any]
    when: float


def note_sighting(found: Object | None, before: Sighting | None, now: float) -> Sighting:
    """What is known after another look. before: after the look before, None for the first."""
    spec = _read_spec(found)
    return before if before and before.spec == spec else Sighting(spec, now)


def find_wait(sighting: Sighting, holder: str, now: float, seconds: float) -> float:
    """Seconds until `holder` may take it; 0 for now.

    It may be taken where there is none, where it was given back, where it is the holder's own, where it has expired.
    seconds: the duration of one that says none.
    """
    current = get_holder(sighting.spec)
    if current in ("", holder):
        return 0.0
    duration = sighting.spec.get("leaseDurationSeconds")
    if not isinstance(duration, int) or duration <= 0:
        duration = seconds
    return max(0.0, sighting.when + duration - now)


def get_holder(spec: Mapping[str, Any]) -> str:
    """Who holds a Lease of that spec; "" for nobody."""
    return str(spec.get("holderIdentity") or "")


def is_held_by(found: Object | None, holder: str) -> bool:
    return get_holder(_read_spec(found)) == holder


def take(found: Object | None, namespace: str, name: str, holder: str, seconds: int, wall: float) -> Object:
    """The Lease to write: to create where there is none, else to replace the one that was found, and no later one.

    seconds: how long it is held without a renewal. wall: now, in seconds since the epoch.
    """
    spec, now = _read_spec(found), format_micro_time(wall)
    own = get_holder(spec) == holder
    taken = {
        "holderIdentity": holder,
        "leaseDurationSeconds": seconds,
        "acquireTime": spec.get("acquireTime") or now if own else now,
        "renewTime": now,
        "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (1 if found and not own else 0),
    }
    if found is None:
        metadata = {"name": name, "namespace": namespace}
        return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": taken}
    return _replace(found, taken)


def renew(held: Object, wall: float) -> Object:
    """The Lease to write, by its holder."""
    return _replace(held, {"renewTime": format_micro_time(wall)})


def give_back(held: Object, wall: float) -> Object:
    """The Lease to write, by its holder, so that another may take it at once."""
    now = format_micro_time(wall)
    return _replace(held, {"holderIdentity": "", "leaseDurationSeconds": 1, "acquireTime": now, "renewTime": now})


def _replace(found: Object, changed: Mapping[str, Any]) -> Object:
    """metadata.resourceVersion stays, and with it the API server refuses to write over what came meanwhile."""
    return {"apiVersion": API_VERSION, "kind": KIND, **found, "spec": {**_read_spec(found), **changed}}


def _read_spec(found: Object | None) -> Mapping[str, Any]:
    return (found or {}).get("spec") or {}


def format_micro_time(wall: float) -> str:
    """RFC 3339 with six digits of a second, as the type MicroTime is written. wall: seconds since the epoch."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make_deploy_name(deployment: str) -> str:
    """Of the Lease that a deploy of that Deployment holds. Where it is too long, a digest keeps it apart."""
    name = f"deploy-{deployment}"
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{name[: NAME_LENGTH - DIGEST_LENGTH - 1].rstrip('.-')}-{digest}"
