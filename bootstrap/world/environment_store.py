"""The adapter for the environment's own folder: its CA, its certificates and passwords, and the supply it came from.

They are made once and kept in files of mode 0600, because the registry needs them before there is a cluster that could
hold them. `down` deletes the folder. What makes them is loaded when something is made: most commands only read.
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
    """The secrets and files of one environment, below `folder`.

    Nothing is written before the first of them is asked for.

    name: of the environment; it stands in the CA's name. Threads may share it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._name = name
        self._lock = threading.RLock()  # steps run side by side, and must not make the same thing twice

    @property
    def ca_file(self) -> Path:
        """The CA's certificate as a PEM file; the CA is made if there is none."""
        self.ensure_ca()
        return self.folder / "ca.crt"

    def ensure_ca(self) -> pki.KeyPair:
        """The CA; a new one if the kept one is lost."""
        from bootstrap.core import pki

        with self._lock:
            return self._read_pair("ca") or self._write_pair("ca", pki.make_authority(self._name, _now()))

    def ensure_certificate(self, name: str, hosts: Iterable[str] = ()) -> pki.KeyPair:
        """The certificate `name` for these hosts (names and IP addresses), issued by the CA.

        It is issued again when it is due for renewal or does not fit; see `pki.is_current`.
        """
        from bootstrap.core import pki

        hosts = tuple(hosts)
        with self._lock:
            ca = self.ensure_ca()
            kept = self._read_pair(name)
            if kept and pki.is_current(kept, ca.certificate, hosts, _now()):
                return kept
            return self._write_pair(name, pki.issue_certificate(ca, name, hosts, _now()))

    def ensure_password(self, name: str, wanted: Secret) -> Secret:
        """The password `name`: the wanted one, or else one that was made at random when it was first asked for."""
        if wanted:
            return wanted
        path = self.folder / f"{name}.password"
        with self._lock:
            if not path.exists():
                self._write(path.name, secrets.token_urlsafe(PASSWORD_BYTES).encode())
            return Secret(path.read_text())

    def list_passwords(self) -> list[Secret]:
        """The passwords made so far, to be masked wherever they show; none is made."""
        return [Secret(path.read_text()) for path in sorted(self.folder.glob("*.password"))]

    def ensure_git_password(self, settings: GitSettings) -> Secret:
        """The password of the environment's own git server: the one of the settings, unless that is for a repository
        elsewhere.
        """
        return self.ensure_password("git", Secret("") if settings.url else settings.password)

    def ensure_htpasswd(self, username: str, password: Secret) -> bytes:
        """An htpasswd line (bcrypt), the same one as long as user and password are the same."""
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

    def write_docker_config(self, username: str, password: Secret, hosts: Iterable[str]) -> Path:
        """Write a docker config.json that logs in to `hosts`. Returns its folder, for DOCKER_CONFIG."""
        auth = base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()
        config = {"auths": {host: {"auth": auth} for host in hosts}}
        self._write("docker/config.json", json.dumps(config).encode())
        return self.folder / "docker"

    def read_supply(self) -> str:
        """The supply that the environment was made with, "" while there is none."""
        try:
            return (self.folder / SUPPLY).read_text().strip()
        except FileNotFoundError:
            return ""

    def save_supply(self, name: str) -> None:
        """Keep the name of the supply that the environment is made with; does nothing while nothing of it was made."""
        if self.folder.is_dir():
            self._write(SUPPLY, name.encode())

    def write_file(self, name: str, data: bytes) -> Path:
        """Write a file of mode 0600 into the folder, by one rename. Returns its path."""
        return self._write(name, data)

    def delete(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read_pair(self, name: str) -> pki.KeyPair | None:
        from bootstrap.core import pki

        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not (certificate.exists() and key.exists()):
            return None
        return pki.KeyPair(certificate.read_bytes(), key.read_bytes())

    def _write_pair(self, name: str, pair: pki.KeyPair) -> pki.KeyPair:
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
