"""Supply `source`: every image from Go modules and Debian packages, none from a registry."""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
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
from bootstrap.supply.build_cache import Store, compute_key
from bootstrap.supply.build_catalog import GoPart, ImagePart
from bootstrap.supply.build_contexts import Contexts, make_writable, place_file
from bootstrap.supply.build_scheduler import Task
from bootstrap.supply.build_tasks import TaskFactory
from bootstrap.supply.cache_keys import GO_PARTS, IMAGE_PARTS, NOT_COMPILED, WHEEL_PARTS, Inputs, Keys
from bootstrap.supply.compiler import Compiler, copy_edited
from bootstrap.supply.python_packages import Wheels
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
    """Builds every image into `cache`; those that run as containers themselves are also kept in the engine.

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
        self._compiler = Compiler(shell, store, project=project, arch=arch)
        self._wheels = Wheels(shell, project=project, arch=arch)
        self._keys = Keys(project, arch, lambda: self._compiler.minor, self._list_special_inputs())
        self._factory = TaskFactory(engine, store, self._compute_key)
        self._contexts = Contexts(project, self.get_program)
        self._complete = False

    # -- what a flow asks ------------------------------------------------------------------------

    def check(self) -> Verdict:
        """Ready when every part is built. What was complete once is not looked at again during a command."""
        if not self._complete:
            todo = build_scheduler.find_missing(self.tasks, ROOTS)
            if todo:
                return Pending(f"{len(todo)} of {len(self.tasks)} parts to build")
            self._complete = True
        count = len([*IMAGE_PARTS, "golang", *tekton_build.NAMES])
        return Ready(f"{count} images, built from source")

    def is_kept(self) -> bool:
        """Whether all is built that is kept outside of the engine."""
        return all(self.tasks[name].done() for name in ROOTS if not name.startswith("engine:"))

    def provide(self, line: StepLine) -> None:
        """Build every part that is missing. Raises CommandError, PreconditionError."""
        self.build(ROOTS, line)

    def build(self, names: Iterable[str], line: StepLine) -> None:
        """Build these parts, and what they need, unless they are there. Raises CommandError, PreconditionError."""
        build_scheduler.run_tasks(
            build_scheduler.find_missing(self.tasks, names), self._clock, line, self._cancel.request
        )

    @functools.cache  # noqa: B019  one supply lives as long as the command
    def read_lock(self) -> Lock:
        """The lock of the built images. Raises PreconditionError if they are not built yet."""
        try:
            images = {name: self._make_locked_image(name, layout) for name, layout in self.list_layouts().items()}
        except FileNotFoundError:
            raise PreconditionError("the images are not built yet", hint="invoke up") from None
        return Lock(images, node_image=self._factory.get_tag("node"), registry_image=self._factory.get_tag("registry"))

    def read_kubernetes_version(self) -> str:
        """The version of Kubernetes in the node image, such as "v1.36.3"."""
        return golang.read_module_version(self._project / "images/kubernetes/go.mod", "k8s.io/kubernetes")

    def list_layouts(self) -> dict[str, Path]:
        """The OCI layout folders of the images, by logical name, whether they exist or not."""
        preloaded = [part.name for part in IMAGE_PARTS.values() if part.preload]
        layouts = {name: self._factory.get_layout(name) for name in preloaded}
        return layouts | tekton_build.list_layouts(self._factory.get_folder("tekton"))

    def list_tekton_objects(self) -> list[Object]:
        """Tekton's objects, images by logical name. Raises FileNotFoundError if they are not built yet."""
        return tekton_build.read_objects(self._factory.get_folder("tekton"))

    def find_tool(self, name: str) -> Path:
        """The program `name`, such as "kind", "crane" or "ko", whether it is built or not."""
        return self.get_program("go-tools", name)

    def get_program(self, part: str, program: str) -> Path:
        """The file of a program that is built, such as ("go-etcd", "etcd"), whether it exists or not."""
        return self._factory.get_folder(part) / program

    def get_engine_image(self, name: str) -> str:
        """The engine's name for a part that it holds, such as "base"."""
        return self._factory.get_tag(name)

    def list_seeds(self) -> dict[str, Path]:
        """What the registry holds from the start: "library/golang:1" -> OCI layout folder."""
        return {f"library/golang:{tag}": self._factory.get_layout("golang") for tag in ("1", self._compiler.minor)}

    def find_bill(self, _: str) -> Path | None:
        """None: its images come without bills of materials."""
        return None

    def provide_go(self, say: Say) -> golang.Go:
        """The toolchain that everything is built with, fetched first if this machine has none.

        Raises PreconditionError.
        """
        return self._compiler.provide_go(say)

    # -- the graph -------------------------------------------------------------------------------

    @functools.cached_property
    def tasks(self) -> dict[str, Task]:
        """The task of every part, by name."""
        stored, in_engine, exported = (
            self._factory.make_store_task,
            self._factory.make_build_task,
            self._factory.make_export_task,
        )
        tasks = [task for part in GO_PARTS.values() for task in self._make_go_tasks(part)]
        tasks += [
            stored(part.name, part.cost, (), functools.partial(self._wheels.fetch, part))
            for part in WHEEL_PARTS.values()
        ]
        for part in IMAGE_PARTS.values():
            tasks += self._make_image_tasks(part)
        tasks += [
            self._factory.make_fetch_task("modules:tekton", "tekton modules", self._fetch_tekton_modules),
            stored("rootfs", build_catalog.BASE_COST, (), self._build_rootfs),
            in_engine("base", 5, ("rootfs",), self._fill_base),
            in_engine("static", build_catalog.STATIC_COST, (), self._fill_static),
            exported("static"),
            in_engine("golang", build_catalog.GOLANG_COST, ("engine:base",), self._fill_golang),
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
                self._fill_node,
            ),
        ]
        return {task.name: task for task in tasks}

    def _make_go_tasks(self, part: GoPart) -> list[Task]:
        """Modules are fetched while other parts compile: a compiler that waits for the network leaves cores idle."""
        label, modules = part.name.removeprefix("go-"), f"modules:{part.name}"
        fetch = self._factory.make_fetch_task(
            modules, f"{label} modules", functools.partial(self._compiler.download, part)
        )
        build = functools.partial(self._compiler.build, part)
        return [fetch, self._factory.make_store_task(part.name, part.cost, (*part.needs, modules), build, True, label)]

    def _make_image_tasks(self, part: ImagePart) -> list[Task]:
        needs = tuple(f"engine:{n}" if n in (*IMAGE_PARTS, "base", "static") else n for n in part.needs)
        build = self._factory.make_build_task(part.name, part.cost, needs, functools.partial(self._fill_image, part))
        return [build, self._factory.make_export_task(part.name)] if part.exported else [build]

    # -- keys ------------------------------------------------------------------------------------

    def _compute_key(self, name: str) -> str:
        return self._compute_node_key() if name == "node" else self._keys.compute(name)

    def _compute_node_key(self) -> str:
        """The node's key, with the digests of the images in it: building one again may give another digest for the same
        key.
        """
        try:
            digests = [oci_layout.read_digest(layout) for layout in self.list_layouts().values()]
        except FileNotFoundError:
            digests = []  # not all are built, so it cannot be either
        return compute_key(self._keys.compute("node"), *digests)

    def _list_special_inputs(self) -> dict[str, Inputs]:
        return {
            "rootfs": lambda: (repr(rootfs.read_machine_sources()), self._arch, rootfs.PACKAGES, *rootfs.EXCLUDED),
            "base": lambda: (self._keys.compute_tree("images/base"), self._keys.compute("rootfs"), rootfs.read_cas()),
            "static": lambda: (self._keys.compute_tree("images/static"), rootfs.read_cas(), self._arch),
            "golang": lambda: (
                self._keys.compute_tree("images/golang"),
                self._keys.compute("base"),
                self._compiler.toolchain.name,
            ),
            "tekton": self._list_tekton_inputs,
            "node": self._list_node_inputs,
        }

    def _list_tekton_inputs(self) -> Sequence[str | bytes]:
        module = self._keys.compute_tree("images/tekton", NOT_COMPILED)
        bases = map(self._keys.compute, ("static", "git"))
        return (
            module,
            tekton_build.FORMAT,
            *bases,
            self._arch,
            self._compiler.minor,
            *map(repr, build_catalog.TEKTON_EDITS),
        )

    def _list_node_inputs(self) -> Sequence[str | bytes]:
        files = map(self._keys.compute_tree, ("images/node", *NODE_MANIFESTS))
        made = [task.removeprefix("layout:") for task in PRELOADED]
        keys = map(self._keys.compute, (*made, "base", "go-kubernetes", "go-containerd", "tekton", "go-tools"))
        dropped = ",".join(sorted(runc_filter.read_missing_capabilities()))
        return *files, *keys, repr(self._versions["aliases"]), dropped, REPOSITORY

    def _make_locked_image(self, name: str, layout: Path) -> LockedImage:
        aliases = tuple(self._versions["aliases"].get(name, ()))
        digest = oci_layout.read_digest(layout)
        return LockedImage(name, f"{REPOSITORY}/{name}", digest, oci_layout.compute_size(layout), aliases)

    @functools.cached_property
    def _versions(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self._project / "images/versions.yaml").read_text())
        return loaded

    # -- what each part is made of ----------------------------------------------------------------

    def _fetch_tekton_modules(self, say: Say) -> None:
        packages = tekton_build.list_packages()
        self.provide_go(say).download(self._project / "images/tekton", packages, tags="", native=False, say=say)

    def _build_tekton(self, folder: Path, say: Say) -> None:
        layout, go = self._factory.get_layout, self.provide_go(say)
        with tempfile.TemporaryDirectory() as edited:
            tekton_build.build(
                self._shell,
                go,
                self._clock,
                ko=self.find_tool("ko"),
                crane=self.find_tool("crane"),
                module=copy_edited(go, self._project / "images/tekton", build_catalog.TEKTON_EDITS, Path(edited)),
                bases={"static": layout("static"), "git": layout("git")},
                folder=folder,
                say=say,
            )

    def _build_rootfs(self, folder: Path, say: Say) -> None:
        say("mmdebstrap")
        rootfs.build(self._shell, folder / "rootfs.tar", self._arch, say)

    def _fill_base(self, folder: Path, _: Say) -> list[str]:
        self._contexts.fill_with_cas("images/base", folder)
        place_file(self.get_program("rootfs", "rootfs.tar"), folder / "rootfs.tar")
        return []

    def _fill_static(self, folder: Path, _: Say) -> list[str]:
        self._contexts.fill_with_cas("images/static", folder)
        (folder / "tmp").chmod(0o1777)
        return []

    def _fill_golang(self, folder: Path, say: Say) -> list[str]:
        self._contexts.fill_golang(self.provide_go(say).find_root(), folder)
        return [f"BASE={self._factory.get_tag('base')}"]

    def _fill_image(self, part: ImagePart, folder: Path, _: Say) -> list[str]:
        self._contexts.fill_image(part, folder)
        return [f"{argument}={self._factory.get_tag(base)}" for argument, base in part.bases.items()]

    def _fill_node(self, folder: Path, say: Say) -> list[str]:
        self._contexts.copy("images/node", folder)
        kind = self.provide_go(say).find_module_folder(self._project / "images/tools", KIND_MODULE)
        shutil.copytree(kind / "images/base/files", folder / "kind-files")
        make_writable(folder / "kind-files")
        pause = self._versions["aliases"]["pause"][0]
        config = folder / "config.toml"
        config.write_text(config.read_text().replace("SANDBOX_IMAGE", pause))
        shutil.rmtree(folder / "kind-files/etc/containerd")
        (folder / "bin").mkdir()
        place_file(self.get_program("go-kubernetes", "kube"), folder / "bin/kube")
        for program in GO_PARTS["go-containerd"].packages:
            place_file(self.get_program("go-containerd", program), folder / "bin" / program)
        lock = self.read_lock()
        (folder / "manifests").mkdir()
        for source in NODE_MANIFESTS:
            text = (self._project / source).read_text()
            text = re.sub(r"image\.local/([\w-]+)", lambda found: lock.images[found[1]].reference, text)
            (folder / "manifests" / Path(source).name).write_text(text)
        say("packing the images that it starts from")
        oci_layout.pack_archive(self._list_node_images(lock), folder / "images.tar")
        dropped = ",".join(sorted(runc_filter.read_missing_capabilities()))
        return [
            f"BASE={self._factory.get_tag('base')}",
            f"VERSION={self.read_kubernetes_version()}",
            f"DROP_CAPABILITIES={dropped}",
        ]

    def _list_node_images(self, lock: Lock) -> Iterable[tuple[Path, list[str]]]:
        layouts = self.list_layouts()
        for image in lock.images.values():
            yield layouts[image.name], [image.reference, *image.aliases]
