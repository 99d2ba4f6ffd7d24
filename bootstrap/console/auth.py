"""Who may use the console: whoever opened the address that the command printed, from a page of our own.

The address holds a random token. It is exchanged for a cookie, which scripts cannot read and which no other site's
page can make a browser send; the page that does so leads on to an address without the token. Every request and every
websocket is checked for it, and for being meant for this machine by name (a foreign name that resolves to 127.0.0.1
is refused) and from a page of our own (Origin). Nothing is answered before that, no file either.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from bootstrap.console.preferences import TELL_ZONE, Preferences, read_preferences

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_BYTES = 24
PARAMETER = "token"
SAFE_METHODS = ("GET", "HEAD")
OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
PAGE = b"x-nicegui-content"
"""Header by which the library marks its pages."""
_LEAD_ON = (
    '<!doctype html><meta charset="utf-8"><script nonce="{nonce}">{script}</script>'
    '<meta http-equiv="refresh" content="0;url={target}"><title>console</title>'
)
_REFUSAL = '<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1><p>{text}</p>'
ASK_AGAIN = "Open the address that invoke dashboard printed: it holds the token that lets you in."


class AuthMiddleware:
    """ASGI middleware: passes a request on to `app` only if it has the session's cookie and comes from our own page.

    token: the secret of the printed address; a request that has it is answered with the cookie. cookie: its name, which
    differs from console to console, because browsers share cookies between ports. hosts: names by which the console may
    be called besides those of loopback, without ports (a tunnel may change the port). any_address: any IP address may
    stand for such a name, as the console listens on all of this machine's; an address, unlike a name, cannot be made to
    mean another machine. static_page: gives the HTML, in pieces, that a reader with these preferences is shown on the
    way to a path.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        cookie: str,
        hosts: Iterable[str],
        any_address: bool = False,
        static_page: Callable[[Preferences, str], AsyncIterator[str]],
    ) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._static_page = static_page
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        names = "|".join(re.escape(each) for each in (*OWN_NAMES, *hosts))
        self._host = re.compile(rf"({names})(:\d{{1,5}})?", re.IGNORECASE)
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _read_headers(scope)
        refusal = self._explain_refusal(scope, headers)
        if refusal:
            await _refuse(scope, send, 403, "Refused", refusal)
        elif scope["type"] == "http" and self._has_token(scope):
            await self._exchange_token(scope, send, headers)
        elif not self._has_session(headers):
            await _refuse(scope, send, 401, "Not let in", ASK_AGAIN)
        else:
            await self._pass_on(scope, receive, send, headers["host"][0])

    def _explain_refusal(self, scope: Scope, headers: Mapping[str, list[str]]) -> str:
        """Why the request cannot be of our own page, or "" if it can."""
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self._is_own_host(hosts[0].strip()):
            return "The console is called 127.0.0.1 or localhost, or as dashboard.host says."
        reads = scope["type"] == "http" and scope["method"] in SAFE_METHODS
        if not reads and not origins:
            return "A request that changes something has to say which page it comes from."
        if any(each.lower() not in _own_origins(hosts[0].strip().lower()) for each in origins):
            return "The request comes from a page of another site."
        return ""

    def _is_own_host(self, host: str) -> bool:
        return bool(self._host.fullmatch(host)) or (self._any_address and _is_address(host))

    def _has_token(self, scope: Scope) -> bool:
        try:
            given = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=16)
        except ValueError:
            return False
        token = given.get(PARAMETER, [""])[0]
        return hmac.compare_digest(token.encode(), self._token.encode())

    def _has_session(self, headers: Mapping[str, list[str]]) -> bool:
        values = (value for name, value in _read_cookies(headers) if name == self._cookie)
        return any(hmac.compare_digest(value.encode(), self._session.encode()) for value in values)

    async def _exchange_token(self, scope: Scope, send: Send, headers: Mapping[str, list[str]]) -> None:
        """Answer the token with the cookie, and a page that leads on to the address without the token.

        It is no redirect: a browser sends a strict cookie only with what a page of the same site has asked for, and the
        address may have been opened from elsewhere.
        """
        # Only paths of our own, and never one that a browser would read as the name of another host.
        target = quote("/" + scope["path"].lstrip("/\\"), safe="/-._~")
        cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        nonce = secrets.token_urlsafe(16)
        ours = make_headers(nonce, headers["host"][0])
        await send(_make_start(200, {"set-cookie": cookie, **ours}))
        preferences = read_preferences(dict(_read_cookies(headers)), ",".join(headers.get("accept-language", [])))
        await send(_make_piece(_LEAD_ON.format(target=target, nonce=nonce, script=TELL_ZONE)))
        async for piece in self._static_page(preferences, target):
            await send(_make_piece(piece))
        await send({"type": "http.response.body", "body": b""})

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, host: str) -> None:
        answer = _Answer(send, secrets.token_urlsafe(16), host, static=scope["path"].startswith("/_nicegui/"))
        await self._app(scope, receive, answer)


