"""The door to webhooks: sends one as a git host does, to a port of this machine."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping

from bootstrap.core.errors import ApiError

LIMIT = 15.0


def post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """The answer's status, also a bad one, and its text. Raises ApiError when there is none."""
    request = urllib.request.Request(url, body, dict(headers))  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=LIMIT) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(f"the listener does not answer: {error}", status=0) from None
