"""Reading, watching and writing objects of any kind: the part of `Kube` that knows paths and patches only."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Ready
from bootstrap.core.paths import PRODUCT
from bootstrap.objects.readiness import judge
from bootstrap.world.kube.discovery import UNKNOWN_KIND, Discovery, Resource
from bootstrap.world.kube.http import READ_SECONDS, Http
from bootstrap.world.kube.watch import Event, Feed, Page, Stream, follow_changes, read_events

FIELD_MANAGER = PRODUCT
SIDE_BY_SIDE = 8
PAGE = 500
FOLLOWED_PAGE = 100
"""Objects of one answer where many are followed: few, so that memory stays flat."""
CRD_SECONDS = 15.0
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
APPLY_PATCH, MERGE_PATCH, JSON_PATCH = (
    f"application/{kind}" for kind in ("apply-patch+yaml", "merge-patch+json", "json-patch+json")
)

Objects = list[Object]
Query = list[tuple[str, str]]


class ObjectStore(ABC):
    """The objects of a cluster, of any kind. Every method raises ApiError; threads may share it."""

    @property
    @abstractmethod
    def _http(self) -> Http: ...

    @property
    @abstractmethod
    def _kinds(self) -> Discovery: ...

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        """An object; None when there is none of that name, and when the cluster does not know the kind."""
        try:
            found: Object = self._http.request_json("GET", self._find_path(api_version, kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Objects:
        """All objects, page by page; of all namespaces without one. Empty when the kind is not known.

        labels, fields: selectors as kubectl takes them. Each object carries its apiVersion and kind.
        """
        try:
            path = self._find_path(api_version, kind, namespace)
        except ApiError as error:
            if error.reason == UNKNOWN_KIND:
                return []
            raise
        try:
            found = self._read_pages(path, _make_selectors(labels, fields), PAGE)
        except ApiError as error:
            if error.status != 410:
                raise
            found = self._read_pages(path, _make_selectors(labels, fields), 0)  # the pages took too long: all at once
        return [{"apiVersion": api_version, "kind": kind, **each} for each in found]

    def _read_pages(self, path: str, query: Query, size: int) -> Objects:
        found: Objects = []
        token = ""
        while True:
            more = [("limit", str(size))] + ([("continue", token)] if token else [])
            page = self._http.request_json("GET", path, query=query + more)
            found += page.get("items") or []
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return found

    def watch(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", seconds: float
    ) -> Stream[Event]:
        """What is there (as ADDED) and then happens, for `seconds`. An object may come twice, none is missed."""
        http, path = self._http, self._find_path(api_version, kind, namespace)
        fixed = [("watch", "true"), ("allowWatchBookmarks", "true"), *_make_selectors(labels, fields)]

        def reopen(version: str, left: float) -> Any:
            more = [("timeoutSeconds", str(max(1, int(left)))), *([("resourceVersion", version)] if version else [])]
            return http.open_stream(path, query=fixed + more, idle=left + READ_SECONDS)

        feed = Feed(http.read_lines)
        return Stream(feed, read_events(feed, reopen, seconds))

    def follow(
        self,
        api_version: str,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        from_now: bool = False,
    ) -> Stream[Event]:
        """What is there and what then happens, until it is closed; see `watch.follow_changes`. Raises nothing.

        from_now: what is there is left out. A kind that the cluster does not know (yet) is LOST.
        """
        selectors = _make_selectors(labels, fields)

        def pages() -> Iterator[Page]:
            path, token = self._find_path(api_version, kind, namespace), ""
            size = 1 if from_now else FOLLOWED_PAGE
            while True:
                more = [("limit", str(size))] + ([("continue", token)] if token else [])
                page = self._http.request_json("GET", path, query=selectors + more)
                token = "" if from_now else page.get("metadata", {}).get("continue") or ""
                yield [] if from_now else page.get("items") or [], str(page["metadata"]["resourceVersion"])
                if not token:
                    return

        def reopen(version: str, seconds: float) -> Any:
            query = [*selectors, ("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", version)]
            query += [("timeoutSeconds", str(int(seconds)))]
            return self._http.open_stream(
                self._find_path(api_version, kind, namespace), query=query, idle=seconds + READ_SECONDS
            )

        # lines break off with an error of the connection that was current when they were opened
        feed = Feed(lambda response: self._http.read_lines(response))
        return Stream(feed, follow_changes(feed, pages, reopen))

    def apply(self, objects: Iterable[Object], *, dry_run: bool = False, force: bool = True) -> Objects:
        """Server-side apply, in the given order; neighbours of one kind side by side.

        Returns what the server made of each, in order. dry_run: the server only checks (webhooks
        included). Without `force` a field that another manager owns is an ApiError with status 409.
        The first refusal ends it; its message names the object.
        """
        applied: Objects = []
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE, thread_name_prefix="apply") as pool:
            for _, neighbours in itertools.groupby(objects, key=_read_kind):
                group = list(neighbours)
                done = list(pool.map(lambda each: self._apply_one(each, dry_run=dry_run, force=force), group))
                if _read_kind(group[0]) == CRD and not dry_run:
                    list(pool.map(self._wait_until_established, done))
                applied += done
        return applied

    def _apply_one(self, wanted: Object, *, dry_run: bool, force: bool) -> Object:
        if has_node_port(wanted) and not dry_run:
            self._create_first(wanted)
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false"), *_make_dry_run(dry_run)]
        return self._write("PATCH", wanted, wanted["metadata"]["name"], query, content_type=APPLY_PATCH, again=True)

    def _create_first(self, wanted: Object) -> None:
        """Create a Service that is not there by POST, and make it one that was applied.

        An apply that creates it takes the node port before it writes the Service; when its client goes away in between,
        the port stays taken, by nobody, until the API server looks for such ports (some ten minutes; seen in Kubernetes
        1.36). A POST gives it back.
        """
        metadata = wanted["metadata"]
        if self.get(*_read_kind(wanted), metadata["name"], metadata["namespace"]) is not None:
            return
        try:
            made = self.create(wanted)["metadata"]
            owners = [{**each, "operation": "Apply"} for each in made["managedFields"]]
            edit = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": made["resourceVersion"]},
                {"op": "replace", "path": "/metadata/managedFields", "value": owners},
            ]
            self.patch(*_read_kind(wanted), metadata["name"], metadata["namespace"], patch=edit)
        except ApiError as error:
            if error.status not in (409, 422):  # somebody else was faster: the apply that follows tells what is wrong
                raise

    def _wait_until_established(self, crd: Object) -> None:
        """A kind can be used a moment after its CRD was accepted; whoever is not by then is left to `check`."""
        if isinstance(judge(crd), Ready):
            return
        name = crd["metadata"]["name"]
        with self.watch(*CRD, fields=f"metadata.name={name}", seconds=CRD_SECONDS) as seen:
            for _, each in seen:
                if isinstance(judge(each), Ready):
                    return

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        """Create an object that has a generateName or must not be there yet (status 409).

        Returns what the server made of it.
        """
        query = [("fieldManager", FIELD_MANAGER), *_make_dry_run(dry_run)]
        return self._write("POST", wanted, "", query, content_type="application/json", again=False)

    def _write(self, method: str, wanted: Object, name: str, query: Query, *, content_type: str, again: bool) -> Object:
        metadata = wanted["metadata"]
        try:
            resource = self._kinds.find(*_read_kind(wanted))
            path = resource.make_path(_read_namespace(resource, metadata), name)
            answer: Object = self._http.request_json(
                method, path, query=query, body=wanted, content_type=content_type, again=again
            )
        except ApiError as error:
            raise _name_object(wanted, error) from None
        return answer

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str = "",
        *,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Change an object. Returns what the server made of it.

        patch: a mapping is merged (RFC 7386), a sequence is a list of JSON patch operations (RFC 6902).
        """
        merge = isinstance(patch, Mapping)
        path = self._find_path(api_version, kind, namespace, name, subresource)
        try:
            answer: Object = self._http.request_json(
                "PATCH",
                path,
                query=[("fieldManager", FIELD_MANAGER), *_make_dry_run(dry_run)],
                body=patch,
                content_type=MERGE_PATCH if merge else JSON_PATCH,
                again=merge,
            )
        except ApiError as error:
            raise _name_object({"kind": kind, "metadata": {"name": name, "namespace": namespace}}, error) from None
        return answer

    def delete(
        self, api_version: str, kind: str, name: str, namespace: str = "", *, propagation: str = "Background"
    ) -> bool:
        """Delete an object and do not wait for its end; False when there was nothing.

        propagation: Background, Foreground or Orphan.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        try:
            self._http.request_json("DELETE", self._find_path(api_version, kind, namespace, name), body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _find_path(
        self, api_version: str, kind: str, namespace: str = "", name: str = "", subresource: str = ""
    ) -> str:
        return self._kinds.find(api_version, kind).make_path(namespace, name, subresource)


def has_node_port(wanted: Object) -> bool:
    """Whether it is a Service that asks for certain ports of the nodes."""
    return wanted["kind"] == "Service" and any("nodePort" in each for each in wanted["spec"].get("ports") or ())


def _read_kind(wanted: Object) -> tuple[str, str]:
    return wanted["apiVersion"], wanted["kind"]


def _read_namespace(resource: Resource, metadata: Mapping[str, Any]) -> str:
    namespace = str(metadata.get("namespace") or "")
    if resource.namespaced and not namespace:
        raise ApiError("it names no namespace", status=400, reason="BadRequest")
    return namespace


def _name_object(wanted: Object, error: ApiError) -> ApiError:
    """The refusal with the object's name. Of a Secret only the reason is told: a message may quote its content."""
    metadata = wanted["metadata"]
    name = "/".join(part for part in (metadata.get("namespace"), metadata.get("name")) if part)
    quoted = wanted["kind"] == "Secret" and error.status in (400, 422, 500)
    text = f"refused ({error.reason})" if quoted else error.message
    return ApiError(f"{wanted['kind']} {name}: {text}", status=error.status, reason=error.reason, hint=error.hint)


def _make_selectors(labels: str, fields: str) -> Query:
    return [(key, value) for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value]


def _make_dry_run(dry_run: bool) -> Query:
    return [("dryRun", "All")] if dry_run else []
