"""The adapter for a Kubernetes API: the sole importer of `kubernetes`, which costs 0.4 s and 20 MB.

The client library reads the kubeconfig and obtains credentials, unless that is as plain as kind's: then it is not even
loaded. Requests are made by `kube.http`. Objects go in and come out as parsed YAML (`model.Object`), never as the
library's classes.
"""

from __future__ import annotations

import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Object, Secret
from bootstrap.objects.kubeconfig import ClusterLogin, is_loopback, read_plain_login
from bootstrap.objects.kubeconfig_files import list_token_files, read_login
from bootstrap.world.http_client import is_exempt
from bootstrap.world.kube.discovery import Discovery
from bootstrap.world.kube.exec import Executed, execute
from bootstrap.world.kube.http import READ_SECONDS, Http, make_pool
from bootstrap.world.kube.login_expiry import describe_expiry
from bootstrap.world.kube.objects import ObjectStore, Query
from bootstrap.world.kube.port_forward import Tunnel, open_tunnel
from bootstrap.world.kube.watch import Feed, Stream, read_log_lines

LOG_IDLE_SECONDS = 600.0


Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Link:
    """A loaded kubeconfig. stamp: of the files it was read from. server_name: "" or the one to check for.

    tokens: files that a token was read from, which are a part of the stamp too.
    """

    stamp: Stamp
    http: Http
    kinds: Discovery
    tls: ssl.SSLContext
    server_name: str
    tokens: tuple[Path, ...]