class _Answer:
    """Sends an answer of the library with our headers; the scripts of a page get the nonce that lets them run."""

    def __init__(self, send: Send, nonce: str, host: str, *, static: bool) -> None:
        self._send = send
        self._nonce = nonce
        self._ours = make_headers(nonce, host)
        self._static = static
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            started = self._replace_headers(message)
            page = any(name.lower() == PAGE for name, _ in message["headers"])
            if page:
                self._start = started
            else:
                await self._send(started)
        elif message["type"] == "http.response.body" and self._start is not None:
            await self._send_document(message)
        else:
            await self._send(message)

    async def _send_document(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        # Texts of the page are in it as JSON without any "<", so that these are the template's own.
        body = self._body.replace(b"<script", f'<script nonce="{self._nonce}"'.encode())
        assert self._start is not None, "a page is sent once its head is there"  # noqa: S101
        kept = [(name, value) for name, value in self._start["headers"] if name.lower() != b"content-length"]
        await self._send({**self._start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
        await self._send({**message, "body": body})

    def _replace_headers(self, message: Message) -> Message:
        ours = dict(self._ours)
        if self._static and message["status"] < 300:  # the library's own files, with its version in their address
            ours.pop("cache-control")
        kept = [(name, value) for name, value in message["headers"] if name.decode().lower() not in ours]
        return {**message, "headers": [*kept, *((name.encode(), value.encode()) for name, value in ours.items())]}


def make_headers(nonce: str, host: str) -> dict[str, str]:
    """The security headers of an answer. nonce: of its inline scripts; host: as the request named this machine.

    The library compiles its templates in the browser and sets styles of elements, so that
    eval and inline styles have to be allowed. Inline scripts are allowed only with the nonce, nothing from elsewhere
    is.
    """
    script = f"script-src 'self' 'unsafe-eval' 'nonce-{nonce}'; " if nonce else ""
    sockets = f"connect-src 'self' ws://{host} wss://{host}; " if host else ""
    policy = (
        f"default-src 'none'; {script}{sockets}style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }


def _is_address(host: str) -> bool:
    """Whether it is an IP address, with or without a port; one of IPv6 stands in brackets."""
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::\d{1,5})?", host)
    try:
        return bool(found and ipaddress.ip_address(found[1] or found[2]))
    except ValueError:
        return False


def _own_origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


def _read_headers(scope: Scope) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


async def _refuse(scope: Scope, send: Send, status: int, title: str, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403
        return
    await _send_page(send, status, _REFUSAL.format(title=title, text=text), make_headers("", ""))


async def _send_page(send: Callable[[Any], Any], status: int, body: str, headers: Mapping[str, str]) -> None:
    data = body.encode()
    await send(_make_start(status, {**headers, "content-length": str(len(data))}))
    await send({"type": "http.response.body", "body": data})


def _make_start(status: int, headers: Mapping[str, str]) -> Message:
    listed = {**headers, "content-type": "text/html; charset=utf-8"}.items()
    encoded = [(name.encode(), value.encode()) for name, value in listed]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _make_piece(text: str) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


def _read_cookies(headers: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    for line in headers.get("cookie", []):
        for each in line.split(";"):
            name, _, value = each.strip().partition("=")
            yield name, value
