"""What the benchmark's plain script is given: the same objects, images and files as `up` uses, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.objects.manifests import CRD, TRIGGERS, get_part, sort_by_need
from bootstrap.steps import manifest_catalog, tekton
from bootstrap.steps.cleanup import make_cleanup_step
from bootstrap.steps.credentials import make_credentials
from bootstrap.steps.kind_cluster import make_configuration
from bootstrap.steps.listener import make_listener_step
from bootstrap.steps.node_trust import CERTS, make_hosts_toml
from bootstrap.steps.poller import make_poller_step
from bootstrap.steps.registry import find_free_port, make_files
from bootstrap.supply.source import Source
from bootstrap.world import World

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def collect_objects(world: World) -> dict[str, Sequence[Object]]:
    """Name of a file -> what it holds, in the order to apply: what a kind needs is in an earlier file."""
    release = sort_by_need(tekton.render_objects(world))
    triggers = [each for each in release if get_part(each) == TRIGGERS]
    pipelines = [each for each in release if each not in triggers]
    return {
        "namespaces": manifest_catalog.make_namespaces_step().objects(world),
        "credentials": make_credentials(world),
        "tekton-pipelines": pipelines,
        "tekton-triggers-kinds": [each for each in triggers if each["kind"] == CRD],
        "tekton-triggers": [each for each in triggers if each["kind"] != CRD],
        "builder": sort_by_need(manifest_catalog.make_builder_step(world).objects(world)),
        "git": sort_by_need(manifest_catalog.render_git(world)),
        "demo": sort_by_need(manifest_catalog.render_demo(world)),
        "pipeline": sort_by_need(manifest_catalog.make_pipeline_step().objects(world)),
        "listener": sort_by_need(make_listener_step().objects(world)),
        "poller": sort_by_need(make_poller_step().objects(world)),
        "cleanup": sort_by_need(make_cleanup_step().objects(world)),
    }


def collect_files(world: World) -> dict[str, bytes]:
    """Path in the folder -> contents of what is no manifest."""
    return {
        "kind.yaml": yaml.safe_dump(
            make_configuration(world.config, world.project, world.images.read_lock().node_image)
        ).encode(),
        "certs/hosts.toml": make_hosts_toml(world).encode(),
        "certs/ca.crt": world.identity.ensure_ca().certificate,
        **{f"registry/{name}": contents for name, contents in make_files(world).items()},
    }


def write_files(world: World, folder: Path) -> None:
    """Everything into `folder`, which only we may read: there are passwords among it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, found in collect_objects(world).items():
        (folder / f"{name}.yaml").write_text(yaml.dump_all(found, Dumper=_DUMPER))
    for path, data in collect_files(world).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)


def make_environ(world: World, source: Source, folder: Path) -> dict[str, str]:
    """The script's variables."""
    settings, lock, port = world.config.registry, world.images.read_lock(), find_free_port()
    password = world.identity.ensure_password("registry", settings.password)
    login = world.identity.write_docker_config(settings.username, password, (f"127.0.0.1:{port}", constants.REGISTRY))
    return {
        **world.engine.make_environ(),
        "NAME": world.config.name,
        "FOLDER": str(folder),
        "LABEL": constants.SELECTOR,
        "KUBECONFIG": str(folder / "kubeconfig"),
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": constants.network(world.config.name),
        "KIND": str(world.images.find_tool("kind")),
        "CRANE": str(world.images.find_tool("crane")),
        "KUBECTL": str(source.get_program("go-kubernetes", "kubectl")),
        "NODE_IMAGE": lock.node_image,
        "REGISTRY_IMAGE": lock.registry_image,
        "REGISTRY_HOST": constants.REGISTRY_HOST,
        "REGISTRY_PORT": str(port),
        "LOGIN": str(login),
        "CERTS": CERTS,
        "SEEDS": "\n".join(f"{repository} {layout}" for repository, layout in world.images.list_seeds().items()),
    }