class Kube(ObjectStore):
    """One context of a kubeconfig, both named explicitly; the variable KUBECONFIG and current-context play no part.

    Connects at first use, and anew when the file has changed (a cluster made again). Threads may share it. Every method
    raises ApiError, and PreconditionError when the kubeconfig is of no use.
    """

    def __init__(self, kubeconfig: Path, context: str, files: Sequence[Path] = ()) -> None:
        """files: those that `kubeconfig` is merged with, itself among them, by priority; () for itself alone."""
        self.kubeconfig = kubeconfig
        self.context = context
        self.files = tuple(files) or (kubeconfig,)
        self._lock = threading.Lock()
        self._linked: _Link | None = None

    @property
    def requests(self) -> int:
        """How many requests were sent so far, watches and logs among them."""
        return self._link().http.requests

    def read_version(self) -> str:
        """The version of the API server: "v1.36.3"."""
        return str(self._http.request_json("GET", "/version")["gitVersion"])

    def read_log(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        tail_lines: int | None = None,
        previous: bool = False,
    ) -> str:
        """The log of a container. `container` may be left out where the pod has one only.

        tail_lines: the last ones only. previous: of the container's run before its last restart. Raises ApiError with
        status 400 while it has not started.
        """
        query = _make_log_query(container, tail_lines) + ([("previous", "true")] if previous else [])
        return self._http.request_text(_make_pod_path(namespace, pod, "log"), query=query)

    def follow_log(
        self, namespace: str, pod: str, container: str = "", *, tail_lines: int | None = None
    ) -> Stream[str]:
        """Each line as it is written, until the container ends. A broken connection is taken up again.

        The ApiError of status 400 comes with the first line when the container has not started yet.
        """
        http, path = self._http, _make_pod_path(namespace, pod, "log")
        fixed = [("follow", "true"), ("timestamps", "true")]

        def reopen(since: str) -> Any:
            tail = None if since else tail_lines
            more = [("sinceTime", since.partition(".")[0].rstrip("Z") + "Z")] if since else []
            return http.open_stream(path, query=fixed + _make_log_query(container, tail) + more, idle=LOG_IDLE_SECONDS)

        feed = Feed(http.read_lines)
        return Stream(feed, read_log_lines(feed, reopen))

    def can_i(self, verb: str, group: str, resource: str, namespace: str = "") -> bool:
        """Whether this user may do that, as `kubectl auth can-i` asks.

        group: "" for core, "apps"... resource: plural, "pods/log" for a subresource. namespace: "" for all.
        """
        plural, _, subresource = resource.partition("/")
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        answer = self._http.request_json(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body={**body, "spec": {"resourceAttributes": asked}},
        )
        return bool(answer.get("status", {}).get("allowed"))

    def request_token(
        self, namespace: str, service_account: str, seconds: int, audiences: Sequence[str] = ()
    ) -> Secret:
        """A token of the ServiceAccount that is good for `seconds` (at least 600). audiences: () for the API itself."""
        spec = {"expirationSeconds": seconds, **({"audiences": [*audiences]} if audiences else {})}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{quote(namespace)}/serviceaccounts/{quote(service_account)}/token"
        return Secret(self._http.request_json("POST", path, body=body)["status"]["token"])

    def get_from_service(
        self, namespace: str, service: str, port: int | str, path: str = "/", *, seconds: float = READ_SECONDS
    ) -> str:
        """The answer to a GET on a Service, by way of the API server.

        port: number or name. The Service's own 4xx and 5xx are raised as ApiError.
        """
        base = f"/api/v1/namespaces/{quote(namespace)}/services/{quote(service)}:{port}/proxy"
        return self._http.request_text(f"{base}/{path.lstrip('/')}", seconds=seconds, busy=False)

    def read_node_summary(self, node: str) -> Object:
        """What the node's kubelet says of its use, by way of the API server.

        Shape: the kubelet's stats/summary (k8s.io/kubelet, pkg/apis/stats/v1alpha1).
        """
        found: Object = self._http.request_json("GET", f"/api/v1/nodes/{quote(node)}/proxy/stats/summary")
        return found

    def connect(self, namespace: str, pod: str, port: int) -> Tunnel:
        """Open a connection to a port of a pod."""
        link = self._link()
        path = f"{_make_pod_path(namespace, pod, 'portforward')}?{urlencode({'ports': port})}"
        url = link.http.host.replace("http", "ws", 1) + path
        return open_tunnel(url, link.http.headers(), link.tls, link.server_name)

    def execute(
        self, namespace: str, pod: str, command: Sequence[str], *, container: str = "", seconds: float = READ_SECONDS
    ) -> Executed:
        """Run a program in a container that runs already. Raises ApiError also when it takes longer than `seconds`."""
        link = self._link()
        query = [("stdout", "true"), ("stderr", "true"), *_make_log_query(container, None)]
        query += [("command", word) for word in command]
        url = link.http.host.replace("http", "ws", 1) + f"{_make_pod_path(namespace, pod, 'exec')}?{urlencode(query)}"
        return execute(url, link.http.headers(), link.tls, link.server_name, seconds)

    def serves(self, group_version: str) -> bool:
        """Whether the cluster has that group version: "security.openshift.io/v1"."""
        return self._kinds.serves(group_version)

    @property
    def _http(self) -> Http:
        return self._link().http

    @property
    def _kinds(self) -> Discovery:
        return self._link().kinds

    def _link(self) -> _Link:
        if not self.kubeconfig.exists():
            raise PreconditionError(f"there is no kubeconfig {self.kubeconfig}", hint="invoke up")
        with self._lock:
            linked = self._linked
            if linked is None or linked.stamp != _stamp((*self.files, *linked.tokens)):
                linked = self._linked = _load(self.files, self.context)
            return linked


def _stamp(files: Sequence[Path]) -> Stamp:
    """What changes with any of the files; one that is not there counts as well."""
    found = []
    for file in files:
        try:
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_ino))
        except OSError:
            found.append((0, 0))
    return tuple(found)


_loading = threading.Lock()
"""Held while the library's temporary files, which all clients share, are in use."""


