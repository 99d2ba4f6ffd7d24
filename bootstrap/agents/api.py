"""The API server as a pod's own ServiceAccount sees it, on the standard library alone. No proxy stands between."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 10.0
"""Of one request."""
MERGE = "application/merge-patch+json"


class ApiFailure(OSError):
    """status: 0 when nobody answered. retry_after: seconds, None if the server does not say."""

    def __init__(self, status: int, why: str, retry_after: float | None = None) -> None:
        super().__init__(status, why)
        self.status = status
        self.retry_after = retry_after


class Api:
    """folder: of the ServiceAccount, with `token` and `ca.crt`. The token is read anew each time: it is renewed."""

    def __init__(self, host: str, port: int, folder: Path = ACCOUNT, *, seconds: float = SECONDS) -> None:
        self._host = host
        self._port = port
        self._folder = folder
        self._seconds = seconds

    @staticmethod
    def of(environ: Mapping[str, str], folder: Path = ACCOUNT) -> Api:
        return Api(environ["KUBERNETES_SERVICE_HOST"], int(environ.get("KUBERNETES_SERVICE_PORT", "443")), folder)

    def read(self, path: str) -> bytes:
        """GET; the body as it is. Raises ApiFailure."""
        return self._send("GET", path, None, "")

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        """The parsed answer. kind: the type of the body. Raises ApiFailure."""
        answer = self._send(method, path, None if body is None else json.dumps(body).encode(), kind)
        parsed: Object = json.loads(answer or b"{}")
        return parsed

    def _send(self, method: str, path: str, body: bytes | None, kind: str) -> bytes:
        connection = self._connection()
        headers = {"Authorization": f"Bearer {(self._folder / 'token').read_text().strip()}"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiFailure(0, f"the API does not answer ({type(error).__name__})") from None
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise ApiFailure(answer.status, f"HTTP {answer.status} from the API", _seconds(answer))
        return content

    def _connection(self) -> http.client.HTTPConnection:
        context = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds, context=context)


def _seconds(answer: http.client.HTTPResponse) -> float | None:
    text = answer.getheader("Retry-After") or ""
    return float(text) if text.isdigit() else None


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
