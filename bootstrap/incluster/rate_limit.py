"""Limits the messages that all runs together send to a chat robot in a minute."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

from bootstrap.incluster import chat_formats
from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import MERGE, Api, ApiFailure

SENT = "notify-sent"
"""ConfigMap with the times of the last messages."""
PATIENCE = 20.0
"""Seconds that a message waits for its turn, or for a robot that is busy."""


class RateLimit:
    """The times of the last messages are in a ConfigMap, changed by compare and swap."""

    def __init__(self, api: Api, namespace: str, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{SENT}"
        self._sleep = sleep
        self._clock = clock

    def take(self) -> str:
        """Wait until one more message may be sent, and count it; answers why none may be within PATIENCE, or ""."""
        end = self._clock() + PATIENCE
        while True:
            try:
                wait = self._try_take()
            except ApiFailure as error:
                return f"the last messages could not be counted ({error.strerror})"
            if wait == 0:
                return ""
            if self._clock() + wait > end:
                return f"{chat_formats.MESSAGES_PER_MINUTE} messages in the last minute"
            self._sleep(wait)

    def _try_take(self) -> float:
        """Count one more message; answers 0, or the seconds after which to try again.

        Raises ApiFailure, but not for a conflict: then another run was first.
        """
        live = self._api.request("GET", self._path)
        now = self._clock()
        times = [each for each in _parse_times(live) if now - 60 < each <= now + 60]
        if len(times) >= chat_formats.MESSAGES_PER_MINUTE:
            return max(0.1, min(times) + 60 - now)
        version = live["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "data": {"times": json.dumps([*times, round(now, 1)])}}
        try:
            self._api.request("PATCH", self._path, patch, MERGE)
        except ApiFailure as error:
            if error.status == 409:  # another run was quicker
                return 0.1
            raise
        return 0


def _parse_times(live: Object) -> list[float]:
    """The times in the ConfigMap, in seconds since the epoch; what cannot be read counts as none."""
    try:
        return [float(each) for each in json.loads((live.get("data") or {}).get("times") or "[]")]
    except (ValueError, TypeError):
        return []
