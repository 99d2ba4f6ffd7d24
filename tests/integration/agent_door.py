"""What the tests of the agents need of a real API server: Tekton's kinds, and the API with an agent's own rights."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.kube_api import Api
from bootstrap.objects import manifests
from bootstrap.world.kube.client import Kube
from tests.integration.control_plane import ControlPlane
from tests.integration.patience import await_rights


def definition(kind: str) -> Object:
    """As much of Tekton's as an agent sees: any fields, and a status of its own."""
    plural = f"{kind.lower()}s"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    spec = {
        "group": "tekton.dev",
        "scope": "Namespaced",
        "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
        "versions": [version],
    }
    metadata = {"name": f"{plural}.tekton.dev"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata} | {
        "spec": spec
    }


def agent_door(kube: Kube, plane: ControlPlane, name: str, namespace: str, folder: Path, *, manifest: str = "") -> Api:
    """As the ServiceAccount of manifests/NAME, whose Role and ConfigMaps are put into the test's namespace.

    folder: for its token. manifest: a file or folder below manifests, where that is not NAME.
    """
    kinds = ("ServiceAccount", "Role", "RoleBinding", "ConfigMap")
    wanted = [each for each in manifests.load(PROJECT / "manifests" / (manifest or name)) if each["kind"] in kinds]
    for each in wanted:
        for part in (each["metadata"], *each.get("subjects", ())):
            part["namespace"] = namespace
    kube.apply(wanted)
    await_rights(kube, namespace, name, wanted)
    (folder / "token").write_text(kube.request_token(namespace, name, 3600).reveal())
    (folder / "ca.crt").write_text(plane.ca)
    parts = urlsplit(plane.server)
    return Api(str(parts.hostname), int(parts.port or 0), folder)
