"""Pins what a new node holds from the start, so that the kubelet does not delete it as unused.

The kubelet deletes images that no container has used for a day (`kind_config.render`). What a node begins with may be
needed all the same, by a volume that is made next week, and a cluster without a network has nowhere to pull it from.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from bootstrap.world import World
from bootstrap.world.engine.protocol import Container

PIN = """\
set -e
label=io.cri-containerd.pinned
names=$(ctr --namespace=k8s.io images list --quiet "labels.\\"$label\\"!=pinned")
for name in $names; do ctr --namespace=k8s.io images label "$name" "$label=pinned" > /dev/null; done
"""
"""The images of our own node image are pinned there (images/node/Dockerfile); those of a published one are not."""


def pin_images(world: World, nodes: Sequence[Container]) -> None:
    """Pin the images on these nodes, all nodes at the same time. Raises CommandError, TimedOut."""
    with ThreadPoolExecutor(max(1, len(nodes)), thread_name_prefix="pin") as pool:
        list(pool.map(lambda node: world.engine.exec(node.name, "sh", "-c", PIN), nodes))
