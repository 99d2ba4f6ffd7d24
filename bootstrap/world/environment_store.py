"""The adapter for the environment's own folder: its CA, its certificates and passwords, and the supply it came from.

They are made once and kept in files of mode 0600, because the registry needs them before there is a cluster that could
hold them. `down` deletes the folder. What makes them is loaded when something is made: most commands only read.
A command that only looks has an Identity that writes nothing (`Identity.for_looking`).
"""

from __future__ import annotations

import base64
import datetime
import json
import secrets
import shutil
import tempfile
import threading
import weakref
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

    def __init__(self, folder: Path, name: str, *, writes: bool = True, renews: bool = True) -> None:
        """writes: what is made is kept in the folder, and not only in memory. renews: a certificate is issued again in
        good time, and not only when it has ended."""
        self.folder = folder
        self._name = name
        self._lock = threading.RLock()  # steps run side by side, and must not make the same thing twice
        self._writes = writes
        self._renews = renews
        self._made: dict[str, bytes] = {}
        self._files: Path | None = None

    def for_looking(self, *, renews: bool = False) -> Identity:
        """One that reads what this one has kept, and writes nothing into the folder.

        What is missing is made in memory, for this look. renews: what is due is issued again, in memory as well, so
        that a look sees what `up` would do.
        """
        return Identity(self.folder, self._name, writes=False, renews=renews)

    @property
    def ca_file(self) -> Path:
        return self._give_file("ca.crt", self.ensure_ca().certificate)

    def ensure_ca(self) -> pki.KeyPair:
        """The CA; a new one if the kept one is lost."""
        from bootstrap.core import pki

        with self._lock:
            kept = self._kept("ca") or self._kept("ca", in_memory=True)
            return kept or self._write_pair("ca", pki.make_authority(self._name, _now()))

    def ensure_certificate(self, name: str, hosts: Iterable[str] = ()) -> pki.KeyPair:
        """The certificate `name` for these hosts (names and IP addresses), issued by the CA.

        It is issued again when it is due for renewal or does not fit; see `pki.is_current`.
        """
        from bootstrap.core import pki

        hosts = tuple(hosts)
        with self._lock:
            ca = self.ensure_ca()
            days = pki.RENEW_DAYS if self._renews else 0
            for kept in (self._kept(name), self._kept(name, in_memory=True)):
                if kept and pki.is_current(kept, ca.certificate, hosts, _now(), days=days):
                    return kept
            return self._write_pair(name, pki.issue_certificate(ca, name, hosts, _now()))

    def list_expiries(self) -> dict[str, datetime.datetime]:
        """Name -> the moment from which nobody accepts it, of each certificate that the folder keeps."""
        from bootstrap.core import pki

        found = {}
        for path in sorted(self.folder.glob("*.crt")):
            if (pair := self._kept(path.stem)) and (at := pki.read_expiry(pair.certificate)):
                found[path.stem] = at
        return found

    def ensure_password(self, name: str, wanted: Secret) -> Secret:
        """The password `name`: the wanted one, or else one that was made at random when it was first asked for."""
        if wanted:
            return wanted
        file = f"{name}.password"
        with self._lock:
            kept = self._read(file)
            if kept is None:
                kept = secrets.token_urlsafe(PASSWORD_BYTES).encode()
                self._write(file, kept)
            return Secret(kept.decode())

    def list_passwords(self) -> list[Secret]:
        """The passwords made so far, to be masked wherever they show; none is made."""
        return [Secret(path.read_text()) for path in sorted(self.folder.glob("*.password"))]

    def ensure_git_password(self, settings: GitSettings) -> Secret:
        """The password of the environment's own git server: the one of the settings, unless that is for a repository
        elsewhere.
        """
        return self.ensure_password("git", Secret("") if settings.url else settings.password)

    def ensure_htpasswd(self, username: str, password: Secret, name: str = "htpasswd") -> bytes:
        """An htpasswd line (bcrypt), the same one as long as user and password are the same. name: its file."""
        import bcrypt

        plain = password.reveal().encode()
        kept = self._read(name)
        if kept is not None:
            user, _, hashed = kept.strip().partition(b":")
            if user == username.encode() and bcrypt.checkpw(plain, hashed):
                return kept
        line = username.encode() + b":" + bcrypt.hashpw(plain, bcrypt.gensalt(COST)) + b"\n"
        self._write(name, line)
        return line

    def write_docker_config(self, username: str, password: Secret, hosts: Iterable[str]) -> Path:
        """Write a docker config.json that logs in to `hosts`. Returns its folder, for DOCKER_CONFIG."""
        auth = base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()
        config = {"auths": {host: {"auth": auth} for host in hosts}}
        return self._give_file("docker/config.json", json.dumps(config).encode()).parent

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
        """Keep a file of mode 0600 in the folder, by one rename. Returns its path."""
        return self._give_file(name, data)

    def delete(self) -> None:
        """Delete the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self, name: str, *, in_memory: bool = False) -> pki.KeyPair | None:
        from bootstrap.core import pki

        read = self._made.get if in_memory else self._read_folder
        certificate, key = read(f"{name}.crt"), read(f"{name}.key")
        return pki.KeyPair(certificate, key) if certificate is not None and key is not None else None

    def _read(self, name: str) -> bytes | None:
        """What is kept in the folder, or else was made by this look."""
        kept = self._read_folder(name)
        return self._made.get(name) if kept is None else kept

    def _read_folder(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _give_file(self, name: str, data: bytes) -> Path:
        """A file that holds this, for a program to read: in the folder, or, of a look, in one that goes with it."""
        self._write(name, data)
        path = self.folder / name
        if self._writes or self._read_folder(name) == data:
            return path
        with self._lock:
            if self._files is None:
                self._files = Path(tempfile.mkdtemp(prefix="tekton-bootstrap-"))  # mode 0700
                weakref.finalize(self, shutil.rmtree, self._files, ignore_errors=True)
            path = self._files / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return path

    def _write_pair(self, name: str, pair: pki.KeyPair) -> pki.KeyPair:
        self._write(f"{name}.key", pair.key)
        self._write(f"{name}.crt", pair.certificate)
        return pair

    def _write(self, name: str, data: bytes) -> None:
        if self._read_folder(name) == data:
            return
        if not self._writes:
            self._made[name] = data
            return
        path = self.folder / name
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.touch(mode=0o600)
        temporary.write_bytes(data)
        temporary.rename(path)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
