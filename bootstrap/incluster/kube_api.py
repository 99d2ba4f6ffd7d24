"""The API server as a pod's own ServiceAccount sees it, on the standard library alone. No proxy stands between."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.incluster.text import one_line

Object = dict[str, Any]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 10.0
"""Of one request."""
Exchanged = tuple[http.client.HTTPResponse, bytes]
MERGE = "application/merge-patch+json"


class ApiFailure(OSError):
    """status: 0 when nobody answered. retry_after: seconds, None if the server does not say."""

    def __init__(self, status: int, why: str, retry_after: float | None = None) -> None:
        super().__init__(status, why)
        self.status = status
        self.retry_after = retry_after


class Api:
    """folder: of the ServiceAccount, with `token` and `ca.crt`. The token is read anew each time: it is renewed.

    Threads may share it. Connections are kept, for setting one up costs more than most requests.
    """

    def __init__(self, host: str, port: int, folder: Path = ACCOUNT, *, seconds: float = SECONDS) -> None:
        self._host = host
        self._port = port
        self._folder = folder
        self._seconds = seconds
        self._idle: list[http.client.HTTPConnection] = []

    @staticmethod
    def of(environ: Mapping[str, str], folder: Path = ACCOUNT) -> Api:
        return Api(environ["KUBERNETES_SERVICE_HOST"], int(environ.get("KUBERNETES_SERVICE_PORT", "443")), folder)

    def read(self, path: str) -> bytes:
        """GET; the body as it is. Raises ApiFailure."""
        return self._send("GET", path, None, "")

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        """The parsed answer. kind: the type of the body. Raises ApiFailure."""
        answer = self._send(method, path, None if body is None else json.dumps(body).encode(), kind)
        try:
            parsed: Object = json.loads(answer or b"{}")
        except ValueError:
            raise ApiFailure(0, f"the API's answer to {method} is not JSON") from None
        return parsed

    def _send(self, method: str, path: str, body: bytes | None, kind: str) -> bytes:
        headers = {"Authorization": f"Bearer {(self._folder / 'token').read_text().strip()}"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            answer, content = self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise ApiFailure(0, f"the API does not answer ({type(error).__name__})") from None
        if not 200 <= answer.status < 300:
            pause = parse_retry_after(answer.getheader("Retry-After") or "", time.time())
            raise ApiFailure(answer.status, f"HTTP {answer.status} from the API{_said(content)}", pause)
        return content

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Exchanged:
        """On a connection that was used before, if the server has not closed it meanwhile; else on a new one."""
        with contextlib.suppress(IndexError, ConnectionError, ssl.SSLEOFError):
            return self._on(self._idle.pop(), method, path, body, headers)
        return self._on(self._connection(), method, path, body, headers)

    def _on(
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
        """Of use, still, afterwards."""
        while self._idle:
            self._idle.pop().close()

    def _connection(self) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds, context=context)


def _said(content: bytes) -> str:
    """Why the server refused: the message of its Status object."""
    try:
        message = json.loads(content)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return f": {one_line(str(message))[:300]}"


def event(namespace: str, cron_job: str, reason: str, message: str, now: str) -> Object:
    """A warning on a CronJob, for `kubectl get events`. now: RFC 3339."""
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
