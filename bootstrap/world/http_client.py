"""HTTP from this machine: one decision on proxies, CAs, redirects, time limits and what an error is.

Every adapter that asks a web server goes through here; only the Kubernetes API has a client of its own (`kube.http`),
with connections that are kept. `urllib3` is loaded with the first request, for that costs more than most requests.

Two things are done by hand that urllib3 offers. Redirects: urllib3 keeps the proxy of the first address, but NO_PROXY
may name the next one. Repeating (in `http_download`): its `Retry` ends before the body is read, and its sleeps end with
neither an interrupted command nor a test's clock.
"""

from __future__ import annotations

import importlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from bootstrap.incluster.retry_after import parse_retry_after

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

MOST_REDIRECTS = 10
BODY_LIMIT = 64 << 20
"""Bytes of an answer, unless less is said."""
USER_AGENT = "tekton-bootstrap"


class TooLarge(OSError):
    """The body is larger than it may be."""


class BrokenOff(OSError):
    """The connection ended before the answer did."""


@dataclass(frozen=True)
class Answer:
    """What a web server answered. headers: lower-case names.

    body: as it was sent, up to the limit that was asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def retry_after(self) -> float | None:
        """Seconds that the server asks to be left alone (Retry-After); None if it does not say."""
        return parse_retry_after(self.headers.get("retry-after", ""), time.time())


class HttpClient:
    """Requests to web servers. Use it as a context: connections to a host are kept for as long. One thread at a time.

    seconds: to connect, and without a byte. tls: for https, by default the CAs of the machine and of the file `ca_file`
    ("" for none). proxies: those that the environment names are asked; not for what is on this machine.
    """

    def __init__(
        self, seconds: float, *, tls: ssl.SSLContext | None = None, ca_file: str = "", proxies: bool = True
    ) -> None:
        self._seconds = seconds
        self._tls = tls
        self._ca_file = ca_file
        self._proxies = proxies
        self._pools: dict[tuple[str, str], PoolManager] = {}

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.clear()
        self._pools.clear()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        authorization: str = "",
        body: bytes | None = None,
        follow: bool = True,
        limit: int = BODY_LIMIT,
    ) -> Answer:
        """Send a request. Whatever the server answers is returned, errors too.

        authorization: a header that is not sent on to another host. follow: GET and HEAD go where a redirect leads.
        limit: bytes of the body; 0 leaves it unread. Raises OSError as the system says it (ConnectionRefusedError,
        TimeoutError, ssl.SSLCertVerificationError, FileNotFoundError for `ca_file`), TooLarge, BrokenOff, or one with
        the cause as its text.
        """
        for _ in range(MOST_REDIRECTS):
            login = {"Authorization": authorization} if authorization else {}
            answer = self._exchange(method, url, {"User-Agent": USER_AGENT, **(headers or {}), **login}, body, limit)
            target = (
                urljoin(url, answer.headers.get("location", "")) if answer.status in (301, 302, 303, 307, 308) else ""
            )
            if not follow or method not in ("GET", "HEAD") or not target.startswith(("http://", "https://")):
                break
            if _find_origin(target) != _find_origin(url):
                authorization = ""
            url = target
        return answer

    def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limit: int) -> Answer:
        from http.client import HTTPException

        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        try:
            response = self._pool(url).request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=Timeout(connect=self._seconds, read=self._seconds),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                data = _read(response, limit)
            finally:
                response.close()  # of a body that was read whole the connection is kept all the same
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise _make_os_error(error) from None
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)

    def _pool(self, url: str) -> PoolManager:
        import urllib3

        proxy = find_proxy(url) if self._proxies else ""
        key = (proxy, urlsplit(url).scheme)
        if key[1] not in ("http", "https"):
            raise ValueError(f"{url} is not an http or https address")
        if key not in self._pools:
            options: dict[str, Any] = {}
            if "https" in (key[1], urlsplit(proxy).scheme):
                self._tls = self._tls or make_tls(self._ca_file)
                options["ssl_context"] = self._tls
            self._pools[key] = urllib3.PoolManager(**options)
            if proxy:
                self._pools[key] = urllib3.ProxyManager(proxy, proxy_headers=_make_proxy_login(proxy), **options)
        return self._pools[key]


def request(method: str, url: str, seconds: float, *, proxies: bool = True, **options: Any) -> Answer:
    """Send one request on a connection of its own; see HttpClient and its `request`."""
    with HttpClient(seconds, proxies=proxies) as client:
        return client.request(method, url, **options)


def load_library() -> None:
    """Load what a request needs, for a caller who counts the seconds of the first one."""
    for name in ("urllib3", "urllib.request"):
        importlib.import_module(name)


def make_tls(ca_file: str = "") -> ssl.SSLContext:
    """Settings for TLS that trust the CAs of the machine, and those of a file.

    Raises OSError when that cannot be read.
    """
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def find_proxy(url: str) -> str:
    """The proxy that the environment names for `url` (HTTP_PROXY, HTTPS_PROXY and NO_PROXY), "" for none."""
    from urllib.request import getproxies

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme, "")
    if not proxy or is_exempt(parts.netloc.rpartition("@")[2]):
        return ""
    return proxy if "//" in proxy else f"http://{proxy}"


def is_exempt(host: str) -> bool:
    """Whether NO_PROXY names the host, which may have a port."""
    from urllib.request import proxy_bypass

    return bool(proxy_bypass(host))


def has_proxy(host: str) -> bool:
    """Whether a proxy lies between this machine and an HTTPS server."""
    from urllib.request import getproxies

    return bool(getproxies().get("https")) and not is_exempt(host)


def list_causes(error: BaseException) -> list[BaseException]:
    """The error, what it was made of, what that was made of: the innermost comes last."""
    chain = [error]
    while following := _find_inner(chain[-1]):
        chain.append(following)
    return chain


def _find_inner(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None)
    candidates = [reason, error.__cause__, error.__context__, *error.args]
    return next((each for each in candidates if isinstance(each, BaseException)), None)


def _make_os_error(error: BaseException) -> OSError:
    from http.client import IncompleteRead

    for each in reversed(list_causes(error)):
        if isinstance(each, IncompleteRead):
            return BrokenOff("the connection ended in the middle of the answer")
        if isinstance(each, OSError):
            return each
    return OSError(str(error) or type(error).__name__)


def _read(response: BaseHTTPResponse, limit: int) -> bytes:
    """A read may end early, at the end of the connection; only the next one tells that bytes are missing."""
    data = bytearray()
    while limit and (part := response.read(limit + 1 - len(data), decode_content=False)):
        data += part
        if len(data) > limit:
            response.close()
            raise TooLarge(f"the answer is larger than {limit} bytes")
    return bytes(data)


def _make_proxy_login(proxy: str) -> dict[str, str]:
    from urllib3.util import make_headers, parse_url

    login = parse_url(proxy).auth
    return make_headers(proxy_basic_auth=unquote(login)) if login else {}


def _find_origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
