"""Supply `mirror` for a cluster elsewhere: pods pull from the mirror themselves, so no image is fetched here.

What is fetched is the image that says what the others are; an engine is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.core import constants
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Lock, LockedImage, Pending, Ready, Verdict
from bootstrap.supply.mirror import Mirror, seed_name
from bootstrap.world.terminal import StepLine


class Direct(Mirror):
    """logs_in: whether pods need a login there."""

    def __init__(self, *arguments: Any, logs_in: bool, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._logs_in = logs_in

    def check(self) -> Verdict:
        if not self.kept():
            return Pending("what the mirror holds is not known yet")
        return Ready(f"{len(self._said.images)} images, pulled from {self._address}")

    def kept(self) -> bool:
        return self._known() is not None and self.tool("crane").exists()

    def provide(self, line: StepLine) -> None:
        self._source.build(["go-tools"], line)
        with self._registry(self.tool("crane")).log_in(ambient=False) as registry:
            registry.require_tls()
            line.cause(f"asking {registry.address}")
            self._fetch_environment(registry, line)

    def lock(self) -> Lock:
        said, root = self._said, self._address
        images = {
            each.name: LockedImage(each.name, f"{root}/{each.name}", each.digest, each.size) for each in said.images
        }
        seeds = {seed: f"{seed_name(seed, digest).partition(':')[0]}@{digest}" for seed, digest in self._pairs}
        return Lock(images, pull_secret=constants.PULL_SECRET if self._logs_in else "", seeds=seeds)

    def layouts(self) -> dict[str, Path]:
        raise PreconditionError("images stay in the mirror", hint="invoke mirror copies them, from another supply")

    def seeds(self) -> dict[str, Path]:
        return self.layouts()
