"""One API server over HTTPS: time limits, retries, and its errors as one short sentence.

Every wait is bounded: connecting, reading, and the pauses between attempts, which urllib3's own
`Retry` makes (it honours Retry-After up to RETRY_AFTER_SECONDS).
"""

from __future__ import annotations

import functools
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bootstrap.core.errors import ApiError
from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.world.http_client import list_causes

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager
    from urllib3.util.retry import Retry

CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
CONNECTIONS = 64
RETRY_AFTER_SECONDS = 5
BACKOFF_SECONDS = 0.2
"""Pauses between attempts: none, then twice this, doubling."""
MESSAGE_LENGTH = 600
BODY_LIMIT = 64 << 20
"""Bytes: an answer larger than this is refused rather than kept."""

Query = Sequence[tuple[str, str]]


UNAUTHORIZED = 401
NOT_ACCEPTED = "its certificate or ours was not accepted"


@dataclass(frozen=True)
class Http:
    """One API server.

    host: "https://HOST:PORT". pool: keeps the connections. headers: gives the authorization, asked anew for each
    request. explain: why the server may refuse the login, "" if nothing is known.
    """

    host: str
    pool: PoolManager
    headers: Callable[[], Mapping[str, str]]
    explain: Callable[[], str] = lambda: ""

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        pools = (self.pool.pools.get(key) for key in self.pool.pools.keys())  # noqa: SIM118  its own kind of mapping
        return sum(each.num_requests for each in pools if each is not None)

    def request_json(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: object = None,
        content_type: str = "application/json",
        again: bool = True,
        seconds: float = READ_SECONDS,
    ) -> Any:
        """Send one request; the answer, parsed. again: it may be sent twice without harm. Raises ApiError."""
        data = None if body is None else json.dumps(body).encode()
        response = self._send(method, path, query, data, content_type, again=again, busy=True, seconds=seconds)
        try:
            return json.loads(self._read(response))
        except ValueError:
            raise ApiError(
                f"the answer of {self.host} to {method} {path} is not JSON", status=response.status
            ) from None

    def request_text(self, path: str, *, query: Query = (), seconds: float = READ_SECONDS, busy: bool = True) -> str:
        """GET a text; bytes that are not UTF-8 are replaced. busy: 429 and 503 mean try again. Raises ApiError."""
        response = self._send("GET", path, query, None, "", again=True, busy=busy, seconds=seconds)
        return self._read(response).decode(errors="replace")

    def open_stream(self, path: str, *, query: Query = (), idle: float) -> BaseHTTPResponse:
        """GET whose answer is read as it comes; `idle` seconds without a byte end it. Raises ApiError."""
        return self._send("GET", path, query, None, "", again=True, busy=True, seconds=idle)

    def read_lines(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        """The lines of an open answer, each as soon as it is whole. Raises ApiError when it breaks off."""
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for chunk in response.stream(1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # the last two come out of http.client when another thread shuts the socket down
            raise self._make_unanswered(error) from None
        if rest:
            yield rest

    def _send(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        content_type: str,
        *,
        again: bool,
        busy: bool,
        seconds: float,
    ) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError
        from urllib3.util import Timeout

        url = self.host + path + ("?" + urlencode(query) if query else "")
        headers = {"Accept": "application/json, */*", "User-Agent": "tekton-bootstrap", **self.headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            response = self.pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=Timeout(connect=CONNECT_SECONDS, read=seconds),
                retries=_make_retry(again=again, busy=busy),
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            raise self._make_unanswered(error) from None
        if not 200 <= response.status < 300:
            refusal = read_refusal(response.status, self._read(response), response.reason or "")
            why = self.explain() if response.status == UNAUTHORIZED else ""
            raise ApiError(f"{refusal.message}: {why}", status=UNAUTHORIZED, reason=refusal.reason) if why else refusal
        return response

    def _read(self, response: BaseHTTPResponse) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            data = response.read(BODY_LIMIT + 1)
        except (HTTPError, OSError) as error:
            raise self._make_unanswered(error) from None
        if len(data) > BODY_LIMIT:
            response.close()
            raise ApiError(f"the answer of {self.host} is larger than {BODY_LIMIT >> 20} MiB", status=response.status)
        response.release_conn()
        return data

    def _make_unanswered(self, error: BaseException) -> ApiError:
        cause = describe_cause(error)
        why = self.explain() if cause == NOT_ACCEPTED else ""
        cause = f"{cause}: {why}" if why else cause
        return ApiError(f"the API server at {self.host} did not answer: {cause}", status=0, reason="Unanswered")


def make_pool(tls: ssl.SSLContext, *, server_name: str = "", proxy: str = "") -> PoolManager:
    """Connections that are kept and shared by all threads.

    server_name: checked in place of the host's, "" for the host's. proxy: URL, "" for none.
    """
    import urllib3

    options: dict[str, Any] = {"ssl_context": tls, "maxsize": CONNECTIONS, "socket_options": _make_socket_options()}
    if server_name:
        options |= {"server_hostname": server_name, "assert_hostname": server_name}
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _make_socket_options() -> list[tuple[int, int, int]]:
    """A peer that vanished without a word is noticed within a minute, also by a stream that only listens."""
    wanted = (("TCP_NODELAY", 1), ("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
    numbers = [(getattr(socket, name, None), value) for name, value in wanted]
    kept = [(socket.IPPROTO_TCP, number, value) for number, value in numbers if number is not None]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *kept]


def read_refusal(status: int, body: bytes, reason: str) -> ApiError:
    """What the server said against a request, as an ApiError: its Status object's message, else the start of its text.

    reason: of HTTP, used where the answer names none.
    """
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        message, reason = str(answer.get("message") or reason), str(answer.get("reason") or reason)
    else:
        message = body.decode(errors="replace").strip().partition("\n")[0] or reason
    return ApiError(shorten_message(message) or f"HTTP {status}", status=status, reason=reason)


def shorten_message(text: str) -> str:
    """A message on one line, cut at MESSAGE_LENGTH characters."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


def describe_cause(error: BaseException) -> str:
    """The innermost reason of a failed exchange in plain words: "connection refused", "no answer in time"."""
    from urllib3 import exceptions as http

    for each in reversed(list_causes(error)):
        if isinstance(each, http.TimeoutError | TimeoutError):
            return "no answer in time"
        if isinstance(each, socket.gaierror):
            return "its name is not known"
        if isinstance(each, http.SSLError):
            return NOT_ACCEPTED
        if isinstance(each, OSError) and each.strerror:
            return _describe_error(each)
    return "the connection was closed"


def _describe_error(error: OSError) -> str:
    text = str(error.strerror)
    return NOT_ACCEPTED if "certificate" in str(error).lower() else text.lower()


def _make_retry(*, again: bool, busy: bool) -> Retry:
    """Refused connections 3 times, broken ones once if `again`; 429 and 503 4 times if `busy`."""
    return _load_retry_class()(
        total=6,
        connect=3,
        read=1 if again else False,
        status=4 if busy else 0,
        other=0,
        redirect=False,
        allowed_methods=None,  # any: `read` says what may be repeated
        status_forcelist=(429, 503) if busy else (),
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=2,
        retry_after_max=RETRY_AFTER_SECONDS,
        respect_retry_after_header=busy,
        raise_on_status=False,
    )


@functools.cache
def _load_retry_class() -> type[Retry]:
    from urllib3.util.retry import Retry

    class PatientRetry(Retry):
        """urllib3's own reading of Retry-After fails the request over a header that is neither number nor date."""

        def parse_retry_after(self, retry_after: str) -> float:
            return min(parse_retry_after(retry_after, time.time()) or 0.0, self.retry_after_max)

    return PatientRetry
