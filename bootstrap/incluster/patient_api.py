"""Requests to the Kubernetes API that bear with a busy server, and lists in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlencode

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import Api, ApiFailure

Result = TypeVar("Result")
PAGE = 200
"""Objects at once: they are held in full only until they are read."""
TRIES = 5
EXPIRED = 410
"""HTTP status: the continue token of a list is too old."""


class PatientApi:
    """Asks again while the server is busy or does not answer, up to TRIES times. sleep: seconds."""

    def __init__(self, api: Api, sleep: Callable[[float], None]) -> None:
        self._api = api
        self._sleep = sleep

    def request(self, method: str, path: str, body: Any = None) -> Object:
        """As `Api.request`. Raises ApiFailure."""
        return self._retry(lambda: self._api.request(method, path, body))

    def read(self, path: str) -> bytes:
        """As `Api.read`. Raises ApiFailure."""
        return self._retry(lambda: self._api.read(path))

    def list_objects(self, path: str, selector: str = "") -> Iterator[Object]:
        """All objects of a path, read in pages, each once. Starts again when the list expires. Raises ApiFailure."""
        seen: set[str] = set()
        token, tries = "", TRIES
        while True:
            query = {"limit": str(PAGE), "labelSelector": selector, "continue": token}
            try:
                page = self.request("GET", f"{path}?{urlencode(query)}")
            except ApiFailure as error:
                tries -= 1
                if error.status != EXPIRED or not token or not tries:
                    raise
                token = ""
                continue
            for each in page.get("items") or ():
                if each["metadata"]["uid"] not in seen:
                    seen.add(each["metadata"]["uid"])
                    yield each
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return

    def _retry(self, ask: Callable[[], Result]) -> Result:
        """Call `ask`, with pauses between tries. Raises ApiFailure."""
        for attempt in range(TRIES - 1):
            try:
                return ask()
            except ApiFailure as error:
                if error.status not in (0, 429) and error.status < 500:
                    raise
                self._sleep(min(30.0, error.retry_after if error.retry_after is not None else 2.0**attempt / 2))
        return ask()
