"""A client of a container registry with a password, on the standard library alone. It uses no proxy.

API: the OCI distribution-spec, version 2 of its paths.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bootstrap.incluster.json_object import Object

REQUEST_SECONDS = 20.0
"""Limit of one wait for the registry."""
TRIES = 8
"""With the pauses between them more than a minute: the registry rests while it frees room."""
LONGEST_PAUSE = 30.0
ANSWER_BYTES = 16_000_000
"""Of an answer's body; a longer one is refused."""
PAGE = 500
GONE = 404
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


class RegistryFailure(OSError):
    """A request that the registry refused or did not answer; `strerror` has the cause.

    status: the HTTP status, 0 when there was no answer that can be read.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status


@dataclass(frozen=True)
class Manifest:
    """children: digests of the manifests in it, where it is an index."""

    digest: str
    children: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    content: bytes


class RegistryApi:
    """Requests to the registry at `address` (HOST:PORT).

    ca: PEM file of its authority. login: folder with the files `username` and `password`, which are read for every
    connection. seconds: the limit of a wait. A registry that is busy or does not answer is asked up to TRIES times;
    sleep: seconds. For one thread.
    """

    def __init__(
        self,
        address: str,
        ca: Path,
        login: Path,
        *,
        seconds: float = REQUEST_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = address
        self._ca = ca
        self._login = login
        self._seconds = seconds
        self._sleep = sleep
        self._connection: http.client.HTTPSConnection | None = None

    def list_repositories(self) -> list[str]:
        """All repositories, those without images among them. Raises RegistryFailure."""
        return list(self._list(f"/v2/_catalog?n={PAGE}", "repositories"))

    def list_tags(self, repository: str) -> list[str]:
        """The tags of a repository; [] if it has none any more. Raises RegistryFailure."""
        return list(self._list(f"/v2/{quote(repository)}/tags/list?n={PAGE}", "tags"))

    def read_manifest(self, repository: str, tag: str) -> Manifest | None:
        """What a tag leads to; None if it is gone. Raises RegistryFailure."""
        answer = self._ask("GET", f"/v2/{quote(repository)}/manifests/{quote(tag)}")
        if answer is None:
            return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if not _DIGEST.fullmatch(digest):
            raise RegistryFailure(0, f"the registry names no digest of {repository}:{tag}")
        listed = _parse(answer.content).get("manifests") or ()
        if not isinstance(listed, list | tuple) or not all(isinstance(each, dict) for each in listed):
            raise RegistryFailure(0, f"the index {repository}:{tag} cannot be read")
        children = tuple(str(each.get("digest")) for each in listed)
        if not all(map(_DIGEST.fullmatch, children)):
            raise RegistryFailure(0, f"the index {repository}:{tag} cannot be read")
        return Manifest(digest, children)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest, and the tags that lead to it; one that is gone is no failure. Raises RegistryFailure."""
        self._ask("DELETE", f"/v2/{quote(repository)}/manifests/{digest}")

    def close(self) -> None:
        """Close the connection. Later requests open another."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _list(self, path: str, key: str) -> Iterator[str]:
        """The entries of a list, read in pages by the header Link; none if there is no such list."""
        while path:
            answer = self._ask("GET", path)
            if answer is None:
                return
            entries = _parse(answer.content).get(key) or []
            if not isinstance(entries, list):
                raise RegistryFailure(0, f"the registry's {key} cannot be read")
            yield from map(str, entries)
            found = _NEXT.search(answer.headers.get("Link", ""))
            before, path = path, found[1] if found else ""
            if path == before or (path and not path.startswith("/v2/")):
                raise RegistryFailure(0, f"the registry's {key} have no next page that can be read")

    def _ask(self, method: str, path: str) -> _Answer | None:
        """The answer, None for one of status 404. Raises RegistryFailure for all but those of 200 to 299."""
        for attempt in range(TRIES):
            try:
                return self._ask_once(method, path)
            except RegistryFailure as error:
                if attempt == TRIES - 1 or (error.status not in (0, 429) and error.status < 500):
                    raise
            self._sleep(min(LONGEST_PAUSE, 2.0**attempt / 2))
        raise AssertionError  # the last try returned or raised

    def _ask_once(self, method: str, path: str) -> _Answer | None:
        try:
            answer = self._exchange(method, path)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RegistryFailure(0, f"the registry does not answer ({type(error).__name__})") from None
        if answer.status == GONE:
            return None
        if not 200 <= answer.status < 300:
            raise RegistryFailure(answer.status, f"HTTP {answer.status} from the registry")
        if len(answer.content) > ANSWER_BYTES:
            self.close()
            raise RegistryFailure(0, "the registry's answer is too long")
        return answer

    def _exchange(self, method: str, path: str) -> _Answer:
        if self._connection is None:
            host, _, port = self._address.rpartition(":")
            context = ssl.create_default_context(cafile=str(self._ca))
            self._connection = http.client.HTTPSConnection(host, int(port), timeout=self._seconds, context=context)
        user, password = ((self._login / name).read_text() for name in ("username", "password"))
        login = b64encode(f"{user}:{password}".encode()).decode()
        self._connection.request(method, path, headers={"Authorization": f"Basic {login}", "Accept": MANIFESTS})
        answer = self._connection.getresponse()
        return _Answer(answer.status, answer.msg, answer.read(ANSWER_BYTES + 1))


def _parse(content: bytes) -> Object:
    try:
        parsed: Any = json.loads(content)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise RegistryFailure(0, "the registry's answer is no JSON object")
    return parsed
