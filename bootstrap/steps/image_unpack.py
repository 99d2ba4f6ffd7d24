"""Unpacks the images of new nodes while they have nothing else to do.

The node image holds every image packed, and a node unpacks an image when its first container starts: all of them at
once, while Tekton and everything else starts too. Before that, a worker waits about 15 seconds until it can join the
control plane.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from bootstrap.core.errors import BootstrapError
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container

UNPACK = """\
snapshotter=$(sed -n 's/^ *snapshotter = "\\(.*\\)"/\\1/p' /etc/containerd/config.toml | head -n 1)
for digest; do ctr --namespace=k8s.io snapshots unpack --snapshotter="$snapshotter" "$digest"; done
"""
"""The snapshotter is read from the node, because kind's entrypoint sets another one where overlayfs is missing."""
LIMIT = 120.0


def start_unpacking(world: World, nodes: Iterable[Container]) -> None:
    """Begin to unpack the images on these nodes, in a thread per node, and do not wait for it.

    A node that is not done when a pod starts unpacks the rest then.
    """
    digests = list(dict.fromkeys(image.digest for image in world.images.read_lock().images.values() if image.in_node))
    for node in nodes:
        name = f"unpack {node.name}"
        threading.Thread(target=_unpack_images, args=(world, node.name, digests), name=name, daemon=True).start()


def _unpack_images(world: World, node: str, digests: list[str]) -> None:
    try:
        world.engine.exec(node, "sh", "-c", UNPACK, "sh", *digests, limit=LIMIT)
    except BootstrapError:
        """The node then unpacks the image when a container needs it."""
