"""The door to a registry by plain requests: for looks that cannot wait for a program, and for what crane does not tell.

API: the OCI distribution-spec; logins: Basic, or a token as the CNCF distribution project's token specification has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Secret
from bootstrap.incluster.retry_after import parse_retry_after
from bootstrap.settings.config import MirrorSettings
from bootstrap.world import http_client
from bootstrap.world.http_client import HttpClient
from bootstrap.world.registry.environment import MANIFESTS
from bootstrap.world.shell import Shell

CHUNK = 1 << 20
DOCKER_HUB = "https://index.docker.io/v1/"
"""What docker's configuration calls docker.io."""
_FIELD = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Login:
    """username "" with a password that is an identity token."""

    username: str
    password: Secret


@dataclass(frozen=True)
class Answer:
    """status: 0 if nothing answered. headers: lower-case names. cause: why nothing answered."""

    status: int
    headers: Mapping[str, str]
    cause: str = ""

    @property
    def wait(self) -> float:
        """Seconds that it asks to be left alone (Retry-After), 0 for none."""
        return parse_retry_after(self.headers.get("retry-after", ""), time.time()) or 0.0


class RegistryHttp:
    """settings: where it is and who we are. limit: seconds for each request to begin to answer."""

    def __init__(self, shell: Shell, settings: MirrorSettings, limit: float) -> None:
        self._shell = shell
        self._settings = settings
        self._limit = limit
        self._authorization = ""
        plain = settings.plain_http == "on"
        self._schemes = ["https", "http"] if plain else ["https"]
        self._tls = ssl.create_default_context()
        if settings.ca_file:
            with contextlib.suppress(OSError):  # crane says what is wrong with it
                self._tls.load_verify_locations(settings.ca_file)
        if plain:  # as crane has it: plain HTTP is worse than a certificate that nobody knows
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE

    def manifest(self, name: str) -> Answer:
        """Of "NAME:TAG" or "NAME@DIGEST": whether it is there."""
        path, _, tag = name.rpartition("@") if "@" in name else name.rpartition(":")
        return self._ask("HEAD", f"/v2/{self._path(path)}/manifests/{tag}")

    def rate(self, name: str, seconds: float) -> float:
        """Bytes a second of an upload to the repository `name`, measured for about `seconds`; 0 if it is refused.

        The upload is given up, so nothing is kept there.
        """
        begun = self._ask("POST", f"/v2/{self._path(name)}/blobs/uploads/", body=b"")
        if begun.status != 202:
            return 0.0
        sent, start, size, data = 0, time.monotonic(), CHUNK // 4, os.urandom(CHUNK)
        place = begun.headers.get("location", "")
        while (spent := time.monotonic() - start) < seconds:
            answer = self._ask("PATCH", place, body=data * (size // CHUNK) or data[:size], first=sent)
            if answer.status not in (202, 204):
                break
            sent, place = sent + size, answer.headers.get("location", place)
            size = min(size * 2, 16 * CHUNK)
        self._ask("DELETE", place)
        return sent / spent if sent and spent else 0.0

    def _path(self, name: str) -> str:
        return f"{self._settings.folder}/{name}".strip("/")

    def _ask(self, method: str, path: str, *, body: bytes | None = None, first: int | None = None) -> Answer:
        """path: or the address that the registry gave. first: offset of the body in its upload."""
        headers = {"Accept": MANIFESTS}
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        if first is not None and body is not None:
            headers["Content-Range"] = f"{first}-{first + len(body) - 1}"
        answer = self._reached(method, path, headers, body)
        if answer.status == 401 and self._authorize(answer.headers.get("www-authenticate", "")):
            answer = self._reached(method, path, headers, body)
        return answer

    def _reached(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        answer = Answer(0, {})
        for scheme in list(self._schemes):
            url = urljoin(f"{scheme}://{self._settings.registry}", path)
            answer = self._once(method, url, headers, body)
            if answer.status:
                self._schemes = [scheme]
                break
        return answer

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        try:
            answer = self._request(method, url, headers=headers, authorization=self._authorization, body=body)
        except OSError as error:
            return Answer(0, {}, str(error))
        return Answer(answer.status, answer.headers)

    def _request(self, method: str, url: str, **options: Any) -> http_client.Answer:
        with HttpClient(self._limit, tls=self._tls) as client:
            return client.request(method, url, limit=CHUNK, **options)

    def _authorize(self, challenge: str) -> bool:
        """Whether there is something new to try."""
        before, login = self._authorization, self._login()
        basic = f"Basic {_encoded(login)}" if login and login.username else ""
        if challenge.lower().startswith("bearer "):
            token = self._token(dict(_FIELD.findall(challenge)), basic)
            self._authorization = f"Bearer {token}" if token else ""
        else:
            self._authorization = basic
        return bool(self._authorization) and self._authorization != before

    def _token(self, fields: Mapping[str, str], basic: str) -> str:
        """What the token server answers; "" if it refuses."""
        realm = fields.get("realm", "")
        if not realm.startswith(tuple(f"{scheme}://" for scheme in self._schemes)):
            return ""
        query = urlencode({key: fields[key] for key in ("service", "scope") if key in fields})
        try:
            answer = self._request("GET", f"{realm}?{query}", authorization=basic)
            document = json.loads(answer.body) if 200 <= answer.status < 300 else None
        except (OSError, ValueError):
            return ""
        return str(document.get("token") or document.get("access_token") or "") if isinstance(document, dict) else ""

    def _login(self) -> Login | None:
        if self._settings.username:
            return Login(self._settings.username, self._settings.password)
        return docker_login(self._shell, self._settings.registry)


def docker_login(shell: Shell, host: str) -> Login | None:
    """What docker's own configuration knows for `host`, from the file itself or from its credential helper."""
    known = docker_config()
    key = DOCKER_HUB if host == "docker.io" else host
    helper = known.get("credHelpers", {}).get(key) or known.get("credsStore", "")
    if helper:
        with contextlib.suppress(BootstrapError, ValueError, KeyError, TypeError):
            said = json.loads(shell.run([f"docker-credential-{helper}", "get"], stdin=key, limit=5).stdout)
            return Login("" if said["Username"] == "<token>" else said["Username"], Secret(said["Secret"]))
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        username, _, password = b64decode(known["auths"][key]["auth"]).decode().partition(":")
        return Login(username, Secret(password.rstrip("\0"))) if username else None
    return None


def docker_config() -> dict[str, Any]:
    """docker's configuration, {} where there is none to read."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _encoded(login: Login) -> str:
    return b64encode(f"{login.username}:{login.password.reveal()}".encode()).decode()
