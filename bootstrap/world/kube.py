"""The door to a Kubernetes API: the sole importer of `kubernetes`, which costs 0.4 s and is loaded at first use.

The client library reads the kubeconfig and keeps the TLS connections; paths, requests and objects
are plain. Objects go in and come out as parsed YAML (`model.Object`), never as the library's classes.
"""

from __future__ import annotations

import itertools
import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from bootstrap.errors import ApiError, PreconditionError
from bootstrap.kubeconfig import is_loopback
from bootstrap.model import Object, Ready, Secret
from bootstrap.readiness import readiness
from bootstrap.world.kube_discovery import UNKNOWN_KIND, Discovery, Resource
from bootstrap.world.kube_http import READ_SECONDS, Http
from bootstrap.world.kube_stream import Event, Feed, Stream, events, log_lines
from bootstrap.world.kube_tunnel import Tunnel, open_tunnel

FIELD_MANAGER = "tekton-bootstrap"
SIDE_BY_SIDE = 8
PAGE = 500
LOG_IDLE_SECONDS = 600.0
CRD_SECONDS = 15.0
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
APPLY_PATCH, MERGE_PATCH, JSON_PATCH = (
    f"application/{kind}" for kind in ("apply-patch+yaml", "merge-patch+json", "json-patch+json")
)

Objects = list[Object]
Query = list[tuple[str, str]]


@dataclass(frozen=True)
class _Link:
    """A loaded kubeconfig. stamp: of the file it was read from."""

    stamp: tuple[int, int]
    http: Http
    kinds: Discovery
    context: ssl.SSLContext


