"""Supply `upstream`: what others publish, by the digests and hashes of the lock, and by no others.

Node, Tekton, pause and the Go toolchain are taken as they are. What nobody publishes is composed: git, toolbox,
git-server, buildkit and registry on published Debian, with programs out of published images and with small Go programs
of this checkout. Neither Kubernetes nor containerd, BuildKit or Tekton is compiled.
"""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import Clock
from bootstrap.core.constants import DEMO_APP, REPOSITORY
from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Lock, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.settings.config import UpstreamSettings
from bootstrap.supply import build_scheduler, golang, oci_layout, rootfs, tekton_releases, upstream_lock
from bootstrap.supply.build_cache import Store
from bootstrap.supply.build_catalog import ImagePart
from bootstrap.supply.build_contexts import Contexts
from bootstrap.supply.build_scheduler import Task
from bootstrap.supply.build_tasks import Workshop
from bootstrap.supply.cache_keys import GO_PARTS, IMAGE_PARTS, Inputs, Keys
from bootstrap.supply.compiler import Compiler
from bootstrap.supply.mirror import load_image, tag_of
from bootstrap.supply.public_registries import Publishers
from bootstrap.supply.upstream_lock import PublicImage, PublicLock
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.shell import Shell
from bootstrap.world.terminal import StepLine

Say = Callable[[str], None]
PREFIX = "upstream-"
"""Of parts and engine images that supply source makes otherwise; the store keeps two of each."""
FORMAT = "1"
"""Changes when the layout of the stored result does."""
GO = ("go-tools", "go-git-server", "go-echo-first")
COMPOSED = ("git", "toolbox", "git-server", "buildkit", "registry", DEMO_APP)
IN_ENGINE = ("node", "debian")
"""Published images that the engine itself takes."""


@dataclass(frozen=True)
class Extracted:
    """A published image that programs are taken out of, in place of a Go part that would be built."""

    image: str
    programs: tuple[str, ...]
    folder: str


EXTRACTED = {
    "go-kubernetes": Extracted("kubectl", ("kubectl",), "bin"),
    "go-buildkit": Extracted("buildkit", ("buildkitd", "buildctl"), "usr/bin"),
}
"""By the Go part that has the same programs. Folders as build/server-image/kubectl/Dockerfile of Kubernetes and the
Dockerfile of BuildKit have them."""


