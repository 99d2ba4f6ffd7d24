"""What the layers above ask of a supply of images, whichever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from bootstrap.core.model import Lock, Object, Verdict
from bootstrap.world.terminal import StepLine


class Images(Protocol):
    """A supply of images: `source`, `upstream`, `mirror` and `bundle` are implementations."""

    def check(self) -> Verdict:
        """Ready when `read_lock` would answer without building or fetching."""
        ...

    def is_kept(self) -> bool:
        """Whether all is there that can be told without an engine."""
        ...

    def provide(self, line: StepLine) -> None:
        """Build or fetch whatever is missing; can be interrupted and goes on where it was."""
        ...

    def read_lock(self) -> Lock:
        """The images that may be used, each with its digest. Raises PreconditionError while `check` is not Ready."""
        ...

    def list_tekton_objects(self) -> list[Object]:
        """Tekton's objects, images by logical name (`image.local/tekton-pipelines-controller`)."""
        ...

    def find_tool(self, name: str) -> Path:
        """A program for this machine: "kind", "crane"."""
        ...

    def read_kubernetes_version(self) -> str:
        """The version of Kubernetes in the node image: "v1.36.3"."""
        ...

    def list_layouts(self) -> dict[str, Path]:
        """The OCI layout folder of every image of the lock, by logical name."""
        ...

    def list_seeds(self) -> dict[str, Path]:
        """What the environment's registry holds from the start: "library/golang:1" -> OCI layout folder."""
        ...

    def find_bill(self, name: str) -> Path | None:
        """The bill of materials that came with an image, as CycloneDX JSON; None where it has to be made.

        name: that of the image or seed, "node" or "registry".
        """
        ...
