"""Supply `source`: every image from Go modules and Debian packages, none from a registry."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core.cancel import Cancel
from bootstrap.core.clock import Clock
from bootstrap.core.constants import REPOSITORY
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Lock, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.supply import build_catalog, build_scheduler, golang, oci_layout, rootfs, tekton_build
from bootstrap.supply.build_cache import Store, key_of
from bootstrap.supply.build_catalog import GoPart, ImagePart
from bootstrap.supply.build_contexts import Contexts, make_writable, place
from bootstrap.supply.build_scheduler import Task
from bootstrap.supply.build_tasks import Workshop
from bootstrap.supply.cache_keys import GO_PARTS, IMAGE_PARTS, NOT_COMPILED, Inputs, Keys
from bootstrap.supply.compiler import Compiler
from bootstrap.world.engine import runc_filter
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.shell import Shell
from bootstrap.world.terminal import StepLine

Say = Callable[[str], None]
KIND_MODULE = "sigs.k8s.io/kind"
NODE_MANIFESTS = ("images/nodenet/default-cni.yaml", "images/local-path-provisioner/default-storage.yaml")
"""What kind applies by itself when it has made the nodes."""
PRELOADED = tuple(f"layout:{name}" for name, part in IMAGE_PARTS.items() if part.preload)
ROOTS = ("engine:node", "engine:registry", "layout:golang", "tekton", "go-tools", *PRELOADED)
"""Layouts too, although the node image holds them: what is deleted of the cache is made again."""


class Source:
    """Builds into `cache`; the engine holds what has to run as a container of its own.

    cancel: requested when a part fails, so that the programs that build the others end.
    """

    def __init__(
        self,
        shell: Shell,
        engine: Engine,
        clock: Clock,
        *,
        project: Path,
        cache: Path,
        arch: str,
        cancel: Cancel | None = None,
    ) -> None:
        self._shell = shell
        self._clock = clock
        self._project = project
        self._arch = arch
        self._cancel = cancel or Cancel()
        store = Store(cache, clock)
        self._compiler = Compiler(shell, store, self._go_pin, project=project, arch=arch)
        self._keys = Keys(project, arch, lambda: self._compiler.minor, self._special_inputs())
        self._workshop = Workshop(engine, store, self._key)
        self._contexts = Contexts(project, self.binary)
        self._complete = False

    # -- what a flow asks ------------------------------------------------------------------------

    def check(self) -> Verdict:
        """What was found complete is not looked at again: nobody takes it away while a command runs."""
        if not self._complete:
            todo = build_scheduler.missing(self.tasks, ROOTS)
            if todo:
                return Pending(f"{len(todo)} of {len(self.tasks)} parts to build")
            self._complete = True
        count = len([*IMAGE_PARTS, "golang", *tekton_build.NAMES])
        return Ready(f"{count} images, built from source")

    def kept(self) -> bool:
        return all(self.tasks[name].done() for name in ROOTS if not name.startswith("engine:"))

    def provide(self, line: StepLine) -> None:
        self.build(ROOTS, line)

    def build(self, names: Iterable[str], line: StepLine) -> None:
        """Build these parts, and what they need, unless they are there."""
        build_scheduler.run(build_scheduler.missing(self.tasks, names), self._clock, line, self._cancel.request)

    @functools.cache  # noqa: B019  one supply lives as long as the command
    def lock(self) -> Lock:
        try:
            images = {name: self._locked(name, layout) for name, layout in self.layouts().items()}
        except FileNotFoundError:
            raise PreconditionError("the images are not built yet", hint="invoke up") from None
        return Lock(images, node_image=self._workshop.tag("node"), registry_image=self._workshop.tag("registry"))

    def kubernetes(self) -> str:
        return golang.module_version(self._project / "images/kubernetes/go.mod", "k8s.io/kubernetes")

    def layouts(self) -> dict[str, Path]:
        preloaded = [part.name for part in IMAGE_PARTS.values() if part.preload]
        layouts = {name: self._workshop.layout(name) for name in preloaded}
        return layouts | tekton_build.layouts(self._workshop.folder("tekton"))

    def tekton(self) -> list[Object]:
        return tekton_build.objects(self._workshop.folder("tekton"))

    def tool(self, name: str) -> Path:
        return self.binary("go-tools", name)

    def binary(self, part: str, program: str) -> Path:
        """A program that is built, such as ("go-etcd", "etcd")."""
        return self._workshop.folder(part) / program

    def engine_image(self, name: str) -> str:
        """What the engine calls a part that it holds, such as "base"."""
        return self._workshop.tag(name)

    def seeds(self) -> dict[str, Path]:
        return {f"library/golang:{tag}": self._workshop.layout("golang") for tag in ("1", self._compiler.minor)}

    def go(self, say: Say) -> golang.Go:
        """The toolchain that everything is built with, fetched first if this machine has none."""
        return self._compiler.go(say)

    # -- the graph -------------------------------------------------------------------------------

    @functools.cached_property
    def tasks(self) -> dict[str, Task]:
        """Every part by name."""
        stored, in_engine, exported = self._workshop.stored, self._workshop.in_engine, self._workshop.exported
        tasks = [task for part in GO_PARTS.values() for task in self._go_tasks(part)]
        for part in IMAGE_PARTS.values():
            tasks += self._image_tasks(part)
        tasks += [
            self._workshop.fetched("modules:tekton", "tekton modules", self._fetch_tekton_modules),
            stored("rootfs", build_catalog.BASE_COST, (), self._build_rootfs),
            in_engine("base", 5, ("rootfs",), self._base_context),
            in_engine("static", build_catalog.STATIC_COST, (), self._static_context),
            exported("static"),
            in_engine("golang", build_catalog.GOLANG_COST, ("engine:base",), self._golang_context),
            exported("golang"),
            stored(
                "tekton",
                build_catalog.TEKTON_COST,
                ("go-tools", "layout:static", "layout:git", "modules:tekton"),
                self._build_tekton,
                compiles=True,
            ),
            in_engine(
                "node",
                build_catalog.NODE_COST,
                ("engine:base", "tekton", "go-kubernetes", "go-containerd", *PRELOADED),
                self._node_context,
            ),
        ]
        return {task.name: task for task in tasks}

    def _go_tasks(self, part: GoPart) -> list[Task]:
        """Its modules are fetched while others compile: a compiler that waits for the network leaves cores idle."""
        label, modules = part.name.removeprefix("go-"), f"modules:{part.name}"
        fetch = self._workshop.fetched(modules, f"{label} modules", functools.partial(self._compiler.download, part))
        build = functools.partial(self._compiler.build, part)
        return [fetch, self._workshop.stored(part.name, part.cost, (*part.needs, modules), build, True, label)]

    def _image_tasks(self, part: ImagePart) -> list[Task]:
        needs = tuple(f"engine:{n}" if n in (*IMAGE_PARTS, "base", "static") else n for n in part.needs)
        build = self._workshop.in_engine(part.name, part.cost, needs, lambda folder, _: self._context(part, folder))
        return [build, self._workshop.exported(part.name)] if part.exported else [build]

    # -- keys ------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return self._node_key() if name == "node" else self._keys.of(name)

    def _node_key(self) -> str:
        """It holds images by digest, and building one again may give another digest for the same key."""
        try:
            digests = [str(oci_layout.manifest_of(layout)["digest"]) for layout in self.layouts().values()]
        except FileNotFoundError:
            digests = []  # not all are built, so it cannot be either
        return key_of(self._keys.of("node"), *digests)

    def _special_inputs(self) -> dict[str, Inputs]:
        return {
            "rootfs": lambda: (repr(rootfs.machine_sources()), self._arch, rootfs.PACKAGES, *rootfs.EXCLUDED),
            "base": lambda: (self._keys.tree("images/base"), self._keys.of("rootfs"), rootfs.authorities()),
            "static": lambda: (self._keys.tree("images/static"), rootfs.authorities(), self._arch),
            "golang": lambda: (
                self._keys.tree("images/golang"),
                self._keys.of("base"),
                self._compiler.toolchain.name,
            ),
            "tekton": self._tekton_inputs,
            "node": self._node_inputs,
        }

    def _tekton_inputs(self) -> Sequence[str | bytes]:
        module = self._keys.tree("images/tekton", NOT_COMPILED)
        bases = map(self._keys.of, ("static", "git"))
        return module, tekton_build.FORMAT, *bases, self._arch, self._compiler.minor

    def _node_inputs(self) -> Sequence[str | bytes]:
        files = map(self._keys.tree, ("images/node", *NODE_MANIFESTS))
        made = [task.removeprefix("layout:") for task in PRELOADED]
        keys = map(self._keys.of, (*made, "base", "go-kubernetes", "go-containerd", "tekton", "go-tools"))
        dropped = ",".join(sorted(runc_filter.read_missing_capabilities()))
        return *files, *keys, repr(self._versions["aliases"]), dropped, REPOSITORY

    def _locked(self, name: str, layout: Path) -> LockedImage:
        aliases = tuple(self._versions["aliases"].get(name, ()))
        digest = str(oci_layout.manifest_of(layout)["digest"])
        return LockedImage(name, f"{REPOSITORY}/{name}", digest, oci_layout.size_of(layout), aliases)

    @functools.cached_property
    def _versions(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self._project / "images/versions.yaml").read_text())
        return loaded

    def _go_pin(self) -> golang.Pin:
        pin = self._versions["go"]
        return golang.Pin(pin["package"], pin["version"], tuple(pin["sha256"]))

    # -- what each part is made of ----------------------------------------------------------------

    def _fetch_tekton_modules(self, say: Say) -> None:
        packages = tekton_build.packages()
        self.go(say).download(self._project / "images/tekton", packages, tags="", native=False, say=say)

    def _build_tekton(self, folder: Path, say: Say) -> None:
        layout = self._workshop.layout
        tekton_build.build(
            self._shell,
            self.go(say),
            self._clock,
            ko=self.tool("ko"),
            crane=self.tool("crane"),
            module=self._project / "images/tekton",
            bases={"static": layout("static"), "git": layout("git")},
            folder=folder,
            say=say,
        )

    def _build_rootfs(self, folder: Path, say: Say) -> None:
        say("mmdebstrap")
        rootfs.build(self._shell, folder / "rootfs.tar", self._arch, say)

    def _base_context(self, folder: Path, _: Say) -> list[str]:
        self._contexts.trusting("images/base", folder)
        place(self.binary("rootfs", "rootfs.tar"), folder / "rootfs.tar")
        return []

    def _static_context(self, folder: Path, _: Say) -> list[str]:
        self._contexts.trusting("images/static", folder)
        (folder / "tmp").chmod(0o1777)
        return []

    def _golang_context(self, folder: Path, say: Say) -> list[str]:
        self._contexts.golang(self.go(say).root(), folder)
        return [f"BASE={self._workshop.tag('base')}"]

    def _context(self, part: ImagePart, folder: Path) -> list[str]:
        self._contexts.image(part, folder)
        return [f"{argument}={self._workshop.tag(base)}" for argument, base in part.bases.items()]

    def _node_context(self, folder: Path, say: Say) -> list[str]:
        self._contexts.copy("images/node", folder)
        kind = self.go(say).module_folder(self._project / "images/tools", KIND_MODULE)
        shutil.copytree(kind / "images/base/files", folder / "kind-files")
        make_writable(folder / "kind-files")
        pause = self._versions["aliases"]["pause"][0]
        config = folder / "config.toml"
        config.write_text(config.read_text().replace("SANDBOX_IMAGE", pause))
        shutil.rmtree(folder / "kind-files/etc/containerd")
        (folder / "bin").mkdir()
        place(self.binary("go-kubernetes", "kube"), folder / "bin/kube")
        for program in GO_PARTS["go-containerd"].packages:
            place(self.binary("go-containerd", program), folder / "bin" / program)
        lock = self.lock()
        (folder / "manifests").mkdir()
        for source in NODE_MANIFESTS:
            text = (self._project / source).read_text()
            text = re.sub(r"image\.local/([\w-]+)", lambda found: lock.images[found[1]].reference, text)
            (folder / "manifests" / Path(source).name).write_text(text)
        say("packing the images that it starts from")
        oci_layout.archive(self._node_images(lock), folder / "images.tar")
        dropped = ",".join(sorted(runc_filter.read_missing_capabilities()))
        return [f"BASE={self._workshop.tag('base')}", f"VERSION={self.kubernetes()}", f"DROP_CAPABILITIES={dropped}"]

    def _node_images(self, lock: Lock) -> Iterable[tuple[Path, list[str]]]:
        layouts = self.layouts()
        for image in lock.images.values():
            yield layouts[image.name], [image.reference, *image.aliases]
