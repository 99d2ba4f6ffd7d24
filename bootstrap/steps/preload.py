"""The images that nodes lack because their cluster is older than the images."""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core import constants
from bootstrap.core.model import LockedImage, Pending, Ready, Verdict
from bootstrap.steps.node_trust import KIND_LABEL
from bootstrap.world import World


@dataclass(frozen=True)
class PreloadStep:
    """Every image is where nodes find it: in the node image, or in the registry if the nodes are older."""

    name: str = "preload"
    needs: tuple[str, ...] = ("cluster", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when every image of the lock is in the nodes or in the registry."""
        lock = world.images.read_lock()
        nodes = world.engine.list_containers(label=f"{KIND_LABEL}={world.cluster}")
        inside = all(image.in_node for image in lock.images.values())
        if inside and nodes and all(node.image == lock.node_image for node in nodes):
            return Ready(f"{len(lock.images)} images in the nodes from the start")
        missing = self._find_missing(world)
        if missing:
            return Pending(f"{len(missing)} images are not in the nodes")
        return Ready(f"{len(lock.images)} images in the registry")

    def apply(self, world: World) -> None:
        """Push the missing images to the registry."""
        registry, layouts = world.open_registry(), world.images.list_layouts()
        for image in self._find_missing(world):
            registry.push(layouts[image.name], _make_tag(image))

    def undo(self, world: World) -> None:
        """Nothing: the images are deleted with the registry."""

    @staticmethod
    def _find_missing(world: World) -> list[LockedImage]:
        """The images of the lock that neither the nodes nor the registry hold."""
        node = constants.control_plane(world.cluster)
        listing = ("ctr", "--namespace=k8s.io", "images", "list", "--quiet")
        there = set(world.engine.exec(node, *listing).split())
        newer = [image for image in world.images.read_lock().images.values() if image.reference not in there]
        found = world.open_registry().read_digests(map(_make_tag, newer)) if newer else {}
        return [image for image in newer if found.get(_make_tag(image)) != image.digest]


def _make_tag(image: LockedImage) -> str:
    return f"{image.repository.removeprefix(constants.REGISTRY + '/')}:{image.digest.partition(':')[2][:12]}"
