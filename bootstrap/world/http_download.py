"""The adapter for web servers that files are downloaded from: proxies as the environment says, a CA, a login, retries.

What is downloaded is small (release documents), so it is held in memory; whoever asked checks its hash.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bootstrap.core.clock import Clock
from bootstrap.core.errors import NotFound, PreconditionError
from bootstrap.core.model import Secret
from bootstrap.world.http_client import BrokenOff, HttpClient, TooLarge

LIMIT = 60.0
"""Seconds without a byte."""
LARGEST = 16 << 20
PAUSES = (1.0, 4.0, 10.0)
"""Seconds before it is tried again, unless the server names some."""
LONGEST_PAUSE = 60.0
_AGAIN = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class DownloadAccess:
    """How to reach a web server.

    username: "" without a login. ca_file: a further CA, "" without. group: of the settings, for hints.
    """

    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    ca_file: str = ""
    group: str = "upstream"


def download(url: str, access: DownloadAccess, clock: Clock) -> bytes:
    """The contents of `url`. Tries again after PAUSES, or when the server says (Retry-After, LONGEST_PAUSE at most).

    Raises NotFound (404), PreconditionError with the cause for all else that goes wrong.
    """
    with HttpClient(LIMIT, ca_file=access.ca_file) as client:
        for pause in (*PAUSES, None):
            try:
                answer = client.request("GET", url, authorization=_make_authorization(access), limit=LARGEST)
            except TooLarge:
                raise PreconditionError(f"{url} is larger than {LARGEST >> 20} MiB") from None
            except OSError as error:
                if pause is None or _is_final(error):
                    raise _explain_error(url, error, access) from None
                clock.sleep(pause)
                continue
            if 200 <= answer.status < 300:
                return answer.body
            if pause is None or answer.status not in _AGAIN:
                raise _explain_status(url, answer.status, access)
            wanted = answer.retry_after()
            clock.sleep(pause if wanted is None else min(wanted, LONGEST_PAUSE))
    raise AssertionError


def _make_authorization(access: DownloadAccess) -> str:
    pair = f"{access.username}:{access.password.reveal()}"
    return f"Basic {b64encode(pair.encode()).decode()}" if access.username else ""


def _is_final(error: OSError) -> bool:
    """Whether it will be the same the next time."""
    return isinstance(error, ssl.SSLCertVerificationError | FileNotFoundError | ConnectionRefusedError)


def _explain_status(url: str, status: int, access: DownloadAccess) -> PreconditionError:
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


def _explain_error(url: str, error: OSError, access: DownloadAccess) -> PreconditionError:
    host = urlsplit(url).netloc
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = f"set {access.group}.ca_file"
        return PreconditionError(f"{host}: its certificate is of no CA that we know", hint=hint)
    if isinstance(error, FileNotFoundError):
        return PreconditionError(f"{access.group}.ca_file: {access.ca_file} cannot be read")
    if isinstance(error, BrokenOff):
        return PreconditionError(f"{host} broke off in the middle of {url}", hint="the same command again")
    hint = f"check the network and {access.group}.releases; invoke doctor"
    return PreconditionError(f"{host} does not answer", hint=hint, evidence=str(error))
