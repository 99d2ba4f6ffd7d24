"""The door to the environment's own folder: its CA, its certificates and its passwords, and the supply it came from.

They are made once and kept in files of mode 0600, because the registry needs them before there is a
cluster that could hold them. `down` deletes the folder. What makes them is loaded when something is made: most commands
only read.
"""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.core.model import Secret

if TYPE_CHECKING:
    from bootstrap.core import pki
    from bootstrap.settings.config import GitSettings

PASSWORD_BYTES = 24
SUPPLY = "supply"
COST = 5
"""Of bcrypt. The registry computes it at each request; whoever can read the hash finds the password beside it."""


class Identity:
    """Secrets of one environment. Nothing is written before the first of them is asked for."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._name = name
        self._lock = threading.RLock()  # steps run side by side, and must not make the same thing twice

    @property
    def ca_file(self) -> Path:
        self.authority()
        return self.folder / "ca.crt"

    def authority(self) -> pki.KeyPair:
        """The CA; a new one if the kept one is lost."""
        from bootstrap.core import pki

        with self._lock:
            return self._kept("ca") or self._keep("ca", pki.make_authority(self._name, _now()))

    def certificate(self, name: str, hosts: Iterable[str] = ()) -> pki.KeyPair:
        """The certificate `name` for these hosts; issued again when it is due or does not fit."""
        from bootstrap.core import pki

        hosts = tuple(hosts)
        with self._lock:
            authority = self.authority()
            kept = self._kept(name)
            if kept and pki.is_current(kept, authority.certificate, hosts, _now()):
                return kept
            return self._keep(name, pki.issue_certificate(authority, name, hosts, _now()))

    def password(self, name: str, wanted: Secret) -> Secret:
        """The password `name`: the wanted one, or one made at random at first."""
        if wanted:
            return wanted
        path = self.folder / f"{name}.password"
        with self._lock:
            if not path.exists():
                self._write(path.name, secrets.token_urlsafe(PASSWORD_BYTES).encode())
            return Secret(path.read_text())

    def passwords(self) -> list[Secret]:
        """Those made so far, to be masked wherever they show; none is made."""
        return [Secret(path.read_text()) for path in sorted(self.folder.glob("*.password"))]

    def own_git_password(self, settings: GitSettings) -> Secret:
        """Of the environment's git server: the one that is set, unless that is for a repository elsewhere."""
        return self.password("git", Secret("") if settings.url else settings.password)

    def htpasswd(self, username: str, password: Secret) -> bytes:
        """An htpasswd line (bcrypt), the same one as long as the password is the same."""
        import bcrypt

        path = self.folder / "htpasswd"
        plain = password.reveal().encode()
        if path.exists():
            kept = path.read_bytes()
            user, _, hashed = kept.strip().partition(b":")
            if user == username.encode() and bcrypt.checkpw(plain, hashed):
                return kept
        line = username.encode() + b":" + bcrypt.hashpw(plain, bcrypt.gensalt(COST)) + b"\n"
        self._write("htpasswd", line)
        return line

    def docker_config(self, username: str, password: Secret, hosts: Iterable[str]) -> Path:
        """A folder with a config.json that logs in to `hosts`, for DOCKER_CONFIG."""
        auth = base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()
        config = {"auths": {host: {"auth": auth} for host in hosts}}
        self._write("docker/config.json", json.dumps(config).encode())
        return self.folder / "docker"

    def supply(self) -> str:
        """What the environment was made with, "" while there is none."""
        try:
            return (self.folder / SUPPLY).read_text().strip()
        except FileNotFoundError:
            return ""

    def remember_supply(self, name: str) -> None:
        """Nothing, as long as nothing of the environment was made."""
        if self.folder.is_dir():
            self._write(SUPPLY, name.encode())

    def write(self, name: str, data: bytes) -> Path:
        """Keep a file of mode 0600 in the folder."""
        return self._write(name, data)

    def forget(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self, name: str) -> pki.KeyPair | None:
        from bootstrap.core import pki

        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not (certificate.exists() and key.exists()):
            return None
        return pki.KeyPair(certificate.read_bytes(), key.read_bytes())

    def _keep(self, name: str, pair: pki.KeyPair) -> pki.KeyPair:
        self._write(f"{name}.key", pair.key)
        self._write(f"{name}.crt", pair.certificate)
        return pair

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        if path.exists() and path.read_bytes() == data:
            return path
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.touch(mode=0o600)
        temporary.write_bytes(data)
        temporary.rename(path)
        return path


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
