"""The kubeconfig that the pipeline deploys with: its token is for one ServiceAccount of one namespace, and expires."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.incluster import token_claims
from bootstrap.objects import kubeconfig
from bootstrap.objects.manifests import is_ours
from bootstrap.objects.readiness import at
from bootstrap.steps.credentials import make_secret
from bootstrap.steps.last_job import describe_last_failure
from bootstrap.world import World

SECRET = "target-kubeconfig"  # noqa: S105  the name of an object
ACCOUNT = "pipeline-deployer"
SAME_CLUSTER = "https://kubernetes.default.svc"
RENEW_AT = 1 / 3
"""Minted again when less than this share of its life is left; the cluster itself renews it earlier than that."""


@dataclass(frozen=True)
class TargetStep:
    """The Secret with the kubeconfig of the deployment target. Its token is renewed when little of its life is left."""

    name: str = "target"
    needs: tuple[str, ...] = ("namespaces", "demo")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when the kubeconfig leads to the target of the settings and its token is valid for long enough."""
        live = world.kube.get("v1", "Secret", SECRET, constants.RUNS)
        if live is None:
            return Pending("the kubeconfig of the target is missing")
        found = read_contents(live)
        if found.server != find_server(world) or found.namespace != world.config.target.namespace:
            return Pending("the target has changed")
        account = world.target.get("v1", "ServiceAccount", ACCOUNT, found.namespace)
        if found.account != at(account, "metadata", "uid"):
            return Pending(f"its token is of another {ACCOUNT} than the one that is there")
        left = found.expires - time.time()
        if left < (found.expires - found.issued) * RENEW_AT:  # the server may have granted less than was asked for
            return Pending(f"its token ends in {max(0.0, left / 3600):.0f} h")
        failed = describe_last_failure(world, token_claims.CRON_JOB)
        may = f"may deploy to namespace {found.namespace}, for {left / 86400:.0f} days"
        return Ready(may + (f"; {failed}" if failed else ""))

    def apply(self, world: World) -> None:
        """Request a token from the target's API server, and write the Secret. Raises ApiError."""
        target = world.config.target
        token = world.target.request_token(target.namespace, ACCOUNT, target.token_hours * 3600)
        document = kubeconfig.make_with_token(find_server(world), _find_ca(world), token, namespace=target.namespace)
        world.kube.apply([make_secret(SECRET, constants.RUNS, {token_claims.KEY: json.dumps(document)})])

    def undo(self, world: World) -> None:
        """Delete the Secret, if it carries our label."""
        live = world.kube.get("v1", "Secret", SECRET, constants.RUNS)
        if live is not None and is_ours(live):
            world.kube.delete("v1", "Secret", SECRET, constants.RUNS)


@dataclass(frozen=True)
class Contents:
    """What the kubeconfig in the Secret says.

    issued, expires: seconds since the epoch. account: uid of its ServiceAccount.
    """

    server: str
    namespace: str
    account: str
    issued: float
    expires: float


def read_contents(live: Object) -> Contents:
    """What the Secret's kubeconfig says. Of a Secret without valid JSON all fields are empty, so it is written anew."""
    try:
        document = json.loads(base64.b64decode(live["data"][token_claims.KEY]))
        link = document["contexts"][0]["context"]
        claims = token_claims.read_claims(document["users"][0]["user"]["token"])
        return Contents(
            server=document["clusters"][0]["cluster"]["server"],
            namespace=link["namespace"],
            account=claims.uid,
            issued=claims.issued,
            expires=claims.expires,
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return Contents("", "", "", 0, 0)


def _find_ca(world: World) -> str:
    """The CA of the target's API server in PEM. Where the kubeconfig holds none, the cluster's own ConfigMap has it."""
    found = kubeconfig.read_access(world.target.kubeconfig.read_text(), world.target.context)
    if found.ca:
        return found.ca
    published = world.target.get("v1", "ConfigMap", "kube-root-ca.crt", world.config.target.namespace)
    return str(at(published, "data", "ca.crt") or "")


def find_server(world: World) -> str:
    """The URL of the target's API server as a pod of this environment reaches it."""
    target = world.config.target
    if target.server:
        return target.server
    if not target.kubeconfig:
        return SAME_CLUSTER
    access = kubeconfig.read_access(world.target.kubeconfig.read_text(), world.target.context)
    if access.is_loopback and access.context.startswith("kind-"):
        # On loopback for the host, by name for whoever shares kind's network.
        return f"https://{constants.control_plane(access.context.removeprefix('kind-'))}:6443"
    return access.server
