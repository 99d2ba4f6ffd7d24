"""The door to image registries: crane, with credentials and CA from files, never from argv."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bootstrap.errors import CommandError
from bootstrap.world.shell import Shell

PUSH_LIMIT = 600.0


class Registry:
    """One registry at `address` ("127.0.0.1:5001"). docker_config: folder with config.json; ca: PEM file."""

    def __init__(self, shell: Shell, crane: Path, address: str, docker_config: Path, ca: Path) -> None:
        self.address = address
        self._shell = shell
        self._crane = crane
        # The registry is on loopback: a proxy must not be asked for it.
        self._environ: Mapping[str, str] = {
            "DOCKER_CONFIG": str(docker_config),
            "SSL_CERT_FILE": str(ca),
            "SSL_CERT_DIR": str(ca.parent / "none"),
            "HTTPS_PROXY": "",
            "https_proxy": "",
        }

    def push(self, layout: Path, repository: str) -> str:
        """Push the image of an OCI layout to "path:tag"; answers its digest."""
        return self._run("push", str(layout), f"{self.address}/{repository}").rpartition("@")[2]

    def pull(self, repository: str, layout: Path) -> None:
        """Pull "path:tag" or "path@digest" into a layout folder."""
        self._run("pull", "--format=oci", f"{self.address}/{repository}", str(layout))

    def digest(self, repository: str) -> str:
        """The digest of "path:tag"; "" if there is no such image, or nobody answers."""
        try:
            return self._run("digest", f"{self.address}/{repository}", limit=15)
        except CommandError:
            return ""

    def _run(self, *arguments: str, limit: float = PUSH_LIMIT) -> str:
        return self._shell.run([str(self._crane), *arguments], env=self._environ, limit=limit).stdout.strip()
