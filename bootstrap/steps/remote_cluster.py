"""A remote cluster: its pods pull straight from the mirror, so its nodes need not be containers of an engine here.

Three steps replace those of a cluster in our own engine, under the same names: `registry` is the mirror, `cluster` only
checks the cluster, `preload` checks that the mirror serves every image.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core.model import Failed, Pending, Ready, Verdict
from bootstrap.steps.existing_cluster import judge_fitness, read_version
from bootstrap.world import World


@dataclass(frozen=True)
class MirrorStep:
    """What builds start from is in the mirror under the names that Dockerfiles use. Tagging it there proves a push."""

    name: str = "registry"
    needs: tuple[str, ...] = ("images",)
    limit: float = 60

    def check(self, world: World) -> Verdict:
        """Ready when the mirror has every seed of the lock, by its digest."""
        seeds = world.images.read_lock().seeds
        with world.open_mirror().log_in(ambient=False) as registry:
            found = registry.read_digests(seeds)
        absent = [seed for seed, source in seeds.items() if found[seed] != source.partition("@")[2]]
        if absent:
            return Pending(f"{absent[0]} is missing")
        return Ready(f"{world.open_mirror().address}, for pods and for what is built")

    def apply(self, world: World) -> None:
        """Tag the seeds in the mirror.

        Raises PreconditionError for a registry without TLS that is not meant to be so.
        """
        with world.open_mirror().log_in(ambient=False) as registry:
            registry.require_tls()
            for seed, source in world.images.read_lock().seeds.items():
                registry.add_tag(source, seed)

    def undo(self, world: World) -> None:
        """Nothing: the mirror is the user's, and other environments pull from it."""


@dataclass(frozen=True)
class ServedStep:
    """The mirror serves every image of the lock, by its digest, to the login that pods have."""

    name: str = "preload"
    needs: tuple[str, ...] = ("cluster", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when it does; Failed when images are missing, because only `invoke mirror` can add them."""
        mirror = world.open_mirror()
        wanted = {
            f"{image.reference.removeprefix(mirror.address + '/')}": image.digest
            for image in world.images.read_lock().images.values()
        }
        with mirror.log_in(ambient=False) as registry:
            found = registry.read_digests(wanted)
        absent = [name for name, digest in wanted.items() if found[name] != digest]
        if absent:
            return Failed(f"{mirror.address} lacks {len(absent)} images ({absent[0]})", hint="invoke mirror")
        return Ready(f"{len(wanted)} images served by {mirror.address}")

    def apply(self, world: World) -> None:
        """Nothing: `invoke mirror` fills the mirror, where images can be built."""

    def undo(self, world: World) -> None:
        """Nothing: the images are the user's."""


@dataclass(frozen=True)
class RemoteCluster:
    """The cluster of `--context`, which is only checked.

    It needs the images: policies are asked about our pods, whose images are known once the mirror has said what it
    holds.
    """

    name: str = "cluster"
    needs: tuple[str, ...] = ("images",)
    limit: float = 30

    def check(self, world: World) -> Verdict:
        """Ready when the cluster meets the requirements; otherwise the verdict of the first that it does not meet."""
        version = read_version(world)
        if isinstance(version, Failed):
            return version
        for verdict in judge_fitness(world, version):
            if not isinstance(verdict, Ready):
                return verdict
        return Ready(f"{world.context}, Kubernetes {version.removeprefix('v')}")

    def apply(self, world: World) -> None:
        """Nothing: `check` names what is missing, and only the cluster's owner can provide it."""

    def undo(self, world: World) -> None:
        """Nothing: the cluster is the user's."""
