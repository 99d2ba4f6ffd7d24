"""The adapter for the environment's registry: crane moves contents, plain HTTPS requests read what is there.

Credentials and CA come from files, never from argv. API: the OCI distribution-spec. Requests go over one connection,
because a check of the whole lock is many of them.
"""

from __future__ import annotations

import functools
import json
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from bootstrap.core.errors import CommandError
from bootstrap.world import probe
from bootstrap.world.http_client import HttpClient
from bootstrap.world.shell import Shell

PUSH_LIMIT = 600.0
LOOK_LIMIT = 5.0
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


class Registry:
    """The environment's registry at `address` ("127.0.0.1:5001").

    docker_config: folder with a config.json that logs in there. ca: PEM file with its CA. What crane moves raises
    CommandError (evidence: its last lines) and TimedOut after PUSH_LIMIT.
    """

    def __init__(self, shell: Shell, crane: Path, address: str, docker_config: Path, ca: Path) -> None:
        self.address = address
        self._shell = shell
        self._crane = crane
        self._config = docker_config / "config.json"
        self._ca = ca
        # The registry is on loopback: a proxy must not be asked for it.
        self._environ: Mapping[str, str] = {
            "DOCKER_CONFIG": str(docker_config),
            "SSL_CERT_FILE": str(ca),
            "SSL_CERT_DIR": str(ca.parent / "none"),
            "HTTPS_PROXY": "",
            "https_proxy": "",
        }

    def push(self, layout: Path, repository: str) -> str:
        """Push the image of an OCI layout folder as "path:tag". Returns its digest."""
        return self._run("push", str(layout), f"{self.address}/{repository}").rpartition("@")[2]

    def pull(self, repository: str, layout: Path) -> None:
        """Pull "path:tag" or "path@digest" into an OCI layout folder."""
        self._run("pull", "--format=oci", f"{self.address}/{repository}", str(layout))

    def append(self, repository: str, layer: Path, to: str) -> None:
        """Push the image "path:tag" with one more layer, a tar file, as "path:tag" `to`."""
        words = [f"--base={self.address}/{repository}", f"--new_layer={layer}", f"--new_tag={self.address}/{to}"]
        self._run("append", *words)

    def find_fault(self, certificate: bytes) -> str:
        """Why the registry does not serve us as it should; "" if it does.

        certificate: the one that it has to show, in DER.
        """
        try:
            host, _, port = self.address.rpartition(":")
            shown = probe.read_certificate(host, int(port), self._tls, LOOK_LIMIT)
            with self._client() as client:
                status, _ = self._ask(client, "GET", "/v2/")
        except OSError as error:
            return f"it does not answer ({getattr(error, 'reason', '') or error})"
        if status == 401:
            return "it answers 401 to our password"
        if status != 200:
            return f"it answers {status}"
        return "" if shown == certificate else "it shows another certificate than the current one"

    def read_digest(self, repository: str) -> str:
        """The digest of "path:tag"; "" if there is no such image. Raises CommandError as `read_digests` does."""
        return self.read_digests([repository]).get(repository, "")

    def read_digests(self, repositories: Iterable[str]) -> dict[str, str]:
        """ "path:tag" -> digest, for those that are there.

        Raises CommandError if the registry does not answer, or refuses.
        """
        found: dict[str, str] = {}
        try:
            with self._client() as client:
                for repository in repositories:
                    path, _, tag = repository.rpartition(":")
                    status, digest = self._ask(client, "HEAD", f"/v2/{path}/manifests/{tag}")
                    if status == 200:
                        found[repository] = digest
                    elif status != 404:
                        raise CommandError(f"the registry answers {status} for {repository}", code=1)
        except OSError as error:
            raise CommandError(f"the registry does not answer at {self.address}", code=1, evidence=str(error)) from None
        return found

    def _client(self) -> HttpClient:
        return HttpClient(LOOK_LIMIT, tls=self._tls, proxies=False)

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._ca))

    def _ask(self, client: HttpClient, method: str, path: str) -> tuple[int, str]:
        """(status, digest of a manifest)."""
        login = json.loads(self._config.read_bytes())["auths"][self.address]["auth"]
        answer = client.request(
            method,
            f"https://{self.address}{path}",
            headers={"Accept": MANIFESTS},
            authorization=f"Basic {login}",
            follow=False,
        )
        return answer.status, answer.headers.get("docker-content-digest", "")

    def _run(self, *arguments: str, limit: float = PUSH_LIMIT) -> str:
        return self._shell.run([str(self._crane), *arguments], env=self._environ, limit=limit).stdout.strip()
