"""A cluster that may be anywhere: pods pull straight from the mirror, so nothing of it has to be an engine's.

Three steps take the places of those that a cluster in our own engine has, under the same names: `registry` is the
mirror, `cluster` is only judged, `preload` is that the mirror serves every image.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.core.model import Failed, Pending, Ready, Verdict
from bootstrap.steps.existing_cluster import fits, version_of
from bootstrap.world import World


@dataclass(frozen=True)
class MirrorStep:
    """What builds start from is in the mirror by the names that Dockerfiles use; putting it there proves a push."""

    name: str = "registry"
    needs: tuple[str, ...] = ("images",)
    limit: float = 60

    def check(self, world: World) -> Verdict:
        seeds = world.images.lock().seeds
        with world.mirror().login(ambient=False) as registry:
            found = registry.digests(seeds)
        absent = [seed for seed, source in seeds.items() if found[seed] != source.partition("@")[2]]
        if absent:
            return Pending(f"{absent[0]} is missing")
        return Ready(f"{world.mirror().address}, for pods and for what is built")

    def apply(self, world: World) -> None:
        with world.mirror().login(ambient=False) as registry:
            registry.refuse_plain()
            for seed, source in world.images.lock().seeds.items():
                registry.alias(source, seed)

    def undo(self, world: World) -> None:
        """The mirror is the user's, and other environments come from it."""


@dataclass(frozen=True)
class ServedStep:
    """The mirror serves every image of the lock, by its digest, to the login that pods have."""

    name: str = "preload"
    needs: tuple[str, ...] = ("cluster", "registry")
    limit: float = 30

    def check(self, world: World) -> Verdict:
        mirror = world.mirror()
        wanted = {
            f"{image.reference.removeprefix(mirror.address + '/')}": image.digest
            for image in world.images.lock().images.values()
        }
        with mirror.login(ambient=False) as registry:
            found = registry.digests(wanted)
        absent = [name for name, digest in wanted.items() if found[name] != digest]
        if absent:
            return Failed(f"{mirror.address} lacks {len(absent)} images ({absent[0]})", hint="invoke mirror")
        return Ready(f"{len(wanted)} images served by {mirror.address}")

    def apply(self, world: World) -> None:
        """`invoke mirror` fills it, where images can be built."""

    def undo(self, world: World) -> None:
        """They are the user's."""


@dataclass(frozen=True)
class ClusterElsewhere:
    """Policies are asked about pods of ours, whose images are known once the mirror has said what it holds."""

    name: str = "cluster"
    needs: tuple[str, ...] = ("images",)
    limit: float = 30

    def check(self, world: World) -> Verdict:
        version = version_of(world)
        if isinstance(version, Failed):
            return version
        for verdict in fits(world, version):
            if not isinstance(verdict, Ready):
                return verdict
        return Ready(f"{world.context}, Kubernetes {version.removeprefix('v')}")

    def apply(self, world: World) -> None:
        """Nothing: `check` says what it lacks, and only its owner can give it that."""

    def undo(self, world: World) -> None:
        """It is the user's."""
