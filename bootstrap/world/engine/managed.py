"""The private engine: installs Docker's package, runs a dockerd of ours, and removes all of it again.

The user's Docker is never touched: not its daemon, settings, sockets, bridges, packet rules or logins.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bootstrap.core.errors import BootstrapError, CommandError, PreconditionError
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.paths import Paths
from bootstrap.world import apt, host
from bootstrap.world.engine.dockerd import Dockerd
from bootstrap.world.shell import Shell

PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2"}
"""What the engine runs, and the package each comes from."""


class ManagedEngine:
    """A Docker of this product's own. Constructing it has no effect."""

    def __init__(self, shell: Shell, paths: Paths) -> None:
        self._shell = shell
        self._folder = paths.state / "engine"
        self._dockerd = Dockerd(shell, self._folder, paths.run)

    @property
    def host(self) -> str:
        """Its DOCKER_HOST."""
        return self._dockerd.host

    @property
    def client(self) -> str:
        """The docker program that came with dockerd, not another one earlier in PATH."""
        packaged = Path("/usr/bin/docker")
        return str(packaged) if packaged.exists() else self._shell.which("docker") or "docker"

    def exists(self) -> bool:
        """Whether it ever ran here and was not purged."""
        return self._dockerd.data.exists()

    def make_environ(self) -> dict[str, str]:
        """Variables for child programs; "" removes a name. Our client comes first in PATH, and has its own logins."""
        return {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self._folder / "client"),
            "DOCKER_BUILDKIT": "0",  # docker.io has the classic builder only
            "DOCKER_CONTEXT": "",
            "DOCKER_TLS_VERIFY": "",
            "DOCKER_CERT_PATH": "",
            "DOCKER_API_VERSION": "",
            "PATH": f"{self._dockerd.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def check(self) -> Verdict:
        """Ready when its programs, dockerd and network are there and it answers; else Pending with what is missing."""
        missing = [program for program in PROGRAMS if not self._shell.which(program)]
        if missing:
            return Pending(f"Docker is not installed (no {', '.join(missing)})")
        if not self._dockerd.find_pid():
            return Pending("the private Docker is not running")
        version = self._read_version()
        if not version:
            return Pending("the private Docker does not answer yet")
        if not self._dockerd.open_network().is_complete(self._shell):
            return Pending("the private Docker's bridge or packet rules are missing")
        return Ready(f"Docker {version}, private to this product")

    def ensure(self, on_cause: Callable[[str], None]) -> None:
        """Install what is missing and start dockerd; back when it answers. May be called in any state, and twice.

        on_cause: hears what is being done. Raises PreconditionError (it cannot be installed), CommandError (it does not
        start; evidence: its log).
        """
        with self._hold_lock(on_cause):
            self._install(on_cause)
            self._dockerd.open_network().create(self._shell)
            if not self._dockerd.find_pid():
                on_cause("starting the private Docker")
                self._dockerd.start(self.client)

    def stop_if_idle(self) -> None:
        """Do as `stop` does if no container runs. It is left running when it cannot be asked."""
        if self._answers() and not self._docker("ps", "--quiet").split():
            self._stop_daemon()

    def stop(self) -> None:
        """End dockerd and every container of it, and what packets to them needed; images, volumes, networks and stopped
        containers stay."""
        if not self._answers():
            self._dockerd.stop()  # containers may live on, and need the network
            return
        running = self._docker("ps", "--quiet").split()
        if running:
            self._docker("stop", "--time", "10", *running, limit=120)
        self._stop_daemon()

    def _stop_daemon(self) -> None:
        self._dockerd.stop()
        self._dockerd.open_network().remove(self._shell)

    def purge(self) -> None:
        """Remove dockerd's processes, containers, images, networks and folders. The package stays installed."""
        if self._answers():
            containers = self._docker("ps", "--all", "--quiet").split()
            if containers:
                self._docker("rm", "--force", "--volumes", *containers, limit=120)
        self._dockerd.stop()
        self._dockerd.kill_leftovers()
        if self._folder.exists():
            self._dockerd.open_network().remove(self._shell)
        for folder in (self._folder, self._dockerd.run):
            shutil.rmtree(folder, ignore_errors=True)

    def make_network_options(self, name: str) -> list[str]:
        """Options of `docker network create` that put the network's bridge under our packet rules."""
        bridge = self._dockerd.open_network().name_bridge(name)
        return [
            f"--opt=com.docker.network.bridge.name={bridge}",
            f"--opt=com.docker.network.driver.mtu={host.read_mtu()}",
        ]

    def _docker(self, *words: str, limit: float = 30) -> str:
        return self._shell.run([self.client, *words], env=self.make_environ(), limit=limit).stdout

    def _read_version(self) -> str:
        try:
            return self._docker("version", "--format", "{{.Server.Version}}", limit=10).strip().partition("+")[0]
        except BootstrapError:
            return ""

    def _answers(self) -> bool:
        return bool(self._dockerd.find_pid() and self._read_version())

    @contextlib.contextmanager
    def _hold_lock(self, on_cause: Callable[[str], None]) -> Iterator[None]:
        """Two commands may want the engine at once; the second waits for the first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_cause("another command is starting the private Docker")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _install(self, on_cause: Callable[[str], None]) -> None:
        packages = [package for program, package in PROGRAMS.items() if not self._shell.which(program)]
        if not packages:
            return
        if "docker.io" in packages and _uses_apparmor() and not self._shell.which("apparmor_parser"):
            packages.append("apparmor")  # without it dockerd cannot load its profile, and starts no container
        on_cause(f"installing {', '.join(packages)}")
        try:
            apt.install_packages(self._shell, packages, on_cause)
        except CommandError as error:
            hint = f"apt-get install {' '.join(packages)}"
            raise PreconditionError("Docker could not be installed", hint=hint, evidence=error.evidence) from None
        if "docker.io" in packages:
            self._disable_service()

    def _disable_service(self) -> None:
        """The package enables its service for the next boot; nobody asked for that one."""
        if self._shell.which("systemctl") and Path("/run/systemd/system").exists():
            units = ("docker.service", "docker.socket", "containerd.service")
            self._shell.run(["systemctl", "disable", "--quiet", *units], check=False)
        elif self._shell.which("update-rc.d"):
            self._shell.run(["update-rc.d", "docker", "disable"], check=False)


def _uses_apparmor() -> bool:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().strip() == "Y"
