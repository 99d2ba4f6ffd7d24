"""Supply `upstream`: what projects publish, by the digests and hashes of the lock, and by no others.

Node, Tekton, pause and the Go toolchain are taken as they are. What nobody publishes is composed: git, toolbox,
manager, git-server, buildkit and registry on published Debian, with programs out of published images, with small Go
programs of this checkout, and with Python packages. Neither Kubernetes nor containerd, BuildKit or Tekton is compiled.
"""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import Clock
from bootstrap.core.constants import DEMO_APP, REPOSITORY
from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Lock, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.settings.config import UpstreamSettings
from bootstrap.supply import build_scheduler, oci_layout, rootfs, tekton_releases, upstream_lock
from bootstrap.supply.build_cache import Store
from bootstrap.supply.build_catalog import ImagePart
from bootstrap.supply.build_contexts import Contexts
from bootstrap.supply.build_scheduler import Task
from bootstrap.supply.build_tasks import TaskFactory
from bootstrap.supply.cache_keys import GO_PARTS, IMAGE_PARTS, WHEEL_PARTS, Inputs, Keys
from bootstrap.supply.compiler import Compiler
from bootstrap.supply.mirror import load_image, make_tag
from bootstrap.supply.public_registries import PublicRegistries
from bootstrap.supply.python_packages import Wheels
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
COMPOSED = ("git", "toolbox", "manager", "git-server", "buildkit", "registry", DEMO_APP)
IN_ENGINE = ("node", "debian")
"""Published images that the engine itself takes."""


