"""Whether a login of a kubeconfig is over: servers say of it only that they refuse it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Object
from bootstrap.objects.kubeconfig import minify


def describe_expiry(kubeconfig: Object, context: str, now: datetime) -> str:
    """ "its token ended on 2026-01-31 10:00 UTC", or the same of its client certificate.

    "" where neither is over, or the kubeconfig itself holds none. now: with a time zone.
    """
    try:
        user = minify(kubeconfig, context)["users"][0]["user"]
        certificate, token = str(user.get("client-certificate-data") or ""), str(user.get("token") or "")
    except (PreconditionError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    ends = (("client certificate", _read_certificate_end(certificate)), ("token", read_token_end(token)))
    over = [f"its {what} ended on {end:%Y-%m-%d %H:%M} UTC" for what, end in ends if end and end <= now]
    return " and ".join(over)


def _read_certificate_end(data: str) -> datetime | None:
    """data: PEM in base64; "" for none."""
    from bootstrap.core.pki import read_expiry  # costs more than most commands take

    try:
        return read_expiry(base64.b64decode(data)) if data else None
    except ValueError:
        return None


def read_token_end(token: str) -> datetime | None:
    """The claim `exp` of a JSON Web Token (RFC 7519), unverified; None for a token of another kind."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError):
        return None