class Kube:
    """One context of one kubeconfig, both named explicitly; KUBECONFIG and current-context play no part.

    Connects at first use, and anew when the file has changed (a cluster made again). Threads may
    share it. Every method raises ApiError, and PreconditionError when the kubeconfig is of no use.
    """

    def __init__(self, kubeconfig: Path, context: str) -> None:
        self.kubeconfig = kubeconfig
        self.context = context
        self._lock = threading.Lock()
        self._linked: _Link | None = None

    # reading

    def version(self) -> str:
        """ "v1.36.3"."""
        return str(self._http.json("GET", "/version")["gitVersion"])

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        """None when there is no such object, and when the cluster does not know the kind."""
        try:
            found: Object = self._http.json("GET", self._path(api_version, kind, namespace, name))
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
            path = self._path(api_version, kind, namespace)
        except ApiError as error:
            if error.reason == UNKNOWN_KIND:
                return []
            raise
        try:
            found = self._pages(path, _selectors(labels, fields))
        except ApiError as error:
            if error.status != 410:
                raise
            found = self._pages(path, _selectors(labels, fields), size=0)  # the pages took too long: all at once
        return [{"apiVersion": api_version, "kind": kind, **each} for each in found]

    def _pages(self, path: str, query: Query, size: int = PAGE) -> Objects:
        found: Objects = []
        token = ""
        while True:
            more = [("limit", str(size))] + ([("continue", token)] if token else [])
            page = self._http.json("GET", path, query=query + more)
            found += page.get("items") or []
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return found

    def watch(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "", seconds: float
    ) -> Stream[Event]:
        """What is there (as ADDED) and then happens, for `seconds`. An object may come twice, none is missed."""
        http, path = self._http, self._path(api_version, kind, namespace)
        fixed = [("watch", "true"), ("allowWatchBookmarks", "true"), *_selectors(labels, fields)]

        def reopen(version: str, left: float) -> Any:
            more = [("timeoutSeconds", str(max(1, int(left)))), *([("resourceVersion", version)] if version else [])]
            return http.open(path, query=fixed + more, idle=left + READ_SECONDS)

        feed = Feed(http.lines)
        return Stream(feed, events(feed, reopen, seconds))

    def log(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        tail_lines: int | None = None,
        previous: bool = False,
    ) -> str:
        query = _log_query(container, tail_lines) + ([("previous", "true")] if previous else [])
        return self._http.text(_pod(namespace, pod, "log"), query=query)

    def follow_log(
        self, namespace: str, pod: str, container: str = "", *, tail_lines: int | None = None
    ) -> Stream[str]:
        """Each line as it is written, until the container ends. A broken connection is taken up again.

        ApiError status 400 comes with the first line when the container has not started yet.
        """
        http, path = self._http, _pod(namespace, pod, "log")
        fixed = [("follow", "true"), ("timestamps", "true")]

        def reopen(since: str) -> Any:
            tail = None if since else tail_lines
            more = [("sinceTime", since.partition(".")[0].rstrip("Z") + "Z")] if since else []
            return http.open(path, query=fixed + _log_query(container, tail) + more, idle=LOG_IDLE_SECONDS)

        feed = Feed(http.lines)
        return Stream(feed, log_lines(feed, reopen))

    def can_i(self, verb: str, group: str, resource: str, namespace: str = "") -> bool:
        """group: "" for core, "apps"... resource: plural, "pods/log" for a subresource."""
        plural, _, subresource = resource.partition("/")
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        answer = self._http.json(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={**body, "spec": {"resourceAttributes": asked}},
        )
        return bool(answer.get("status", {}).get("allowed"))

    # changing

    def apply(self, objects: Iterable[Object], *, dry_run: bool = False, force: bool = True) -> Objects:
        """Server-side apply, in the given order; neighbours of one kind side by side.

        Returns what the server made of each, in order. dry_run: the server only checks (webhooks
        included). Without `force` a field that another manager owns is an ApiError with status 409.
        The first refusal ends it; its message names the object.
        """
        applied: Objects = []
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE, thread_name_prefix="apply") as pool:
            for _, neighbours in itertools.groupby(objects, key=_kind):
                group = list(neighbours)
                done = list(pool.map(lambda each: self._apply_one(each, dry_run=dry_run, force=force), group))
                if _kind(group[0]) == CRD and not dry_run:
                    list(pool.map(self._established, done))
                applied += done
        return applied

    def _apply_one(self, wanted: Object, *, dry_run: bool, force: bool) -> Object:
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false"), *_dry(dry_run)]
        return self._write("PATCH", wanted, wanted["metadata"]["name"], query, content_type=APPLY_PATCH, again=True)

    def _established(self, crd: Object) -> None:
        """A kind can be used a moment after its CRD was accepted; whoever is not by then is left to `check`."""
        if isinstance(readiness(crd), Ready):
            return
        name = crd["metadata"]["name"]
        with self.watch(*CRD, fields=f"metadata.name={name}", seconds=CRD_SECONDS) as seen:
            for _, each in seen:
                if isinstance(readiness(each), Ready):
                    return

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        """For what has a generateName or must not be there yet (status 409)."""
        query = [("fieldManager", FIELD_MANAGER), *_dry(dry_run)]
        return self._write("POST", wanted, "", query, content_type="application/json", again=False)

    def _write(self, method: str, wanted: Object, name: str, query: Query, *, content_type: str, again: bool) -> Object:
        metadata = wanted["metadata"]
        try:
            resource = self._link().kinds.find(*_kind(wanted))
            path = resource.path(_namespace(resource, metadata), name)
            answer: Object = self._http.json(
                method, path, query=query, body=wanted, content_type=content_type, again=again
            )
        except ApiError as error:
            raise _about(wanted, error) from None
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
    ) -> Object:
        """A mapping is merged (RFC 7386), a sequence is a list of JSON patch operations (RFC 6902)."""
        merge = isinstance(patch, Mapping)
        answer: Object = self._http.json(
            "PATCH",
            self._path(api_version, kind, namespace, name, subresource),
            query=[("fieldManager", FIELD_MANAGER)],
            body=patch,
            content_type=MERGE_PATCH if merge else JSON_PATCH,
            again=merge,
        )
        return answer

    def delete(
        self, api_version: str, kind: str, name: str, namespace: str = "", *, propagation: str = "Background"
    ) -> bool:
        """False when there was nothing. propagation: Background, Foreground or Orphan. Does not wait."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        try:
            self._http.json("DELETE", self._path(api_version, kind, namespace, name), body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def token(self, namespace: str, service_account: str, seconds: int, audiences: Sequence[str] = ()) -> Secret:
        """A token of the ServiceAccount that is good for `seconds` (at least 600). audiences: () for the API itself."""
        spec = {"expirationSeconds": seconds, **({"audiences": [*audiences]} if audiences else {})}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(service_account)}/token"
        return Secret(self._http.json("POST", path, body=body)["status"]["token"])

    # reaching into the cluster

    def proxy_get(
        self, namespace: str, service: str, port: int | str, path: str = "/", *, seconds: float = READ_SECONDS
    ) -> str:
        """GET on a Service by way of the API server. port: number or name. Its own 4xx and 5xx are ApiErrors."""
        base = f"/api/v1/namespaces/{quote(namespace)}/services/{quote(service)}:{port}/proxy"
        return self._http.text(f"{base}/{path.lstrip('/')}", seconds=seconds, busy=False)

    def connect(self, namespace: str, pod: str, port: int) -> Tunnel:
        """A connection to a port of the pod."""
        link = self._link()
        base = link.http.host.replace("http", "ws", 1)
        return open_tunnel(
            f"{base}{_pod(namespace, pod, 'portforward')}?{urlencode({'ports': port})}",
            link.http.headers(),
            link.context,
        )

    # the connection itself

    @property
    def _http(self) -> Http:
        return self._link().http

    def _path(self, api_version: str, kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        return self._link().kinds.find(api_version, kind).path(namespace, name, subresource)

    def _link(self) -> _Link:
        try:
            status = self.kubeconfig.stat()
        except OSError:
            raise PreconditionError(f"there is no kubeconfig {self.kubeconfig}", hint="invoke up") from None
        stamp = (status.st_mtime_ns, status.st_ino)
        with self._lock:
            if self._linked is None or self._linked.stamp != stamp:
                self._linked = _load(self.kubeconfig, self.context, stamp)
            return self._linked


def _load(kubeconfig: Path, context: str, stamp: tuple[int, int]) -> _Link:
    from kubernetes import client, config

    settings = client.Configuration()
    settings.connection_pool_maxsize = 64
    settings.keep_alive = True
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            str(kubeconfig), context=context, client_configuration=settings, persist_config=False
        )
        if is_loopback(settings.host):
            settings.proxy = None
        pool = client.ApiClient(settings).rest_client.pool_manager
        secured = _tls(settings)
    except Exception as error:  # noqa: BLE001
        # the library lets YAML, TLS and type errors of a broken file through as they are
        text = error.args[0] if isinstance(error, config.ConfigException) and error.args else type(error).__name__
        raise PreconditionError(f"context {context} of {kubeconfig} cannot be used: {text}") from None
    http = Http(settings.host.rstrip("/"), pool, lambda: _authorization(settings))
    return _Link(stamp, http, Discovery(http), secured)


def _authorization(settings: Any) -> dict[str, str]:
    return {each["key"]: each["value"] for each in settings.auth_settings().values() if each["value"]}


def _tls(settings: Any) -> ssl.SSLContext:
    """For the one connection that the library's pool cannot make: the websocket."""
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if not settings.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context


