"""What ends first of the certificates that nobody renews while nobody types."""

from __future__ import annotations

import datetime
from base64 import b64decode
from dataclasses import dataclass

from bootstrap.core.errors import PreconditionError
from bootstrap.objects import kubeconfig_files
from bootstrap.world import World

WARN_DAYS = 30


@dataclass(frozen=True)
class Expiry:
    """what: the certificate. at: the moment from which nobody accepts it. hint: what to type before."""

    what: str
    at: datetime.datetime
    hint: str

    def count_days(self, now: datetime.datetime) -> int:
        """Whole days that are left, below 0 once it is over."""
        return (self.at - now).days

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d}, {self.what}"


def find_nearest_expiry(world: World) -> Expiry | None:
    """The certificate that ends first: of the environment's folder, or that of its kubeconfig. None without either."""
    from bootstrap.core import pki  # its library takes a while to load, and most commands need none of it

    found = [
        Expiry(f"certificate {name} of the environment", at, "invoke up")
        for name, at in world.identity.list_expiries().items()
    ]
    try:
        user = kubeconfig_files.read_login([world.kubeconfig], world.context)["users"][0]["user"]
        at = pki.read_expiry(b64decode(user.get("client-certificate-data") or ""))
    except (PreconditionError, ValueError):
        at = None  # there is no cluster yet, or it is logged in to in another way
    if at:
        anew = "save what the git server holds, then invoke down and invoke up"
        hint = "invoke doctor" if world.config.context else anew
        found.append(Expiry(f"certificate of the kubeconfig for {world.context}", at, hint))
    return min(found, key=lambda each: each.at, default=None)
