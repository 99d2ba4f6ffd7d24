"""Names that several layers must spell alike. Everything the product makes is found again by these."""

from __future__ import annotations

from bootstrap.core.paths import PRODUCT

MANAGED_BY = "app.kubernetes.io/managed-by"
SELECTOR = f"{MANAGED_BY}={PRODUCT}"

REGISTRY_HOST = "registry.tekton.internal"
REGISTRY = f"{REGISTRY_HOST}:5000"
"""The environment's registry as nodes, pods, BuildKit and Tekton's controller name it."""
PULL_REGISTRY = f"{REGISTRY_HOST}:5001"
"""The same images for the nodes: nobody can push there."""
REPOSITORY = f"{REGISTRY}/bootstrap"

PULL_SECRET = "registry-login"  # noqa: S105  the name of an object
"""In every namespace whose pods pull from a registry that their nodes have no login for."""

RUNS = "cicd"
BUILD = "cicd-build"
GIT = "git"
DEMO = "demo"
DEMO_APP = "go-echo"
"""The sample application: its repository, image, Deployment and container."""
TEKTON = "tekton-pipelines"

PIPELINE = "git-cicd"
EVENT_LISTENER = "demo-listener"
LISTENER = f"el-{EVENT_LISTENER}"
"""Service and Deployment that Tekton makes for the EventListener demo-listener."""
GIT_URL = f"http://git.{GIT}.svc.cluster.local/{DEMO_APP}.git"
GIT_NODE_PORT = 30300
APP_NODE_PORT = 30880


def network(name: str) -> str:
    """The docker network of environment `name`."""
    return f"{PRODUCT}-{name}"


def registry_container(name: str) -> str:
    """The container of the registry of environment `name`."""
    return f"{name}-registry"


def control_plane(name: str) -> str:
    """The container of the first control-plane node, as kind calls it."""
    return f"{name}-control-plane"


def context(name: str) -> str:
    """The kubeconfig context, as kind calls it."""
    return f"kind-{name}"
