"""The Secrets of the environment: for git, registry, BuildKit's mutual TLS, webhooks and notifications."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from bootstrap.core import constants
from bootstrap.core.model import Failed, Object, Pending, Ready, Secret, Verdict
from bootstrap.core.paths import PRODUCT
from bootstrap.core.pki import KeyPair
from bootstrap.incluster.applications import DEFAULT_NOTIFY
from bootstrap.objects.manifests import is_ours
from bootstrap.objects.readiness import at
from bootstrap.settings import git_logins
from bootstrap.settings.registry_endpoint import choose_endpoint
from bootstrap.steps.trusted_cas import read_trusted_cas
from bootstrap.world import World

BUILDKIT = f"buildkitd.{constants.BUILD}.svc.cluster.local"


@dataclass(frozen=True)
class CredentialsStep:
    """The Secrets, and the ConfigMaps with the certificates that pods trust.

    Objects that others made are left alone.
    """

    name: str = "credentials"
    needs: tuple[str, ...] = ("namespaces", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when every object is there with the wanted contents; Failed when somebody else made one of them."""
        stale = _list_stale(world)
        foreign = [wanted for wanted, live in stale if live is not None and not is_ours(live)]
        if foreign:
            meta = foreign[0]["metadata"]
            what = f"{foreign[0]['kind']} {meta['namespace']}/{meta['name']}"
            hint = f"kubectl delete {foreign[0]['kind'].lower()} --namespace {meta['namespace']} {meta['name']}"
            return Failed(f"{what} is there already and was not made by us: it is left alone", hint=hint)
        if stale:
            return Pending(f"{stale[0][0]['metadata']['name']} is missing or has changed")
        return Ready("git-auth, docker-auth, buildkit (mutual TLS)")

    def apply(self, world: World) -> None:
        """Write the objects that are missing or differ. Raises ApiError."""
        world.kube.apply([wanted for wanted, live in _list_stale(world) if live is None or is_ours(live)])

    def undo(self, world: World) -> None:
        """Delete the objects that carry our label."""
        for wanted in make_credentials(world):
            live = _read_live(world, wanted)
            if live is not None and is_ours(live):
                meta = wanted["metadata"]
                world.kube.delete("v1", wanted["kind"], meta["name"], meta["namespace"])


def _list_stale(world: World) -> list[tuple[Object, Object | None]]:
    """The objects that are missing or have other contents, each as (wanted, live); live is None where it is missing.

    Secrets carry no digest annotation: a digest of a password is a way to guess it.
    """
    pairs = [(wanted, _read_live(world, wanted)) for wanted in make_credentials(world)]
    return [(wanted, live) for wanted, live in pairs if not is_current(live, wanted)]


def _read_live(world: World, wanted: Object) -> Object | None:
    meta = wanted["metadata"]
    return world.kube.get("v1", wanted["kind"], meta["name"], meta["namespace"])


def list_applied_keys(live: Object) -> set[str]:
    """The keys of its data that we applied, by the server's own record; without such a record all of them."""
    managers = live["metadata"].get("managedFields")
    if managers is None:
        return {*(live.get("data") or {})}
    ours = [each for each in managers if each.get("manager") == PRODUCT and each.get("operation") == "Apply"]
    fields = [at(each, "fieldsV1", "f:data") or {} for each in ours]
    return {key.removeprefix("f:") for each in fields for key in each}


def is_current(live: Object | None, wanted: Object) -> bool:
    """Whether the live object has the wanted data and annotations. live: None if there is no such object.

    A key that somebody else has added is theirs, and left alone: server-side apply would not remove it either. One that
    we applied and no longer want is not current.
    """
    if live is None:
        return False
    annotations = live["metadata"].get("annotations") or {}
    wanted_annotations = wanted["metadata"].get("annotations") or {}
    data = live.get("data") or {}
    same = wanted["data"].items() <= data.items() and wanted_annotations.items() <= annotations.items()
    return same and not (data.keys() - wanted["data"].keys()) & list_applied_keys(live)


