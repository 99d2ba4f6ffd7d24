"""The images that nodes lack: those of a cluster that is older than they are."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.model import LockedImage, Pending, Ready, Verdict
from bootstrap.steps.node_trust import KIND_LABEL
from bootstrap.world import World


@dataclass(frozen=True)
class PreloadStep:
    """Every image is where a node finds it: in the node image, or in the registry if the nodes are older."""

    name: str = "preload"
    needs: tuple[str, ...] = ("cluster", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        lock = world.images.lock()
        nodes = world.engine.list_containers(label=f"{KIND_LABEL}={world.cluster}")
        inside = all(image.in_node for image in lock.images.values())
        if inside and nodes and all(node.image == lock.node_image for node in nodes):
            return Ready(f"{len(lock.images)} images in the nodes from the start")
        missing = self._missing(world)
        if missing:
            return Pending(f"{len(missing)} images are not in the nodes")
        return Ready(f"{len(lock.images)} images in the registry")

    def apply(self, world: World) -> None:
        registry, layouts = world.registry(), world.images.layouts()
        for image in self._missing(world):
            registry.push(layouts[image.name], _tagged(image))

    def undo(self, world: World) -> None:
        """They go with the registry."""

    @staticmethod
    def _missing(world: World) -> list[LockedImage]:
        """Of the lock, what neither the nodes nor the registry hold."""
        node = constants.control_plane(world.cluster)
        listing = ("ctr", "--namespace=k8s.io", "images", "list", "--quiet")
        there = set(world.engine.exec(node, *listing).split())
        newer = [image for image in world.images.lock().images.values() if image.reference not in there]
        found = world.registry().digests(map(_tagged, newer)) if newer else {}
        return [image for image in newer if found.get(_tagged(image)) != image.digest]


def _tagged(image: LockedImage) -> str:
    return f"{image.repository.removeprefix(constants.REGISTRY + '/')}:{image.digest.partition(':')[2][:12]}"
