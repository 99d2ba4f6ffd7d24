"""The adapter for a registry by plain requests: for what cannot wait for a program, and for what crane does not tell.

API: the OCI distribution-spec; logins: Basic, or a token as the CNCF distribution project's token specification has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import ssl
import time
import warnings
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
class RegistryLogin:
    """Who logs in to a registry. username "": the password is an identity token (docker's "<token>")."""

    username: str
    password: Secret


@dataclass(frozen=True)
class RegistryAnswer:
    """What a registry answered.

    status: of HTTP, 0 if nothing answered. headers: lower-case names. cause: why nothing answered. body: b"" of HEAD.
    """

    status: int
    headers: Mapping[str, str]
    cause: str = ""
    body: bytes = b""

    @property
    def digest(self) -> str:
        """Of the manifest that was asked for, as the registry names it or else computed; "" if neither can be."""
        if self.status != 200:
            return ""
        computed = f"sha256:{hashlib.sha256(self.body).hexdigest()}" if self.body else ""
        return self.headers.get("docker-content-digest") or computed

    @property
    def wait(self) -> float:
        """Seconds that the registry asks to be left alone (Retry-After), 0 for none."""
        return parse_retry_after(self.headers.get("retry-after", ""), time.time()) or 0.0


class RegistryHttp:
    """The user's registry by plain requests. It raises nothing: what goes wrong is in the answer.

    settings: where it is and who we are. limit: seconds for each request to begin to answer.
    """

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
            # The settings allow it; urllib3 would say so among the lines of each `up` and `status`.
            warnings.filterwarnings("ignore", message="Unverified HTTPS request")

    def find_manifest(self, name: str) -> RegistryAnswer:
        """Ask whether "NAME:TAG" or "NAME@DIGEST" is there: status 200 or 404."""
        return self._ask("HEAD", self._make_manifest_path(name))

    def find_digest(self, name: str) -> RegistryAnswer:
        """Ask for the `digest` of "NAME:TAG". A registry need not name it; then the manifest itself is read."""
        answer = self.find_manifest(name)
        return answer if answer.digest or answer.status != 200 else self._ask("GET", self._make_manifest_path(name))

    def measure_push_rate(self, name: str, seconds: float) -> float:
        """Bytes a second of an upload to the repository `name`, measured for about `seconds`; 0 if it is refused.

        The upload is given up at the end, so the registry keeps nothing of it.
        """
        begun = self._ask("POST", f"/v2/{self._make_path(name)}/blobs/uploads/", body=b"")
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

    def _make_manifest_path(self, name: str) -> str:
        path, _, tag = name.rpartition("@") if "@" in name else name.rpartition(":")
        return f"/v2/{self._make_path(path)}/manifests/{tag}"

    def _make_path(self, name: str) -> str:
        return f"{self._settings.folder}/{name}".strip("/")

    def _ask(self, method: str, path: str, *, body: bytes | None = None, first: int | None = None) -> RegistryAnswer:
        """path: or the address that the registry gave. first: offset of the body in its upload."""
        headers = {"Accept": MANIFESTS}
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        if first is not None and body is not None:
            headers["Content-Range"] = f"{first}-{first + len(body) - 1}"
        answer = self._try_schemes(method, path, headers, body)
        if answer.status == 401 and self._authorize(answer.headers.get("www-authenticate", "")):
            answer = self._try_schemes(method, path, headers, body)
        return answer

    def _try_schemes(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> RegistryAnswer:
        answer = RegistryAnswer(0, {})
        for scheme in list(self._schemes):
            url = urljoin(f"{scheme}://{self._settings.registry}", path)
            answer = self._try_request(method, url, headers, body)
            if answer.status:
                self._schemes = [scheme]
                break
        return answer

    def _try_request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> RegistryAnswer:
        try:
            answer = self._request(method, url, headers=headers, authorization=self._authorization, body=body)
        except OSError as error:
            return RegistryAnswer(0, {}, str(error))
        return RegistryAnswer(answer.status, answer.headers, body=answer.body)

    def _request(self, method: str, url: str, **options: Any) -> http_client.Answer:
        with HttpClient(self._limit, tls=self._tls) as client:
            return client.request(method, url, limit=CHUNK, **options)

    def _authorize(self, challenge: str) -> bool:
        """Whether there is something new to try."""
        before, login = self._authorization, self._find_login()
        basic = f"Basic {_encode(login)}" if login and login.username else ""
        if challenge.lower().startswith("bearer "):
            token = self._request_token(dict(_FIELD.findall(challenge)), basic)
            self._authorization = f"Bearer {token}" if token else ""
        else:
            self._authorization = basic
        return bool(self._authorization) and self._authorization != before

    def _request_token(self, fields: Mapping[str, str], basic: str) -> str:
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

    def _find_login(self) -> RegistryLogin | None:
        if self._settings.username:
            return RegistryLogin(self._settings.username, self._settings.password)
        return read_docker_login(self._shell, self._settings.registry)


def read_docker_login(shell: Shell, host: str) -> RegistryLogin | None:
    """The login that docker's own configuration has for `host`, None without one.

    It is read from the file, or asked of the credential helper that the file names (docker login's documentation).
    """
    known = read_docker_config()
    key = DOCKER_HUB if host == "docker.io" else host
    helper = known.get("credHelpers", {}).get(key) or known.get("credsStore", "")
    if helper:
        with contextlib.suppress(BootstrapError, ValueError, KeyError, TypeError):
            said = json.loads(shell.run([f"docker-credential-{helper}", "get"], stdin=key, limit=5).stdout)
            return RegistryLogin("" if said["Username"] == "<token>" else said["Username"], Secret(said["Secret"]))
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        username, _, password = b64decode(known["auths"][key]["auth"]).decode().partition(":")
        return RegistryLogin(username, Secret(password.rstrip("\0"))) if username else None
    return None


def read_docker_config() -> dict[str, Any]:
    """docker's configuration (config.json), {} where there is none to read."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        found = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _encode(login: RegistryLogin) -> str:
    return b64encode(f"{login.username}:{login.password.reveal()}".encode()).decode()
