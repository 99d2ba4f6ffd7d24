"""Which path a kind is served under, learnt from the API server one group version at a time.

Kept in memory only: a group version costs one request of 1-2 ms, and a file could be stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from bootstrap.core.errors import ApiError

UNKNOWN_KIND = "UnknownKind"
"""`reason` of the ApiError for a kind that the cluster does not serve (yet)."""


class JsonRequester(Protocol):
    """What discovery needs of `kube.http.Http`."""

    def request_json(self, method: str, path: str, /) -> Any:
        """The parsed answer to a request. Raises ApiError."""
        ...


@dataclass(frozen=True)
class Resource:
    """How a kind is served. plural: its name in paths ("deployments")."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def make_path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of an object, or of the collection without `name`; without `namespace` that over all namespaces."""
        parts = [make_root_path(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


class Discovery:
    """The kinds that a cluster serves. Threads may ask at the same time; at worst two read the same group version."""

    def __init__(self, http: JsonRequester) -> None:
        self._http = http
        self._known: dict[str, Mapping[str, Resource]] = {}

    def find(self, api_version: str, kind: str) -> Resource:
        """The resource of a kind. Asks the API server again for a kind that was not there before: its CRD may be new.

        Raises ApiError, with reason UNKNOWN_KIND when the cluster does not serve it.
        """
        found = self._known.get(api_version, {}).get(kind)
        if found is None:
            self._known[api_version] = self._read_resources(api_version)
            found = self._known[api_version].get(kind)
        if found is None:
            message = f"the cluster does not know the kind {kind} of {api_version}"
            raise ApiError(message, status=404, reason=UNKNOWN_KIND)
        return found

    def serves(self, api_version: str) -> bool:
        """Whether the cluster has a group version ("security.openshift.io/v1"). Raises ApiError.

        It is asked once: while a command runs, nothing but our own CRDs adds one.
        """
        if api_version not in self._known:
            self._known[api_version] = self._read_resources(api_version)
        return bool(self._known[api_version])

    def _read_resources(self, api_version: str) -> Mapping[str, Resource]:
        try:
            answer = self._http.request_json("GET", make_root_path(api_version))
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        entries = [each for each in answer.get("resources") or () if "/" not in each["name"]]
        return {each["kind"]: Resource(api_version, each["kind"], each["name"], each["namespaced"]) for each in entries}


def make_root_path(api_version: str) -> str:
    """The path of a group version: "/api/v1", "/apis/apps/v1"."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