def _kind(wanted: Object) -> tuple[str, str]:
    return wanted["apiVersion"], wanted["kind"]


def _namespace(resource: Resource, metadata: Mapping[str, Any]) -> str:
    namespace = str(metadata.get("namespace") or "")
    if resource.namespaced and not namespace:
        raise ApiError("it names no namespace", status=400, reason="BadRequest")
    return namespace


def _about(wanted: Object, error: ApiError) -> ApiError:
    """The refusal with the object's name. Of a Secret only the reason is told: a message may quote its content."""
    metadata = wanted["metadata"]
    name = "/".join(part for part in (metadata.get("namespace"), metadata.get("name")) if part)
    quoted = wanted["kind"] == "Secret" and error.status in (400, 422, 500)
    text = f"refused ({error.reason})" if quoted else error.message
    return ApiError(f"{wanted['kind']} {name}: {text}", status=error.status, reason=error.reason, hint=error.hint)


def _selectors(labels: str, fields: str) -> Query:
    return [(key, value) for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value]


def _log_query(container: str, tail_lines: int | None) -> Query:
    query = [("container", container)] if container else []
    return query + ([("tailLines", str(tail_lines))] if tail_lines is not None else [])


def _dry(dry_run: bool) -> Query:
    return [("dryRun", "All")] if dry_run else []


def _pod(namespace: str, pod: str, subresource: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/{subresource}"