def make_credentials(world: World) -> list[Object]:
    """All Secrets and ConfigMaps of this step, as objects to apply."""
    config, identity = world.config, world.identity
    # A repository elsewhere has credentials of its own; the environment's server then keeps a random password.
    own = identity.ensure_git_password(config.git)
    server_login = {"username": config.git.username, "password": own.reveal()}
    clone_login = server_login | ({"password": config.git.password.reveal()} if config.git.url else {})
    where = choose_endpoint(config)
    pushes = read_registry_login(world)
    pushes_to = {"tekton.dev/docker-0": f"https://{where.host}"} if pushes["password"] else {}
    ca, trusted = identity.ensure_ca().certificate.decode(), read_trusted_cas(world)
    server = ensure_server_certificate(world)
    client = identity.ensure_certificate("buildkit-client")
    parts = urlsplit(config.git.url or constants.GIT_URL)
    # Without a password there is nothing to send: Tekton passes over a Secret without its annotation.
    hosts = {"tekton.dev/git-0": f"{parts.scheme}://{parts.netloc}"} if clone_login["password"] else {}
    hook = {"secret": identity.ensure_password("webhook", Secret("")).reveal()}
    notification = {"kind": config.notify.kind, "url": config.notify.url.reveal()}
    if config.notify.secret:
        notification["secret"] = config.notify.secret.reveal()
    found = [
        make_basic_auth("git-auth", clone_login, hosts),
        make_basic_auth("docker-auth", pushes, pushes_to),
        make_secret("git-server", constants.GIT, server_login),
        make_secret("buildkit-server", constants.BUILD, _make_tls_data(ca, server.certificate, server.key)),
        make_secret("buildkit-client", constants.RUNS, _make_tls_data(ca, client.certificate, client.key)),
        make_secret("webhook", constants.RUNS, hook),
        make_secret("webhook", constants.GIT, hook),
        make_secret(DEFAULT_NOTIFY, constants.RUNS, notification),
        make_secret(
            git_logins.SECRET, constants.RUNS, git_logins.render_files(git_logins.parse(config.git.logins.reveal()))
        ),
    ]
    for namespace in (constants.RUNS, constants.BUILD):
        found.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": _make_metadata("environment-ca", namespace),
                "data": {"ca.crt": trusted},
            }
        )
    return found + make_pull_secrets(world, (constants.RUNS, constants.BUILD, constants.GIT))


def ensure_server_certificate(world: World) -> KeyPair:
    """The certificate and key of BuildKit's server, for those who build."""
    return world.identity.ensure_certificate("buildkit-server", (BUILDKIT, "buildkitd", "127.0.0.1", "localhost"))


def read_registry_login(world: World) -> dict[str, str]:
    """The login for pulling and pushing: {"username": ..., "password": ...}, both "" where the registry needs none."""
    where = choose_endpoint(world.config)
    password = world.identity.ensure_password("registry", Secret("")) if where.password is None else where.password
    return {"username": where.username, "password": password.reveal()}


def make_pull_secrets(world: World, namespaces: Iterable[str]) -> list[Object]:
    """A Secret for pulling images in each of the namespaces; [] where the lock wants none because the nodes log in."""
    name = world.images.read_lock().pull_secret
    if not name:
        return []
    login = read_registry_login(world)
    auth = b64encode(f"{login['username']}:{login['password']}".encode()).decode()
    document = json.dumps({"auths": {choose_endpoint(world.config).host: login | {"auth": auth}}})
    found = [make_secret(name, each, {".dockerconfigjson": document}) for each in namespaces]
    return [each | {"type": "kubernetes.io/dockerconfigjson"} for each in found]


def _make_tls_data(ca: str, certificate: bytes, key: bytes) -> dict[str, str]:
    return {"ca.crt": ca, "tls.crt": certificate.decode(), "tls.key": key.decode()}


def _make_metadata(name: str, namespace: str, annotations: Mapping[str, str] | None = None) -> Object:
    meta: Object = {"name": name, "namespace": namespace, "labels": {constants.MANAGED_BY: PRODUCT}}
    return meta | ({"annotations": dict(annotations)} if annotations else {})


def make_secret(name: str, namespace: str, data: Mapping[str, str]) -> Object:
    """An Opaque Secret. data: key -> value in plain text, which is encoded here."""
    encoded = {key: b64encode(value.encode()).decode() for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _make_metadata(name, namespace),
        "type": "Opaque",
        "data": encoded,
    }


def make_basic_auth(name: str, data: Mapping[str, str], annotations: Mapping[str, str]) -> Object:
    """A kubernetes.io/basic-auth Secret in the namespace of the runs.

    annotations: `tekton.dev/git-N` or `tekton.dev/docker-N` -> the host that Tekton uses it for.
    """
    found = make_secret(name, constants.RUNS, data)
    found["type"] = "kubernetes.io/basic-auth"
    found["metadata"] = _make_metadata(name, constants.RUNS, annotations)
    return found
