"""A client of the Kubernetes API with a pod's own ServiceAccount, on the standard library alone.

It uses no proxy but one that it is told of.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.incluster.text import one_line

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REQUEST_SECONDS = 10.0
"""Limit of one request."""
Exchanged = tuple[http.client.HTTPResponse, bytes]
MERGE = "application/merge-patch+json"


class ApiFailure(OSError):
    """A request that the API server refused or did not answer; `strerror` has the cause.

    status: the HTTP status, 0 when there was no answer. retry_after: seconds of that header, None without one.
    """

    def __init__(self, status: int, why: str, retry_after: float | None = None) -> None:
        super().__init__(status, why)
        self.status = status
        self.retry_after = retry_after


class Api:
    """Requests to one API server.

    folder: that of the ServiceAccount, with `token` and `ca.crt`; seconds: the limit of a request. The token is read
    for every request, because the kubelet replaces it. server_name: that of the server's certificate, "" for `host`.
    proxy: http://[USER:PASSWORD@]HOST:PORT, which leads there, "" for none.

    Threads may share it. Connections are kept, for setting one up costs more than most requests.
    """

    def __init__(
        self,
        host: str,
        port: int,
        folder: Path = ACCOUNT,
        *,
        seconds: float = REQUEST_SECONDS,
        server_name: str = "",
        proxy: str = "",
    ) -> None:
        self._host = host
        self._port = port
        self._server_name = server_name
        self._proxy = proxy
        self._folder = folder
        self._seconds = seconds
        self._idle: list[http.client.HTTPConnection] = []

    @staticmethod
    def from_environ(environ: Mapping[str, str], folder: Path = ACCOUNT, *, seconds: float = REQUEST_SECONDS) -> Api:
        """By the variables that Kubernetes sets in every container. Raises KeyError outside of a cluster."""
        port = int(environ.get("KUBERNETES_SERVICE_PORT", "443"))
        return Api(environ["KUBERNETES_SERVICE_HOST"], port, folder, seconds=seconds)

    def read(self, path: str) -> bytes:
        """The body of a GET, as bytes. path: with its query. Raises ApiFailure."""
        return self._send("GET", path, None, "")

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        """The parsed JSON of an answer. body: what is sent as JSON, None for nothing; kind: its media type.

        Raises ApiFailure.
        """
        answer = self._send(method, path, None if body is None else json.dumps(body).encode(), kind)
        try:
            parsed: Object = json.loads(answer or b"{}")
        except ValueError:
            raise ApiFailure(0, f"the API's answer to {method} is not JSON") from None
        return parsed

    def _send(self, method: str, path: str, body: bytes | None, kind: str) -> bytes:
        """The body of an answer with a status of 200 to 299. Raises ApiFailure for every other, and for none."""
        headers = {"Authorization": f"Bearer {(self._folder / 'token').read_text().strip()}"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            answer, content = self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise ApiFailure(0, f"the API does not answer ({type(error).__name__})") from None
        if not 200 <= answer.status < 300:
            pause = parse_retry_after(answer.getheader("Retry-After") or "", time.time())
            raise ApiFailure(answer.status, f"HTTP {answer.status} from the API{_read_refusal(content)}", pause)
        return content

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Exchanged:
        """Send on an idle connection, or on a new one if there is none or the server has closed it."""
        with contextlib.suppress(IndexError, ConnectionError, ssl.SSLEOFError):
            return self._exchange_on(self._idle.pop(), method, path, body, headers)
        return self._exchange_on(self._connect(), method, path, body, headers)

    def _exchange_on(
        self, used: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Exchanged:
        try:
            used.request(method, path, body, dict(headers))
            answer = used.getresponse()
            content = answer.read()
        except BaseException:
            used.close()
            raise
        self._idle.append(used)
        return answer, content

    def close(self) -> None:
        """Close the idle connections. Later requests open new ones."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> http.client.HTTPConnection:
        context = _NamedContext(self._server_name)
        context.load_verify_locations(cafile=str(self._folder / "ca.crt"))
        if not self._proxy:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds, context=context)
        proxy = urlsplit(self._proxy)
        made = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 80, timeout=self._seconds, context=context
        )
        login = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
        headers = {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"} if proxy.username else {}
        made.set_tunnel(self._host, self._port, headers)
        return made


class _NamedContext(ssl.SSLContext):
    """TLS of a client, as `ssl.create_default_context` sets it up, for a server whose certificate is for `name`."""

    def __new__(cls, _: str) -> _NamedContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, name: str) -> None:
        self._name = name

    def wrap_socket(
        self, sock: socket.socket, *_: Any, server_hostname: str | bytes | None = None, **__: Any
    ) -> ssl.SSLSocket:
        return super().wrap_socket(sock, server_hostname=self._name or server_hostname)


def _read_refusal(content: bytes) -> str:
    """Why the server refused: ": MESSAGE" of its Status object, "" if the body is none."""
    try:
        message = json.loads(content)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return f": {one_line(str(message))[:300]}"


def write_event(
    request: Callable[[str, str, Any], Object],
    say: Callable[[str], None],
    *,
    namespace: str,
    cron_job: str,
    reason: str,
    message: str,
    seconds: float,
) -> None:
    """Write a warning on a CronJob as an Event. One that cannot be written is only said.

    request: as `Api.request`. seconds: now, since the epoch.
    """
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    event = build_event(namespace, cron_job, reason, message, now)
    try:
        request("POST", f"/api/v1/namespaces/{namespace}/events", event)
    except ApiFailure as error:
        say(f"no event could be written: {error.strerror}")


def build_event(namespace: str, cron_job: str, reason: str, message: str, now: str) -> Object:
    """An Event of type Warning on a CronJob, as `kubectl get events` shows it. now: RFC 3339; message: cut at 1000."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{cron_job}-", "namespace": namespace},
        "involvedObject": {"apiVersion": "batch/v1", "kind": "CronJob", "name": cron_job, "namespace": namespace},
        "reason": reason,
        "message": message[:1000],
        "type": "Warning",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": f"tekton-bootstrap-{cron_job}"},
    }
