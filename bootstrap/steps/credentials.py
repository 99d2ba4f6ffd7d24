"""The secrets that the environment lives on: git, registry, BuildKit's mutual TLS, notifications."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from bootstrap import names
from bootstrap.model import Object, Pending, Ready, Secret, Verdict
from bootstrap.paths import PRODUCT
from bootstrap.world import World

BUILDKIT = f"buildkitd.{names.BUILD}.svc.cluster.local"


@dataclass(frozen=True)
class CredentialsStep:
    name: str = "credentials"
    needs: tuple[str, ...] = ("namespaces", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        stale = _stale(world)
        if stale:
            return Pending(f"{stale[0]['metadata']['name']} is missing or has changed")
        return Ready("git-auth, docker-auth, buildkit (mutual TLS)")

    def apply(self, world: World) -> None:
        world.kube.apply(_stale(world))

    def undo(self, world: World) -> None:
        for wanted in credentials(world):
            meta = wanted["metadata"]
            world.kube.delete("v1", wanted["kind"], meta["name"], meta["namespace"])


def _stale(world: World) -> list[Object]:
    """The objects that the cluster lacks or holds with other contents.

    Secrets carry no digest annotation: a digest of a password is a way to guess it.
    """
    return [wanted for wanted in credentials(world) if not holds(_live(world, wanted), wanted)]


def _live(world: World, wanted: Object) -> Object | None:
    meta = wanted["metadata"]
    return world.kube.get("v1", wanted["kind"], meta["name"], meta["namespace"])


def holds(live: Object | None, wanted: Object) -> bool:
    """Whether the live object has the wanted data and annotations."""
    if live is None:
        return False
    annotations = live["metadata"].get("annotations") or {}
    wanted_annotations = wanted["metadata"].get("annotations") or {}
    return bool(live.get("data", {}) == wanted["data"] and wanted_annotations.items() <= annotations.items())


def credentials(world: World) -> list[Object]:
    """All of them, as objects to apply."""
    config, identity = world.config, world.identity
    git = {"username": config.git.username, "password": identity.password("git", config.git.password).reveal()}
    registry_password = identity.password("registry", config.registry.password)
    docker = {"username": config.registry.username, "password": registry_password.reveal()}
    ca = identity.authority().certificate.decode()
    server = identity.certificate("buildkit-server", (BUILDKIT, "buildkitd", "127.0.0.1", "localhost"))
    client = identity.certificate("buildkit-client")
    parts = urlsplit(config.git.url or names.GIT_URL)
    git_host = f"{parts.scheme}://{parts.netloc}"
    found = [
        basic_auth("git-auth", git, {"tekton.dev/git-0": git_host}),
        basic_auth("docker-auth", docker, {"tekton.dev/docker-0": f"https://{names.REGISTRY}"}),
        secret("git-server", names.GIT, git),
        secret("buildkit-server", names.BUILD, _tls(ca, server.certificate, server.key)),
        secret("buildkit-client", names.RUNS, _tls(ca, client.certificate, client.key)),
        secret("notify", names.RUNS, {"kind": config.notify.kind, "url": reveal(config.notify.url)}),
    ]
    for namespace in (names.RUNS, names.BUILD):
        found.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": _meta("environment-ca", namespace),
                "data": {"ca.crt": ca},
            }
        )
    return found


def reveal(text: Secret | str) -> str:
    return text.reveal() if isinstance(text, Secret) else text


def _tls(ca: str, certificate: bytes, key: bytes) -> dict[str, str]:
    return {"ca.crt": ca, "tls.crt": certificate.decode(), "tls.key": key.decode()}


def _meta(name: str, namespace: str, annotations: Mapping[str, str] | None = None) -> Object:
    meta: Object = {"name": name, "namespace": namespace, "labels": {names.MANAGED_BY: PRODUCT}}
    return meta | ({"annotations": dict(annotations)} if annotations else {})


def secret(name: str, namespace: str, data: Mapping[str, str]) -> Object:
    """An Opaque Secret; data in the clear."""
    encoded = {key: b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(name, namespace), "type": "Opaque", "data": encoded}


def basic_auth(name: str, data: Mapping[str, str], annotations: Mapping[str, str]) -> Object:
    """A kubernetes.io/basic-auth Secret for Tekton; the annotations name the hosts it is used for."""
    found = secret(name, names.RUNS, data)
    found["type"] = "kubernetes.io/basic-auth"
    found["metadata"] = _meta(name, names.RUNS, annotations)
    return found
