"""Unpacks the images of new nodes while they have nothing else to do.

The node image holds every image packed, and a node unpacks one when its first container starts: all of them at once, in
the seconds in which Tekton and everything else starts too. But before that a worker has stood idle for about
fifteen seconds, until the control plane lets it join.
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
"""The snapshotter is read, because kind's entrypoint takes another one where overlayfs cannot be had."""
LIMIT = 120.0


def unpack(world: World, nodes: Iterable[Container]) -> None:
    """Begin, and do not wait: a node that is not done by then unpacks the rest when it is needed."""
    digests = list(dict.fromkeys(image.digest for image in world.images.lock().images.values() if image.in_node))
    for node in nodes:
        name = f"unpack {node.name}"
        threading.Thread(target=_unpack, args=(world, node.name, digests), name=name, daemon=True).start()


def _unpack(world: World, node: str, digests: list[str]) -> None:
    try:
        world.engine.exec(node, "sh", "-c", UNPACK, "sh", *digests, limit=LIMIT)
    except BootstrapError:
        """Nothing is lost but the head start."""