@dataclass(frozen=True)
class Extracted:
    """A published image that programs are taken from, in place of a Go part that would be built.

    folder: theirs in it.
    """

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
    """The images of the lock, fetched and composed into `cache`. settings: where the public hosts are.

    cancel: requested when a part fails, so that the programs that make the others end.
    """

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
        self._compiler = Compiler(shell, self._store, project=project, arch=arch)
        self._wheels = Wheels(shell, project=project, arch=arch)
        self._keys = Keys(project, arch, lambda: self._compiler.minor, self._list_special_inputs())
        self._factory = TaskFactory(engine, self._store, self._compute_key, PREFIX)
        self._contexts = Contexts(project, self._get_program)
        self.registries = PublicRegistries(shell, clock, lambda: self.find_tool("crane"), settings)

    # -- what a flow asks ------------------------------------------------------------------------

    def check(self) -> Verdict:
        """Ready when every part is there; Pending also for a lock that is not complete. Raises UsageError."""
        gaps = self._gaps
        if gaps:
            return Pending(f"{self._settings.lock} is not complete: {gaps[0]}")
        todo = build_scheduler.find_missing(self.tasks, self._roots)
        if todo:
            return Pending(f"{len(todo)} of {len(self.tasks)} parts to fetch or make")
        return Ready(f"{len(self.list_layouts())} images, from public registries, each as locked")

    def is_kept(self) -> bool:
        """Whether all is there that is kept outside of the engine."""
        roots = [name for name in self._roots if not name.startswith("engine:")]
        return not self._gaps and all(self.tasks[name].done() for name in roots)

    def provide(self, line: StepLine) -> None:
        """Fetch and make every part that is missing.

        Raises PreconditionError for what the lock does not hold, and for hosts that do not serve.
        """
        gaps = self._gaps
        if gaps:
            raise PreconditionError(
                f"{self._settings.lock} does not say what to take: nothing is taken on trust",
                hint=upstream_lock.COMMAND,
                evidence="\n".join(gaps),
            )
        self.build(self._roots, line)

    def build(self, names: Iterable[str], line: StepLine) -> None:
        """Make these parts, and what they need, unless they are there. Raises CommandError, PreconditionError."""
        build_scheduler.run_tasks(
            build_scheduler.find_missing(self.tasks, names), self._clock, line, self._cancel.request
        )

    def read_lock(self) -> Lock:
        """The lock of the images as they are here. Raises PreconditionError if they are not fetched yet."""
        try:
            images = {name: self._make_locked_image(name, layout) for name, layout in self.list_layouts().items()}
        except (FileNotFoundError, KeyError):
            raise PreconditionError("the images are not fetched yet", hint="invoke up") from None
        return Lock(images, node_image=self._factory.get_tag("node"), registry_image=self._factory.get_tag("registry"))

    def read_kubernetes_version(self) -> str:
        """The version of Kubernetes in the node image, such as "v1.36.3"."""
        return upstream_lock.read_wanted(self._project).images["node"].tag

    def list_layouts(self) -> dict[str, Path]:
        """The OCI layout folders of the images, by logical name, whether they exist or not."""
        composed = {name: self._factory.get_layout(name) for name in COMPOSED if IMAGE_PARTS[name].preload}
        return composed | {name: self._get_fetched(name) for name in ("pause", *self._released)}

    def list_tekton_objects(self) -> list[Object]:
        """Tekton's objects, images by logical name. Raises FileNotFoundError if the releases were not fetched yet."""
        loaded: list[Object] = json.loads((self._factory.get_folder(f"{PREFIX}tekton") / "objects.json").read_bytes())
        return loaded

    def find_tool(self, name: str) -> Path:
        """The program `name`, such as "kind" or "crane", whether it is built or not."""
        return self._get_program("go-tools", name)

    def list_seeds(self) -> dict[str, Path]:
        """What the registry holds from the start: "library/golang:1" -> OCI layout folder."""
        version = self.public.images["golang"].parsed.tag.partition("-")[0]
        return {f"library/golang:{tag}": self._get_fetched("golang") for tag in ("1", version)}

    def find_bill(self, _: str) -> Path | None:
        """None: its images come without bills of materials."""
        return None

    # -- the lock --------------------------------------------------------------------------------

    @property
    def lock_file(self) -> Path:
        """The file of `upstream.lock`."""
        return self._project / Path(self._settings.lock).expanduser()

    @functools.cached_property
    def public(self) -> PublicLock:
        """The lock file's content. Raises UsageError for a file that is no lock."""
        return upstream_lock.read(self.lock_file)

    @functools.cached_property
    def _gaps(self) -> list[str]:
        return upstream_lock.find_gaps(self.public, upstream_lock.read_wanted(self._project), self._arch)

    @property
    def _released(self) -> list[str]:
        """Images that the releases name, by logical name."""
        return sorted(set(self.public.images) - set(upstream_lock.read_wanted(self._project).images))

    def _get_digest(self, name: str) -> str:
        """The digest of an image for the wanted architecture. Raises KeyError."""
        return self.public.images[name].platforms[self._arch].digest

    def _make_locked_image(self, name: str, layout: Path) -> LockedImage:
        digest = oci_layout.read_digest(layout)
        known = self.public.images.get(name)
        reference = known.reference if known else ""
        return LockedImage(
            name, f"{REPOSITORY}/{name}", digest, oci_layout.compute_size(layout), in_node=False, public=reference
        )

    # -- the graph -------------------------------------------------------------------------------

    @property
    def _roots(self) -> tuple[str, ...]:
        layouts = [f"layout:{name}" for name in (*self.list_layouts(), "golang")]
        return ("engine:node", "engine:registry", f"{PREFIX}tekton", "go-tools", *layouts)

    @functools.cached_property
    def tasks(self) -> dict[str, Task]:
        """The task of every part, by name. Whatever comes from a registry needs crane, which is one of the tools."""
        factory = self._factory
        tasks = [
            factory.make_store_task(
                name, GO_PARTS[name].cost, (), functools.partial(self._compiler.build, GO_PARTS[name]), True, name[3:]
            )
            for name in GO
        ]
        tasks += [
            factory.make_store_task(part.name, part.cost, (), functools.partial(self._wheels.fetch, part))
            for part in WHEEL_PARTS.values()
        ]
        tasks += [
            factory.make_engine_task(name, 30, ("go-tools",), functools.partial(self._load, name)) for name in IN_ENGINE
        ]
        tasks += [self._make_fetch_task(name) for name in ("pause", "golang", *self._released)]
        tasks += [
            factory.make_store_task(
                self._name_extracted_part(each),
                10,
                ("go-tools",),
                functools.partial(self._extract, each),
                label=each.image,
            )
            for each in EXTRACTED.values()
        ]
        tasks += [
            factory.make_store_task(f"{PREFIX}tekton", 3, (), self._read_releases, label="tekton"),
            factory.make_build_task("base", 5, ("engine:debian",), self._fill_base),
        ]
        for name in COMPOSED:
            tasks += self._make_image_tasks(IMAGE_PARTS[name])
        return {task.name: task for task in tasks}

    def _make_image_tasks(self, part: ImagePart) -> list[Task]:
        needs = tuple(self._name_task(name) for name in part.needs)
        build = self._factory.make_build_task(part.name, part.cost, needs, functools.partial(self._fill_image, part))
        return [build, self._factory.make_export_task(part.name)] if part.exported and part.preload else [build]

    @staticmethod
    def _name_task(name: str) -> str:
        """The task that makes what an image part needs. name: as supply source names it."""
        if name in EXTRACTED:
            return Upstream._name_extracted_part(EXTRACTED[name])
        return name if name in GO_PARTS or name in WHEEL_PARTS else f"engine:{name}"

    @staticmethod
    def _name_extracted_part(each: Extracted) -> str:
        return f"{PREFIX}{each.image}"

    def _make_fetch_task(self, name: str) -> Task:
        def make(say: Say) -> None:
            layout = self._get_fetched(name)
            self._store.put(
                layout.parent.name, layout.name, lambda f: self._fetch(name, f, say), lambda: say("another fetches it")
            )

        return Task(f"layout:{name}", name, 5, ("go-tools",), lambda: self._get_fetched(name).is_dir(), make)

    # -- keys and places -------------------------------------------------------------------------

    def _compute_key(self, name: str) -> str:
        return make_tag(self._get_digest(name)) if name in IN_ENGINE else self._keys.compute(name)

    def _list_special_inputs(self) -> dict[str, Inputs]:
        inputs: dict[str, Inputs] = {
            "base": lambda: (
                self._keys.compute_tree("images/debian"),
                self._get_digest("debian"),
                rootfs.read_cas(),
                self._settings.packages,
            ),
            f"{PREFIX}tekton": lambda: (FORMAT, repr(self.public.documents), *map(self._get_digest, self._released)),
        }
        for part, each in EXTRACTED.items():
            inputs[part] = inputs[self._name_extracted_part(each)] = functools.partial(
                self._list_extracted_inputs, each
            )
        return inputs

    def _list_extracted_inputs(self, each: Extracted) -> tuple[str, ...]:
        return self._get_digest(each.image), repr(each)

    def _get_program(self, part: str, program: str) -> Path:
        name = self._name_extracted_part(EXTRACTED[part]) if part in EXTRACTED else part
        return self._factory.get_folder(name) / program

    def _get_fetched(self, name: str) -> Path:
        return self._store.get_path(f"{PREFIX}image-{name}", make_tag(self._get_digest(name)))

    # -- fetching and composing --------------------------------------------------------------------

    def _fetch(self, name: str, folder: Path, say: Say) -> None:
        """Fetch an image by its digest, so crane checks every byte of it. Raises CommandError for another image."""
        image, digest = self.public.images[name], self._get_digest(name)
        say(f"fetching from {image.parsed.domain}")
        with self._open_image(image) as (registry, path):
            registry.pull_layout(f"{path}@{digest}", folder)
        if oci_layout.read_digest(folder) != digest:
            raise CommandError(f"{image.reference} came as another image than the lock says", code=1)

    def _load(self, name: str, folder: Path, say: Say) -> None:
        image = self.public.images[name]
        say(f"fetching from {image.parsed.domain}")
        with self._open_image(image) as (registry, path):
            source = f"{path}@{self._get_digest(name)}"
            load_image(self._engine, registry, source, self._factory.get_tag(name), folder / "image.tar")

    def _open_image(self, image: PublicImage) -> Any:
        return self.registries.open(image.parsed)

    def _extract(self, each: Extracted, folder: Path, say: Say) -> None:
        image = self.public.images[each.image]
        say(f"fetching from {image.parsed.domain}")
        files = folder / "files.tar"
        with self._open_image(image) as (registry, path):
            registry.pull_files(f"{path}@{self._get_digest(each.image)}", files)
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
            data = tekton_releases.verify(document.path, self.registries.fetch_document(document.path), document.sha256)
            objects += tekton_releases.parse(name, data)
        tekton_releases.check_complete(tekton_releases.find_images(objects))
        (folder / "objects.json").write_text(json.dumps(tekton_releases.use_logical_names(objects, self.public)))

    def _fill_base(self, folder: Path, _: Say) -> list[str]:
        self._contexts.fill_with_cas("images/debian", folder)
        return [f"BASE={self._factory.get_tag('debian')}", f"PACKAGES={self._settings.packages}"]

    def _fill_image(self, part: ImagePart, folder: Path, _: Say) -> list[str]:
        self._contexts.fill_image(part, folder)
        return [f"{argument}={self._factory.get_tag(base)}" for argument, base in part.bases.items()]