def _load(files: Sequence[Path], context: str) -> _Link:
    """Raises PreconditionError for what cannot be used."""
    before = _stamp(files)
    document = read_login(files, context)
    tokens = tuple(list_token_files(document))
    stamp, source = before + _stamp(tokens), f"context {context} of {':'.join(map(str, files))}"
    plain = read_plain_login(document, context)

    def explain() -> str:
        return describe_expiry(document, context, datetime.now(UTC))

    if plain is None or not is_loopback(plain.server):
        return _load_any(document, source, stamp, tokens, explain)
    try:
        tls = _make_plain_tls(plain)
    except (OSError, ValueError):  # ssl.SSLError is the first; more is said about it below
        return _load_any(document, source, stamp, tokens, explain)
    token = plain.token.reveal()
    authorization = {"authorization": _make_header(f"Bearer {token}", source)} if token.strip() else {}
    http = Http(plain.server.rstrip("/"), make_pool(tls), lambda: authorization, explain)
    return _Link(stamp, http, Discovery(http), tls, "", tokens)


def _make_plain_tls(login: ClusterLogin) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=login.ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # clusters' own CAs often lack what only this asks for
    if login.certificate:
        with tempfile.NamedTemporaryFile("w") as file:  # mode 0600, for ssl reads certificates from files only
            file.write(f"{login.certificate}\n{login.key.reveal()}\n")
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _load_any(
    document: Object, source: str, stamp: Stamp, tokens: tuple[Path, ...], explain: Callable[[], str]
) -> _Link:
    """Whatever the client library understands: files, programs that log in, proxies. document: of one context."""
    from kubernetes import client, config

    settings = client.Configuration()
    try:
        with _loading:
            try:
                config.load_kube_config_from_dict(  # type: ignore[no-untyped-call]
                    document, client_configuration=settings, persist_config=False
                )
                tls = _make_tls(settings)
            finally:
                # the library leaves the private key in a temporary file until the process ends, if it may end in peace
                config.kube_config._cleanup_temp_files()  # type: ignore[no-untyped-call]
    except PreconditionError as error:
        raise PreconditionError(f"{source} cannot be used: {error.message}") from None
    except Exception as error:  # noqa: BLE001
        # the library lets TLS and type errors of a broken file through as they are
        text = error.args[0] if isinstance(error, config.ConfigException) and error.args else type(error).__name__
        raise PreconditionError(f"{source} cannot be used: {text}") from None
    direct = is_loopback(settings.host) or is_exempt(urlsplit(settings.host).hostname or "")
    proxy = "" if direct else settings.proxy or ""
    pool = make_pool(tls, server_name=settings.tls_server_name or "", proxy=proxy)
    http = Http(settings.host.rstrip("/"), pool, lambda: _read_authorization(settings, source), explain)
    return _Link(stamp, http, Discovery(http), tls, settings.tls_server_name or "", tokens)


def _read_authorization(settings: Any, source: str) -> dict[str, str]:
    """The headers that log in, trimmed as client-go trims what it reads from a tokenFile.

    Raises PreconditionError for a login that no header can hold.
    """
    Secret(settings.password or "")
    given = {each["key"]: each["value"] for each in settings.auth_settings().values() if each["value"]}
    return {key: _make_header(str(value), source) for key, value in given.items()}


def _make_header(value: str, source: str) -> str:
    scheme, _, login = value.strip().partition(" ")
    login = Secret(login.strip()).reveal()  # from here on it is masked wherever it shows
    if not (login.isascii() and login.isprintable()):
        raise PreconditionError(f"{source}: its token holds characters that no HTTP header can have")
    return f"{scheme} {login}"


def _make_tls(settings: Any) -> ssl.SSLContext:
    """Made once: loading certificates for each connection would cost more than the connection."""
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    except (OSError, ValueError):
        raise PreconditionError("its certificate-authority is no certificate in PEM") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # clusters' own CAs often lack what only this asks for
    if not settings.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ValueError):
            raise PreconditionError("its client-certificate and client-key are no pair in PEM") from None
    return context


def _make_log_query(container: str, tail_lines: int | None) -> Query:
    query = [("container", container)] if container else []
    return query + ([("tailLines", str(tail_lines))] if tail_lines is not None else [])


def _make_pod_path(namespace: str, pod: str, subresource: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/{subresource}"
