"""What the benchmark's plain script is given: the same objects, images and files as `up` uses, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from bootstrap import names
from bootstrap.manifests import ordered
from bootstrap.model import Object
from bootstrap.steps import parts, tekton
from bootstrap.steps.cleanup import cleanup
from bootstrap.steps.cluster import configuration
from bootstrap.steps.credentials import credentials
from bootstrap.steps.listener import listener
from bootstrap.steps.nodes import CERTS, hosts_toml
from bootstrap.steps.poller import poller
from bootstrap.steps.registry import free_port
from bootstrap.supply.source import Source
from bootstrap.world import World

PART_OF = "app.kubernetes.io/part-of"
TRIGGERS = "tekton-triggers"
CRD = "CustomResourceDefinition"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def objects(world: World) -> dict[str, Sequence[Object]]:
    """Name of a file -> what it holds, in the order to apply: what a kind needs is in an earlier file."""
    release = ordered(tekton.objects(world))
    triggers = [each for each in release if part_of(each) == TRIGGERS]
    pipelines = [each for each in release if each not in triggers]
    return {
        "namespaces": parts.namespaces().objects(world),
        "credentials": credentials(world),
        "tekton-pipelines": pipelines,
        "tekton-triggers-kinds": [each for each in triggers if each["kind"] == CRD],
        "tekton-triggers": [each for each in triggers if each["kind"] != CRD],
        "builder": ordered(parts.builder(world).objects(world)),
        "git": ordered(parts.git_objects(world)),
        "demo": ordered(parts.demo_objects(world)),
        "pipeline": ordered(parts.pipeline().objects(world)),
        "listener": ordered(listener().objects(world)),
        "poller": ordered(poller().objects(world)),
        "cleanup": ordered(cleanup().objects(world)),
    }


def part_of(obj: Object) -> str:
    """The part of the release: not every object has the label."""
    group = obj["spec"]["group"] if obj["kind"] == CRD else obj["apiVersion"]
    labels = obj["metadata"].get("labels") or {}
    return TRIGGERS if group.startswith("triggers.") else str(labels.get(PART_OF, ""))


def files(world: World) -> dict[str, bytes]:
    """Path in the folder -> contents of what is no manifest."""
    identity, settings = world.identity, world.config.registry
    password = identity.password("registry", settings.password)
    pair = identity.certificate("registry", (names.REGISTRY_HOST, "localhost", "127.0.0.1"))
    return {
        "kind.yaml": yaml.safe_dump(
            configuration(world.config, world.project, world.images.lock().node_image)
        ).encode(),
        "certs/hosts.toml": hosts_toml(world).encode(),
        "certs/ca.crt": identity.authority().certificate,
        "registry/htpasswd": identity.htpasswd(settings.username, password),
        "registry/tls.crt": pair.certificate,
        "registry/tls.key": pair.key,
    }


def write(world: World, folder: Path) -> None:
    """Everything into `folder`, which only we may read: there are passwords among it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, found in objects(world).items():
        (folder / f"{name}.yaml").write_text(yaml.dump_all(found, Dumper=_DUMPER))
    for path, data in files(world).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)


def environ(world: World, source: Source, folder: Path) -> dict[str, str]:
    """The script's variables."""
    settings, lock, port = world.config.registry, world.images.lock(), free_port()
    password = world.identity.password("registry", settings.password)
    login = world.identity.docker_config(settings.username, password, (f"127.0.0.1:{port}", names.REGISTRY))
    return {
        **world.engine.environ(),
        "NAME": world.config.name,
        "FOLDER": str(folder),
        "LABEL": names.SELECTOR,
        "KUBECONFIG": str(folder / "kubeconfig"),
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": names.network(world.config.name),
        "KIND": str(world.images.tool("kind")),
        "CRANE": str(world.images.tool("crane")),
        "KUBECTL": str(source.binary("go-kubernetes", "kubectl")),
        "NODE_IMAGE": lock.node_image,
        "REGISTRY_IMAGE": lock.registry_image,
        "REGISTRY_HOST": names.REGISTRY_HOST,
        "REGISTRY_PORT": str(port),
        "LOGIN": str(login),
        "CERTS": CERTS,
        "SEEDS": "\n".join(f"{repository} {layout}" for repository, layout in world.images.seeds().items()),
    }
