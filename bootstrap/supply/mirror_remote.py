"""Supply `mirror` for a remote cluster: its pods pull from the mirror themselves, so no image is fetched here.

Only the image that describes the others is fetched; an engine is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.core import constants
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Lock, LockedImage, Pending, Verdict
from bootstrap.supply.bundle_file import Description
from bootstrap.supply.mirror import Mirror, make_seed_name
from bootstrap.world.registry.user import MirrorRegistry
from bootstrap.world.terminal import StepLine


class DirectMirror(Mirror):
    """The images of a mirror, from which pods pull. logs_in: whether pods need a login there."""

    def __init__(self, *arguments: Any, logs_in: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._logs_in = logs_in

    def check(self) -> Verdict:
        """Ready when the mirror's description is here, unless the mirror says that it holds another build by now."""
        if not self.is_kept():
            return Pending("what the mirror holds is not known yet")
        return self._compare(f"{len(self._description.images)} images, pulled from {self._address}")

    def is_kept(self) -> bool:
        """Whether the mirror's description and crane are here."""
        return self._look() is not None and self.find_tool("crane").exists()

    def provide(self, line: StepLine) -> None:
        """Fetch the mirror's description. Raises as `Mirror.provide`."""
        self._source.build(["go-tools"], line)
        with self._registry(self.find_tool("crane")).log_in(ambient=False) as registry:
            registry.require_tls()
            line.show_cause(f"asking {registry.address}")
            self._fetch_environment(registry, line)

    def read_lock(self) -> Lock:
        """The lock, with references to the mirror itself. Raises PreconditionError if nothing was fetched yet."""
        said, root = self._description, self._address
        images = {
            each.name: LockedImage(each.name, f"{root}/{each.name}", each.digest, each.size) for each in said.images
        }
        seeds = {
            seed: f"{make_seed_name(seed, digest).partition(':')[0]}@{digest}" for seed, digest in said.seeds.items()
        }
        return Lock(images, pull_secret=constants.PULL_SECRET if self._logs_in else "", seeds=seeds)

    def list_layouts(self) -> dict[str, Path]:
        """Raises PreconditionError: no image is here."""
        raise PreconditionError("images stay in the mirror", hint="invoke mirror copies them, from another supply")

    def list_seeds(self) -> dict[str, Path]:
        """Raises PreconditionError: no image is here."""
        return self.list_layouts()

    def _fetch_layouts(self, registry: MirrorRegistry, said: Description, line: StepLine) -> None:
        """Nothing: pods pull them."""