class Upstream:
    """settings: where the public hosts are. cancel: see Source."""

    def __init__(
        self,
        shell: Shell,
        engine: Engine,
        clock: Clock,
        *,
        settings: UpstreamSettings,
        project: Path,
        cache: Path,
        arch: str,
        cancel: Cancel | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._settings = settings
        self._project = project
        self._arch = arch
        self._cancel = cancel or Cancel()
        self._store = Store(cache, clock)
        self._compiler = Compiler(shell, self._store, self._go_pin, project=project, arch=arch)
        self._keys = Keys(project, arch, lambda: self._compiler.minor, self._special_inputs())
        self._workshop = Workshop(engine, self._store, self._key, PREFIX)
        self._contexts = Contexts(project, self._program)
        self.publishers = Publishers(shell, clock, lambda: self.tool("crane"), settings)

    # -- what a flow asks ------------------------------------------------------------------------

    def check(self) -> Verdict:
        gaps = self._gaps
        if gaps:
            return Pending(f"{self._settings.lock} is not complete: {gaps[0]}")
        todo = build_scheduler.missing(self.tasks, self._roots)
        if todo:
            return Pending(f"{len(todo)} of {len(self.tasks)} parts to fetch or make")
        return Ready(f"{len(self.layouts())} images, from public registries, each as locked")

    def kept(self) -> bool:
        roots = [name for name in self._roots if not name.startswith("engine:")]
        return not self._gaps and all(self.tasks[name].done() for name in roots)

    def provide(self, line: StepLine) -> None:
        """Raises PreconditionError for what the lock does not hold, and for hosts that do not serve."""
        gaps = self._gaps
        if gaps:
            raise PreconditionError(
                f"{self._settings.lock} does not say what to take: nothing is taken on trust",
                hint=upstream_lock.COMMAND,
                evidence="\n".join(gaps),
            )
        self.build(self._roots, line)

    def build(self, names: Iterable[str], line: StepLine) -> None:
        """Make these parts, and what they need, unless they are there."""
        build_scheduler.run(build_scheduler.missing(self.tasks, names), self._clock, line, self._cancel.request)

    def lock(self) -> Lock:
        try:
            images = {name: self._locked(name, layout) for name, layout in self.layouts().items()}
        except (FileNotFoundError, KeyError):
            raise PreconditionError("the images are not fetched yet", hint="invoke up") from None
        return Lock(images, node_image=self._workshop.tag("node"), registry_image=self._workshop.tag("registry"))

    def kubernetes(self) -> str:
        return upstream_lock.wanted(self._project).images["node"].tag

    def layouts(self) -> dict[str, Path]:
        composed = {name: self._workshop.layout(name) for name in COMPOSED if IMAGE_PARTS[name].preload}
        return composed | {name: self._fetched(name) for name in ("pause", *self._released)}

    def tekton(self) -> list[Object]:
        loaded: list[Object] = json.loads((self._workshop.folder(f"{PREFIX}tekton") / "objects.json").read_bytes())
        return loaded

    def tool(self, name: str) -> Path:
        return self._program("go-tools", name)

    def seeds(self) -> dict[str, Path]:
        version = self.public.images["golang"].parsed.tag.partition("-")[0]
        return {f"library/golang:{tag}": self._fetched("golang") for tag in ("1", version)}

    # -- the lock --------------------------------------------------------------------------------

    @property
    def lock_file(self) -> Path:
        return self._project / Path(self._settings.lock).expanduser()

    @functools.cached_property
    def public(self) -> PublicLock:
        """Raises UsageError for a file that is no lock."""
        return upstream_lock.read(self.lock_file)

    @functools.cached_property
    def _gaps(self) -> list[str]:
        return upstream_lock.gaps(self.public, upstream_lock.wanted(self._project), self._arch)

    @property
    def _released(self) -> list[str]:
        """Images that the releases name, by logical name."""
        return sorted(set(self.public.images) - set(upstream_lock.wanted(self._project).images))

    def _digest(self, name: str) -> str:
        """Of an image for the architecture wanted. Raises KeyError."""
        return self.public.images[name].platforms[self._arch].digest

    def _locked(self, name: str, layout: Path) -> LockedImage:
        digest = str(oci_layout.manifest_of(layout)["digest"])
        known = self.public.images.get(name)
        reference = known.reference if known else ""
        return LockedImage(
            name, f"{REPOSITORY}/{name}", digest, oci_layout.size_of(layout), in_node=False, public=reference
        )

    # -- the graph -------------------------------------------------------------------------------

    @property
    def _roots(self) -> tuple[str, ...]:
        layouts = [f"layout:{name}" for name in (*self.layouts(), "golang")]
        return ("engine:node", "engine:registry", f"{PREFIX}tekton", "go-tools", *layouts)

    @functools.cached_property
    def tasks(self) -> dict[str, Task]:
        """Every part by name. Whatever is fetched wants crane, which is one of the tools."""
        workshop = self._workshop
        tasks = [
            workshop.stored(
                name, GO_PARTS[name].cost, (), functools.partial(self._compiler.build, GO_PARTS[name]), True, name[3:]
            )
            for name in GO
        ]
        tasks += [workshop.held(name, 30, ("go-tools",), functools.partial(self._load, name)) for name in IN_ENGINE]
        tasks += [self._fetch_task(name) for name in ("pause", "golang", *self._released)]
        tasks += [
            workshop.stored(
                self._extracted_part(each), 10, ("go-tools",), functools.partial(self._extract, each), label=each.image
            )
            for each in EXTRACTED.values()
        ]
        tasks += [
            workshop.stored(f"{PREFIX}tekton", 3, (), self._read_releases, label="tekton"),
            workshop.in_engine("base", 5, ("engine:debian",), self._base_context),
        ]
        for name in COMPOSED:
            tasks += self._image_tasks(IMAGE_PARTS[name])
        return {task.name: task for task in tasks}

    def _image_tasks(self, part: ImagePart) -> list[Task]:
        needs = tuple(self._need(name) for name in part.needs)
        build = self._workshop.in_engine(part.name, part.cost, needs, lambda folder, _: self._context(part, folder))
        return [build, self._workshop.exported(part.name)] if part.exported and part.preload else [build]

    @staticmethod
    def _need(name: str) -> str:
        """The task that makes what an image part needs, which names it as supply source does."""
        if name in EXTRACTED:
            return Upstream._extracted_part(EXTRACTED[name])
        return name if name in GO_PARTS else f"engine:{name}"

    @staticmethod
    def _extracted_part(each: Extracted) -> str:
        return f"{PREFIX}{each.image}"

    def _fetch_task(self, name: str) -> Task:
        def make(say: Say) -> None:
            layout = self._fetched(name)
            self._store.put(
                layout.parent.name, layout.name, lambda f: self._fetch(name, f, say), lambda: say("another fetches it")
            )

        return Task(f"layout:{name}", name, 5, ("go-tools",), lambda: self._fetched(name).is_dir(), make)

    # -- keys and places -------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return tag_of(self._digest(name)) if name in IN_ENGINE else self._keys.of(name)

    def _special_inputs(self) -> dict[str, Inputs]:
        inputs: dict[str, Inputs] = {
            "base": lambda: (
                self._keys.tree("images/debian"),
                self._digest("debian"),
                rootfs.authorities(),
                self._settings.packages,
            ),
            f"{PREFIX}tekton": lambda: (FORMAT, repr(self.public.documents), *map(self._digest, self._released)),
        }
        for part, each in EXTRACTED.items():
            inputs[part] = inputs[self._extracted_part(each)] = functools.partial(self._extracted_inputs, each)
        return inputs

    def _extracted_inputs(self, each: Extracted) -> tuple[str, ...]:
        return self._digest(each.image), repr(each)

    def _program(self, part: str, program: str) -> Path:
        name = self._extracted_part(EXTRACTED[part]) if part in EXTRACTED else part
        return self._workshop.folder(name) / program

    def _fetched(self, name: str) -> Path:
        return self._store.path(f"{PREFIX}image-{name}", tag_of(self._digest(name)))

    def _go_pin(self) -> golang.Pin:
        pin: dict[str, Any] = yaml.safe_load((self._project / "images/versions.yaml").read_text())["go"]
        return golang.Pin(pin["package"], pin["version"], tuple(pin["sha256"]))

    # -- fetching and composing --------------------------------------------------------------------

    def _fetch(self, name: str, folder: Path, say: Say) -> None:
        """By digest, so crane checks every byte of it."""
        image, digest = self.public.images[name], self._digest(name)
        say(f"fetching from {image.parsed.domain}")
        with self._opened(image) as (registry, path):
            registry.pull_layout(f"{path}@{digest}", folder)
        if oci_layout.manifest_of(folder)["digest"] != digest:
            raise CommandError(f"{image.reference} came as another image than the lock says", code=1)

    def _load(self, name: str, folder: Path, say: Say) -> None:
        image = self.public.images[name]
        say(f"fetching from {image.parsed.domain}")
        with self._opened(image) as (registry, path):
            source = f"{path}@{self._digest(name)}"
            load_image(self._engine, registry, source, self._workshop.tag(name), folder / "image.tar")

    def _opened(self, image: PublicImage) -> Any:
        return self.publishers.open(image.parsed)

    def _extract(self, each: Extracted, folder: Path, say: Say) -> None:
        image = self.public.images[each.image]
        say(f"fetching from {image.parsed.domain}")
        files = folder / "files.tar"
        with self._opened(image) as (registry, path):
            registry.pull_files(f"{path}@{self._digest(each.image)}", files)
        wanted = {f"{each.folder}/{program}": program for program in each.programs}
        with tarfile.open(files) as tar:
            for member in tar:
                program = wanted.pop(member.name.removeprefix("./"), "")
                source = tar.extractfile(member) if program else None
                if source:
                    (folder / program).write_bytes(source.read())
                    (folder / program).chmod(0o755)
        files.unlink()
        if wanted:
            raise CommandError(f"{image.reference} has no /{min(wanted)}", code=1)

    def _read_releases(self, folder: Path, say: Say) -> None:
        objects: list[Object] = []
        for name, document in self.public.documents.items():
            say(document.path)
            data = tekton_releases.verified(document.path, self.publishers.document(document.path), document.sha256)
            objects += tekton_releases.parse(name, data)
        tekton_releases.complete(tekton_releases.named(objects))
        (folder / "objects.json").write_text(json.dumps(tekton_releases.logical(objects, self.public)))

    def _base_context(self, folder: Path, _: Say) -> list[str]:
        self._contexts.trusting("images/debian", folder)
        return [f"BASE={self._workshop.tag('debian')}", f"PACKAGES={self._settings.packages}"]

    def _context(self, part: ImagePart, folder: Path) -> list[str]:
        self._contexts.image(part, folder)
        return [f"{argument}={self._workshop.tag(base)}" for argument, base in part.bases.items()]
