"""One dockerd process with settings of its own: written, started, found again, ended.

It outlives the command that started it, and its containers outlive it (live-restore). It is recognised by
its command line, so that a stale pid file or socket, after a crash or a restart of the machine, means nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from bootstrap.core.errors import CommandError, TimedOut
from bootstrap.core.paths import PRODUCT
from bootstrap.world import host
from bootstrap.world.engine import runc_filter
from bootstrap.world.engine.network import EngineNetwork
from bootstrap.world.shell import Shell

START_LIMIT = 60
STOP_LIMIT = 30
KILL_LIMIT = 5
"""Seconds for dockerd to answer after its start, and to end after SIGTERM and SIGKILL."""
PATIENCE = 3
"""Looks, a second apart, that must miss the process before it counts as dead: a busy machine is slow to start it."""
INHERITED = {"PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"}
"""What dockerd may inherit, besides proxies: a process that lives for weeks must not carry tokens."""


class Dockerd:
    """The dockerd of one folder.

    folder: what lasts (settings, data root, log). run: what a restart of the machine clears (socket, pid file).
    """

    def __init__(self, shell: Shell, folder: Path, run: Path) -> None:
        self._shell = shell
        self.folder = folder
        self.run = run
        self.data = folder / "data"
        self.bin = folder / "bin"
        self.config_file = folder / "daemon.json"
        self.log = folder / "dockerd.log"
        self.exec_root = run / "exec"
        self.socket = run / "docker.sock"
        self.pid_file = run / "docker.pid"

    @property
    def host(self) -> str:
        """Its DOCKER_HOST."""
        return f"unix://{self.socket}"

    def open_network(self) -> EngineNetwork:
        """Its network. The block of addresses is chosen at the first call. Raises PreconditionError if none is free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return EngineNetwork.open(self.folder)

    def find_pid(self) -> int | None:
        """The running process, recognised by the settings file in its command line; None if there is none."""
        for pid, argv in host.list_processes():
            if Path(argv[0]).name == "dockerd" and str(self.config_file) in argv:
                return pid
        return None

    def start(self, client: str) -> None:
        """Start dockerd; back once it has said that it is ready. `client` becomes the docker of our bin folder.

        dockerd speaks systemd's notify protocol (sd_notify(3)), so nothing has to ask again and again.
        Raises CommandError with the end of its log.
        """
        self._remove_stale_files()
        self._write_files(client)
        notify = self.run / "notify.sock"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(notify))
            self._shell.run(self._make_command(), env={**_make_environ(), "NOTIFY_SOCKET": str(notify)})
            if not self._wait_until_ready(listener):
                evidence = "\n".join(self.log.read_text().splitlines()[-10:]) if self.log.exists() else ""
                hint = f"less {self.log}"
                raise CommandError("the private Docker did not start", code=1, hint=hint, evidence=evidence)

    def stop(self) -> None:
        """End the process, not its containers; fine if it does not run. Raises TimedOut."""
        pid = self.find_pid()
        if pid:
            end_process(pid)

    def kill_leftovers(self) -> None:
        """End what outlived a dockerd that was killed: first each container's init, and all in it with it."""
        mark = str(self.exec_root)
        for pid, argv in list(host.list_processes()):
            if Path(argv[0]).name.startswith("containerd") and any(mark in word for word in argv):
                for victim in (*host.list_children(pid), pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim, signal.SIGKILL)
        for folder in (self.data, self.exec_root):
            for point in host.list_mounts(folder):
                self._shell.run(["umount", "--lazy", str(point)], check=False)

    def make_settings(self, runtime: Path | None) -> dict[str, Any]:
        """The contents of daemon.json. It is used in place of /etc/docker/daemon.json, which is the user's.

        runtime: the program that runs containers, None for plain runc. Keys: dockerd(8), daemon configuration file.
        """
        network = self.open_network()
        settings: dict[str, Any] = {
            "data-root": str(self.data),
            "exec-root": str(self.exec_root),
            "hosts": [self.host],
            "pidfile": str(self.pid_file),
            "group": "root",
            "bridge": network.bridge,
            "mtu": host.read_mtu(),
            "iptables": False,
            "default-address-pools": [{"base": str(network.pool), "size": 24}],
            "live-restore": True,
            "storage-driver": "overlay2",
            "log-level": "warn",
            "log-opts": {"max-size": "10m", "max-file": "2"},
        }
        if runtime:
            settings |= {"runtimes": {"filtered": {"path": str(runtime)}}, "default-runtime": "filtered"}
        return settings

    def _make_command(self) -> list[str]:
        """All settings are in the file but for two that dockerd 20.10 reads from arguments only.

        Should the machine's own containerd run, dockerd uses it: under names of our own.
        """
        dockerd = self._shell.which("dockerd") or "/usr/sbin/dockerd"
        name = f"{PRODUCT}-{self.open_network().prefix}"
        names = [f"--containerd-namespace={name}", f"--containerd-plugins-namespace={name}-plugins"]
        detached = ["--start", "--background", "--pidfile", str(self.pid_file), "--output", str(self.log)]
        arguments = ["--config-file", str(self.config_file), *names]
        return ["start-stop-daemon", *detached, "--startas", dockerd, "--", *arguments]

    def _wait_until_ready(self, listener: socket.socket) -> bool:
        """False some seconds after dockerd has ended, or after START_LIMIT."""
        listener.settimeout(1)
        absent = 0
        for _ in range(START_LIMIT):
            try:
                if b"READY=1" in listener.recv(4096):
                    return True
            except TimeoutError:
                absent = 0 if self.find_pid() else absent + 1
            if absent == PATIENCE:
                return False
        return False

    def _remove_stale_files(self) -> None:
        """dockerd believes a pid in these files as soon as any process has it; ours does not run now."""
        for file in (self.pid_file, self.exec_root / "containerd/containerd.pid", self.socket):
            file.unlink(missing_ok=True)

    def _write_files(self, client: str) -> None:
        for folder in (self.data, self.bin, self.folder / "client"):
            folder.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        link = self.bin / "docker"
        link.unlink(missing_ok=True)
        link.symlink_to(client)
        runtime = self._write_runtime() if runc_filter.read_missing_capabilities() else None
        self.config_file.write_text(json.dumps(self.make_settings(runtime), indent=1))

    def _write_runtime(self) -> Path:
        """Our runtime with an interpreter that stays: the system's, or the one behind a virtual environment."""
        system = Path("/usr/bin/python3")
        python = system if system.exists() else Path(sys.executable).resolve()
        target = self.bin / "runtime-filter"
        target.write_text(f"#!{python} -IS\n{Path(runc_filter.__file__).read_text()}")
        target.chmod(0o755)
        return target


def end_process(pid: int) -> None:
    """End a process: SIGTERM, then SIGKILL after STOP_LIMIT seconds. Raises TimedOut.

    Back as soon as it has ended, also where its parent does not reap it: process 1 of a virtual machine or a container
    may take seconds for that, or never do it.
    """
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            for number, limit in ((signal.SIGTERM, STOP_LIMIT), (signal.SIGKILL, KILL_LIMIT)):
                signal.pidfd_send_signal(process, number)
                if select.select([process], [], [], limit)[0]:
                    return
        finally:
            os.close(process)
        raise TimedOut(f"process {pid} (dockerd) did not end, also when it was killed")


def _make_environ() -> dict[str, str]:
    """A shell environment that removes all but what dockerd needs."""
    return {name: "" for name in os.environ if name not in INHERITED and not name.lower().endswith("_proxy")}
