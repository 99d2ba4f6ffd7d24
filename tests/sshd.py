"""A real sshd of our own: on a free port, with its own keys and configuration, never the machine's."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.core.errors import BootstrapError
from bootstrap.world import apt
from bootstrap.world.shell import SystemShell

PRIVILEGE = Path("/run/sshd")
"""sshd started by root wants this folder to be there, empty."""


def find_sshd() -> str:
    """The program, installed as the product installs what it needs. Skips the test where it cannot be had."""
    found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if found:
        return found
    if os.geteuid() != 0:
        pytest.skip("sshd is not installed, and only root may install it (Debian package openssh-server)")
    try:
        apt.install_packages(SystemShell(), ["openssh-server"], lambda _: None)
    except BootstrapError as error:
        pytest.skip(f"sshd cannot be installed: {error.message}")
    return find_sshd()


class Sshd:
    """port: of the server. at: its address. config: for `ssh -F`; it knows the server's key and ours. log: what sshd
    said.
    """

    def __init__(self, folder: Path, program: str, at: str = "127.0.0.1", **options: str) -> None:
        self.folder, self.at = folder, at
        self._program = program
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("host", "user", "stranger"):
            if not (folder / name).exists():
                words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
                subprocess.run(words, check=True)
        with socket.create_server((at, 0)) as server:
            self.port = int(server.getsockname()[1])
        (folder / "authorized").write_text((folder / "user.pub").read_text())
        self.known = folder / "known"
        self.known.write_text(f"[{at}]:{self.port} {(folder / 'host.pub').read_text()}")
        settings = {
            "ListenAddress": f"{at}:{self.port}",
            "HostKey": str(folder / "host"),
            "AuthorizedKeysFile": str(folder / "authorized"),
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",
            "UsePAM": "no",
            **options,
        }
        self._settings = folder / "sshd_config"
        self._settings.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        self.config = self.client()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def client(self, *, identity: str = "user", known: str = "") -> str:
        """A configuration of the client. known: file with the keys of hosts, "" is that with the server's."""
        path = self.folder / f"client-{identity}-{Path(known).name}"
        settings = {
            "Port": str(self.port),
            "UserKnownHostsFile": known or str(self.known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentityFile": str(self.folder / identity),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
        }
        path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        return str(path)

    @property
    def login(self) -> str:
        return f"{getpass.getuser()}@{self.at}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            words = [self._program, "-D", "-e", "-f", str(self._settings)]
            self._process = subprocess.Popen(words, stderr=log, start_new_session=True)
        end = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.at, self.port), 1):
                return
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "sshd does not answer"
            time.sleep(0.05)

    def sessions(self) -> list[int]:
        """The processes of its connections."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(each) for each in children.read_text().split()]

    def drop(self) -> None:
        """End every connection, as a broken network would."""
        for each in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self.drop()
            self._process.terminate()
            self._process.wait(10)


@contextlib.contextmanager
def serving(folder: Path, at: str = "127.0.0.1", **options: str) -> Iterator[Sshd]:
    """at: the address that it listens on. options: of sshd_config, over those for a test."""
    server = Sshd(folder, find_sshd(), at, **options)
    made = not PRIVILEGE.exists() and os.geteuid() == 0
    if made:
        PRIVILEGE.mkdir(mode=0o755)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if made:
            PRIVILEGE.rmdir()
