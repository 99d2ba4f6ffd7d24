"""The door to web servers that files are fetched from: proxies as the environment says, a CA, a login, retries.

What is fetched is small (release documents), so it is held in memory; whoever asked checks its hash.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import urlsplit

from bootstrap.core.clock import Clock
from bootstrap.core.errors import NotFound, PreconditionError
from bootstrap.core.model import Secret

LIMIT = 60.0
"""Seconds without a byte."""
LARGEST = 16 << 20
PAUSES = (1.0, 4.0, 10.0)
"""Seconds before it is tried again, unless the server names some."""
LONGEST_PAUSE = 60.0
_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Access:
    """username: "" without a login. ca_file: a further authority, "" without. group: of the settings, for hints."""

    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    ca_file: str = ""
    group: str = "upstream"


def get(url: str, access: Access, clock: Clock) -> bytes:
    """The body. Raises NotFound (404), PreconditionError with the cause for all else that goes wrong."""
    for pause in (*PAUSES, None):
        try:
            return _once(url, access)
        except urllib.error.HTTPError as error:
            with error:
                if pause is None or error.code not in _AGAIN:
                    raise _refused(url, error.code, access) from None
                pause = _asked(error.headers, pause)
        except (OSError, http.client.HTTPException) as error:
            if pause is None or _hopeless(error):
                raise _unreachable(url, error, access) from None
        clock.sleep(pause)
    raise AssertionError


def _once(url: str, access: Access) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "tekton-bootstrap"})  # noqa: S310  a rule of settings
    if access.username:
        pair = f"{access.username}:{access.password.reveal()}"
        # Not handed on where the server leads elsewhere.
        request.add_unredirected_header("Authorization", f"Basic {b64encode(pair.encode()).decode()}")
    context = ssl.create_default_context()
    if access.ca_file:
        context.load_verify_locations(access.ca_file)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=LIMIT) as answer:
        body: bytes = answer.read(LARGEST + 1)
        # read(N) does not raise IncompleteRead when the connection ends early
        expected = answer.headers.get("Content-Length")
    if len(body) > LARGEST:
        raise PreconditionError(f"{url} is larger than {LARGEST >> 20} MiB")
    if expected is not None and len(body) < int(expected):
        raise http.client.IncompleteRead(body, int(expected) - len(body))
    return body


def _asked(headers: Message, pause: float) -> float:
    """What the server wants (Retry-After, in seconds), within reason."""
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_PAUSE) if text.isdecimal() else pause


def _hopeless(error: Exception) -> bool:
    """Whether it will be the same the next time."""
    cause = getattr(error, "reason", error)
    return isinstance(cause, ssl.SSLCertVerificationError | FileNotFoundError | ConnectionRefusedError)


def _refused(url: str, status: int, access: Access) -> PreconditionError:
    host, group = urlsplit(url).netloc, access.group
    if status == 404:
        return NotFound(f"{url} does not exist (404)", hint=f"check {group}.releases")
    if status == 401:
        hint = f"set {group}.username and INVOKE_{group.upper()}_PASSWORD"
        return PreconditionError(f"{host} wants a login, or another one (401)", hint=hint)
    if status == 403:
        return PreconditionError(f"{host} does not let us have {url} (403)", hint=f"check {group}.username")
    if status == 429:
        hint = "wait, then the same command again"
        return PreconditionError(f"{host} answers 429: too many requests", hint=hint)
    return PreconditionError(f"{host} answers {status} for {url}", hint="the same command again, later")


def _unreachable(url: str, error: Exception, access: Access) -> PreconditionError:
    host, cause = urlsplit(url).netloc, getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = f"set {access.group}.ca_file"
        return PreconditionError(f"{host}: its certificate is of no CA that we know", hint=hint)
    if isinstance(cause, FileNotFoundError):
        return PreconditionError(f"{access.group}.ca_file: {access.ca_file} cannot be read")
    if isinstance(cause, http.client.IncompleteRead):
        return PreconditionError(f"{host} broke off in the middle of {url}", hint="the same command again")
    hint = f"check the network and {access.group}.releases; invoke doctor"
    return PreconditionError(f"{host} does not answer", hint=hint, evidence=str(cause))
