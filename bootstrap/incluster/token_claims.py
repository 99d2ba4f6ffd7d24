"""The token that the pipeline deploys with: where it is kept, what it says, and when it is to be renewed. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

CRON_JOB = "token-renewal"
"""The CronJob that renews it, see `token_renewal`."""
KEY = "kubeconfig"
"""Of the Secret: a kubeconfig as JSON."""
RENEW_AT = 2 / 3
"""Renewed when less than this share of its life is left; `invoke up` waits longer, so that it finds nothing to do."""


@dataclass(frozen=True)
class Claims:
    """What a ServiceAccount's token says of itself. issued, expires: seconds since the epoch; uid: of the account."""

    namespace: str
    account: str
    uid: str
    issued: float
    expires: float

    @property
    def life(self) -> float:
        """Seconds from its issue to its end; the API server may have granted less than was asked for."""
        return self.expires - self.issued


def read_claims(token: str) -> Claims:
    """The claims of a ServiceAccount's token, unverified. Raises ValueError if it is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        bound = claims["kubernetes.io"]
        account = bound["serviceaccount"]
        return Claims(bound["namespace"], account["name"], account["uid"], float(claims["iat"]), float(claims["exp"]))
    except (IndexError, KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("it is no token of a ServiceAccount") from None


def is_due(claims: Claims, now: float) -> bool:
    """Whether less than RENEW_AT of the token's life is left. now: seconds since the epoch."""
    return claims.expires - now < claims.life * RENEW_AT
