"""The adapter for webhooks: sends one as a git host does, to a port of this machine."""

from __future__ import annotations

from collections.abc import Mapping

from bootstrap.core.errors import ApiError
from bootstrap.world import http_client

LIMIT = 15.0


def post_webhook(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    """Send a webhook; (status, text) of the answer, also of a bad one.

    Raises ApiError when nothing answers within LIMIT seconds.
    """
    try:
        answer = http_client.request("POST", url, LIMIT, proxies=False, headers=headers, body=body)
    except OSError as error:
        raise ApiError(f"the listener does not answer: {error}", status=0) from None
    return answer.status, answer.body.decode(errors="replace")
