"""Supply `source`: every image from Go modules and Debian packages, none from a registry."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from bootstrap import runtime_filter
from bootstrap.cancel import Cancel
from bootstrap.errors import CommandError, PreconditionError
from bootstrap.model import Lock, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.names import REPOSITORY
from bootstrap.supply import golang, oci, parts, rootfs, schedule, tekton
from bootstrap.supply.parts import GoPart, ImagePart
from bootstrap.supply.schedule import Task
from bootstrap.supply.store import KEEP, Store, key_of, tree_key
from bootstrap.world.clock import Clock
from bootstrap.world.engine import Engine
from bootstrap.world.report import StepLine
from bootstrap.world.shell import Shell

Say = Callable[[str], None]
RECIPE = "1"
"""Part of every key: changes when this code makes something else out of the same files."""
NOT_CONTEXT = ("*.go", "go.mod", "go.sum", "cmd", "*.md", "__pycache__")
"""What of an image's folder does not get into its build context."""
NOT_COMPILED = ("*_test.go", "testdata", "*.md", "*.yaml", "Dockerfile", "__pycache__")
"""What of a Go module does not get into its programs."""
KIND_MODULE = "sigs.k8s.io/kind"
NODE_MANIFESTS = ("images/nodenet/default-cni.yaml", "images/local-path-provisioner/default-storage.yaml")
"""What kind applies by itself when it has made the nodes."""


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
        self._engine = engine
        self._clock = clock
        self._project = project
        self._cache = cache
        self._arch = arch
        self._cancel = cancel or Cancel()
        self._store = Store(cache, clock)
        self._complete = False
        self._go_parts = {part.name: part for part in parts.GO_PARTS}
        self._image_parts = {part.name: part for part in parts.IMAGE_PARTS}

    # -- what a flow asks ------------------------------------------------------------------------

    def check(self) -> Verdict:
        """What was found complete is not looked at again: nobody takes it away while a command runs."""
        if not self._complete:
            todo = schedule.missing(self._tasks, self._roots)
            if todo:
                return Pending(f"{len(todo)} of {len(self._tasks)} parts to build")
            self._complete = True
        return Ready(f"{len(self._image_names)} images, built from source")

    def kept(self) -> bool:
        return all(self._tasks[name].done() for name in self._roots if not name.startswith("engine:"))

    def provide(self, line: StepLine) -> None:
        self.build(self._roots, line)

    def build(self, names: Iterable[str], line: StepLine) -> None:
        """Build these parts, and what they need, unless they are there."""
        schedule.run(schedule.missing(self._tasks, names), self._clock, line, self._cancel.request)

    @functools.cache  # noqa: B019  one supply lives as long as the command
    def lock(self) -> Lock:
        try:
            images = {name: self._locked(name, layout) for name, layout in self.layouts().items()}
        except FileNotFoundError:
            raise PreconditionError("the images are not built yet", hint="invoke up") from None
        return Lock(images, node_image=self._tag("node"), registry_image=self._tag("registry"))

    def kubernetes(self) -> str:
        return golang.module_version(self._project / "images/kubernetes/go.mod", "k8s.io/kubernetes")

    def layouts(self) -> dict[str, Path]:
        preloaded = [part.name for part in self._image_parts.values() if part.preload]
        return {name: self._layout(name) for name in preloaded} | tekton.layouts(self._folder("tekton"))

    def tekton(self) -> list[Object]:
        return tekton.objects(self._folder("tekton"))

    def tool(self, name: str) -> Path:
        return self._folder("go-tools") / name

    def binary(self, part: str, program: str) -> Path:
        """A program built for the nodes, such as ("go-etcd", "etcd")."""
        return self._folder(part) / program

    def seeds(self) -> dict[str, Path]:
        version = ".".join(map(str, self._toolchain.version[:2]))
        tags = ("1", version)
        return {f"library/golang:{tag}": self._layout("golang") for tag in tags}

    # -- the graph -------------------------------------------------------------------------------

    @property
    def _roots(self) -> tuple[str, ...]:
        """Layouts too, although the node image holds them: what is deleted of the cache is made again."""
        return ("engine:node", "engine:registry", "layout:golang", "tekton", "go-tools", *self._preloaded)

    @property
    def _image_names(self) -> list[str]:
        return [*self._image_parts, "golang", *tekton.NAMES]

    @functools.cached_property
    def _tasks(self) -> dict[str, Task]:
        tasks = [self._go_task(part) for part in self._go_parts.values()]
        for part in self._image_parts.values():
            tasks += self._image_tasks(part)
        tasks += [
            self._stored("rootfs", parts.BASE_COST, (), self._build_rootfs),
            self._in_engine("base", 5, ("rootfs",), self._base_context),
            self._in_engine("static", parts.STATIC_COST, (), self._static_context),
            self._exported("static"),
            self._in_engine("golang", parts.GOLANG_COST, ("engine:base",), self._golang_context),
            self._exported("golang"),
            self._stored(
                "tekton",
                parts.TEKTON_COST,
                ("go-tools", "layout:static", "layout:git"),
                self._build_tekton,
                compiles=True,
            ),
            self._in_engine(
                "node",
                parts.NODE_COST,
                ("engine:base", "tekton", "go-kubernetes", "go-containerd", *self._preloaded),
                self._node_context,
            ),
        ]
        return {task.name: task for task in tasks}

    @property
    def _preloaded(self) -> tuple[str, ...]:
        return tuple(f"layout:{part.name}" for part in self._image_parts.values() if part.preload)

    def _go_task(self, part: GoPart) -> Task:
        label = part.name.removeprefix("go-")
        return self._stored(part.name, part.cost, part.needs, lambda f, say: self._build_go(part, f, say), True, label)

    def _image_tasks(self, part: ImagePart) -> list[Task]:
        needs = tuple(f"engine:{n}" if n in (*self._image_parts, "base", "static") else n for n in part.needs)
        build = self._in_engine(part.name, part.cost, needs, lambda folder, _: self._image_context(part, folder))
        return [build, self._exported(part.name)] if part.exported else [build]

    def _stored(
        self,
        name: str,
        cost: int,
        needs: tuple[str, ...],
        build: Callable[[Path, Say], None],
        compiles: bool = False,
        label: str = "",
    ) -> Task:
        """A task whose result is a folder of the store."""

        def make(say: Say) -> None:
            key = self._key(name)
            self._store.put(name, key, lambda f: build(f, say), lambda: say("another command builds it"))

        return Task(name, label or name, cost, needs, lambda: self._store.has(name, self._key(name)), make, compiles)

    def _in_engine(
        self, name: str, cost: int, needs: tuple[str, ...], context: Callable[[Path, Say], list[str]]
    ) -> Task:
        """A task whose result is an image of the engine, built from a context folder."""

        def make(say: Say) -> None:
            with self._store.locked(f"engine-{name}", lambda: say("another command builds it")):
                if self._engine.image_exists(self._tag(name)):
                    return
                folder = self._store.scratch(f"engine-{name}")
                try:
                    self._docker_build(name, folder, context(folder, say), say)
                finally:
                    shutil.rmtree(folder, ignore_errors=True)

        return Task(f"engine:{name}", name, cost, needs, lambda: self._engine.image_exists(self._tag(name)), make)

    def _exported(self, name: str) -> Task:
        """A task that turns an image of the engine into an OCI layout of the store."""

        def export(folder: Path, say: Say) -> None:
            say("packing")
            archive = folder / "engine.tar"
            self._engine.docker("save", "-o", str(archive), self._tag(name), limit=600)
            oci.from_engine_archive(archive, folder)
            archive.unlink()

        def make(say: Say) -> None:
            part = f"layout-{name}"
            self._store.put(part, self._key(name), lambda f: export(f, say), lambda: say("another command packs it"))

        return Task(
            f"layout:{name}", f"{name} image", 3, (f"engine:{name}",), lambda: self._layout(name).is_dir(), make
        )

    # -- keys and places -------------------------------------------------------------------------

    def _folder(self, part: str) -> Path:
        return self._store.path(part, self._key(part))

    def _layout(self, name: str) -> Path:
        return self._store.path(f"layout-{name}", self._key(name))

    def _tag(self, name: str) -> str:
        key = self._node_key() if name == "node" else self._key(name)
        return f"tekton-bootstrap/{name}:{key}"

    def _node_key(self) -> str:
        """It holds images by digest, and building one again may give another digest for the same key."""
        try:
            digests = [str(oci.manifest_of(layout)["digest"]) for layout in self.layouts().values()]
        except FileNotFoundError:
            digests = []  # not all are built, so it cannot be either
        return key_of(self._key("node"), *digests)

    def _locked(self, name: str, layout: Path) -> LockedImage:
        aliases = tuple(self._versions["aliases"].get(name, ()))
        digest = str(oci.manifest_of(layout)["digest"])
        return LockedImage(name, f"{REPOSITORY}/{name}", digest, oci.size_of(layout), aliases)

    @functools.cached_property
    def _versions(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self._project / "images/versions.yaml").read_text())
        return loaded

    @functools.cache  # noqa: B019  see lock
    def _key(self, name: str) -> str:
        """The content key of a part: its own files, and the keys of what it is made from."""
        if name in self._go_parts:
            go = self._go_parts[name]
            machine = platform.machine() if go.native else self._arch
            return key_of(RECIPE, self._tree(go.module, NOT_COMPILED), repr(go), machine, self._go_id)
        if name in self._image_parts:
            image = self._image_parts[name]
            copies = [self._tree(source) for source in image.copies.values()]
            return key_of(RECIPE, self._tree(image.folder), repr(image), *copies, *map(self._key, image.needs))
        return key_of(RECIPE, *self._special_inputs(name))

    def _special_inputs(self, name: str) -> Sequence[str | bytes]:
        if name == "rootfs":
            return repr(rootfs.machine_sources()), self._arch, rootfs.PACKAGES, *rootfs.EXCLUDED
        if name == "base":
            return self._tree("images/base"), self._key("rootfs"), rootfs.CA_BUNDLE.read_bytes()
        if name == "static":
            return self._tree("images/static"), rootfs.CA_BUNDLE.read_bytes(), self._arch
        if name == "golang":
            return self._tree("images/golang"), self._key("base"), self._toolchain.name
        if name == "tekton":
            module = self._tree("images/tekton", NOT_COMPILED)
            return module, tekton.FORMAT, self._key("static"), self._key("git"), self._arch, self._go_id
        if name == "node":
            files = map(self._tree, ("images/node", *NODE_MANIFESTS))
            made = [task.removeprefix("layout:") for task in self._preloaded]
            keys = map(self._key, (*made, "base", "go-kubernetes", "go-containerd", "tekton", "go-tools"))
            dropped = ",".join(sorted(runtime_filter.missing_here()))
            return *files, *keys, repr(self._versions["aliases"]), dropped, REPOSITORY
        raise KeyError(name)

    @property
    def _go_id(self) -> str:
        """Results follow the toolchain's minor version; a patch release does not rebuild everything."""
        return ".".join(map(str, self._toolchain.version[:2]))

    @functools.cache  # noqa: B019  see lock
    def _tree(self, path: str, without: tuple[str, ...] = NOT_CONTEXT) -> str:
        """The key of a file, or of the files below a folder but for those that match `without`."""
        root = self._project / path
        return tree_key(self._project, [root] if root.is_file() else files_below(root, without))

    # -- Go --------------------------------------------------------------------------------------

    @functools.cached_property
    def _toolchain(self) -> golang.Toolchain:
        """The machine's Go if it is new enough, else PyPI's, which is fetched by the first build."""
        wanted = golang.required_version(sorted(self._project.glob("images/*/go.mod")))
        found = golang.find(self._shell, ("go", "/usr/local/go/bin/go"), wanted)
        if found:
            return found
        version = self._go_pin.version
        return golang.Toolchain(self._store.path("go-toolchain", version) / "go/bin/go", golang.parse_version(version))

    @property
    def _go_pin(self) -> golang.Pin:
        pin = self._versions["go"]
        return golang.Pin(pin["package"], pin["version"], tuple(pin["sha256"]))

    def go(self, say: Say) -> golang.Go:
        """The toolchain that everything is built with, fetched first if this machine has none."""
        toolchain = self._toolchain
        if not toolchain.go.exists():
            toolchain = golang.fetch(self._shell, self._store, self._go_pin, say)
        return golang.Go(self._shell, toolchain, self._cache, self._arch)

    def _build_go(self, part: GoPart, folder: Path, say: Say) -> None:
        module = self._project / part.module
        flags = part.ldflags
        if part.version_of:
            flags = kubernetes_version_flags(golang.module_version(module / "go.mod", part.version_of))
        go = self.go(say)
        go.build(
            module, folder, part.packages, ldflags=flags, tags=part.tags, native=part.native, on_line=_packages(say)
        )

    def _build_tekton(self, folder: Path, say: Say) -> None:
        tekton.build(
            self._shell,
            self.go(say),
            self._clock,
            ko=self.tool("ko"),
            crane=self.tool("crane"),
            module=self._project / "images/tekton",
            bases={"static": self._layout("static"), "git": self._layout("git")},
            folder=folder,
            say=say,
        )

    # -- Debian and Dockerfiles --------------------------------------------------------------------

    def _build_rootfs(self, folder: Path, say: Say) -> None:
        say("mmdebstrap")
        rootfs.build(self._shell, folder / "rootfs.tar", self._arch, say)

    def _base_context(self, folder: Path, _: Say) -> list[str]:
        self._copy_folder("images/base", folder)
        place(self._folder("rootfs") / "rootfs.tar", folder / "rootfs.tar")
        shutil.copy(rootfs.CA_BUNDLE, folder)
        return []

    def _static_context(self, folder: Path, _: Say) -> list[str]:
        self._copy_folder("images/static", folder)
        (folder / "tmp").chmod(0o1777)
        shutil.copy(rootfs.CA_BUNDLE, folder)
        return []

    def _golang_context(self, folder: Path, say: Say) -> list[str]:
        self._copy_folder("images/golang", folder)
        root = self.go(say).root()
        (folder / "go").mkdir()
        ignore = shutil.ignore_patterns("*_test.go", "testdata", "obj", "__pycache__")
        for name in ("VERSION", "go.env", "bin", "lib", "pkg", "src"):
            source, target = root / name, folder / "go" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=ignore, symlinks=True)
            elif source.exists():  # distributions leave some out
                shutil.copy(source, target)
        return [f"BASE={self._tag('base')}"]

    def _image_context(self, part: ImagePart, folder: Path) -> list[str]:
        self._copy_folder(part.folder, folder)
        for target, source in part.copies.items():
            copy = self._project / source
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            if copy.is_dir():
                shutil.copytree(copy, folder / target, ignore=shutil.ignore_patterns(*NOT_CONTEXT), symlinks=True)
            else:
                shutil.copy(copy, folder / target)
        for target, source in part.files.items():
            name, program = source.split("/")
            place(self._folder(name) / program, folder / target)
        return [f"{argument}={self._tag(base)}" for argument, base in part.bases.items()]

    def _node_context(self, folder: Path, say: Say) -> list[str]:
        self._copy_folder("images/node", folder)
        go = self.go(say)
        kind = go.module_folder(self._project / "images/tools", KIND_MODULE)
        shutil.copytree(kind / "images/base/files", folder / "kind-files")
        make_writable(folder / "kind-files")
        pause = self._versions["aliases"]["pause"][0]
        config = folder / "config.toml"
        config.write_text(config.read_text().replace("SANDBOX_IMAGE", pause))
        shutil.rmtree(folder / "kind-files/etc/containerd")
        (folder / "bin").mkdir()
        place(self._folder("go-kubernetes") / "kube", folder / "bin/kube")
        for program in self._go_parts["go-containerd"].packages:
            place(self._folder("go-containerd") / program, folder / "bin" / program)
        lock = self.lock()
        (folder / "manifests").mkdir()
        for source in NODE_MANIFESTS:
            text = (self._project / source).read_text()
            text = re.sub(r"image\.local/([\w-]+)", lambda found: lock.images[found[1]].reference, text)
            (folder / "manifests" / Path(source).name).write_text(text)
        say("packing the images that it starts from")
        oci.archive(self._node_images(lock), folder / "images.tar")
        dropped = ",".join(sorted(runtime_filter.missing_here()))
        return [f"BASE={self._tag('base')}", f"VERSION={self.kubernetes()}", f"DROP_CAPABILITIES={dropped}"]

    def _node_images(self, lock: Lock) -> Iterable[tuple[Path, list[str]]]:
        layouts = self.layouts()
        for image in lock.images.values():
            yield layouts[image.name], [image.reference, *image.aliases]

    def _copy_folder(self, source: str, folder: Path) -> None:
        ignore = shutil.ignore_patterns(*NOT_CONTEXT)
        shutil.copytree(self._project / source, folder, ignore=ignore, symlinks=True, dirs_exist_ok=True)

    def _docker_build(self, name: str, folder: Path, arguments: list[str], say: Say) -> None:
        build_args = [word for argument in arguments for word in ("--build-arg", argument)]
        labels = ["--label", "app.kubernetes.io/managed-by=tekton-bootstrap"]
        command = ["build", "--force-rm", "--network=host", "-t", self._tag(name), *labels, *build_args, str(folder)]
        said: deque[str] = deque(maxlen=20)

        def hear(text: str) -> None:
            said.append(text)
            if text.startswith(("Step ", "#")):
                say(text.split(" : ")[0].lower()[:40])

        try:
            self._engine.docker(*command, limit=1800, on_line=hear)
        except CommandError as error:  # the classic builder tells the cause on stdout
            message = f"the image {name} could not be built"
            raise CommandError(message, code=error.code, evidence="\n".join(said)) from None
        self._drop_older(name)

    def _drop_older(self, name: str) -> None:
        """Keep as many as the store does; the engine refuses to remove what a container is made from."""
        tags = self._engine.docker("image", "ls", "--format={{.Tag}}", f"tekton-bootstrap/{name}").stdout.split()
        names = [f"tekton-bootstrap/{name}:{tag}" for tag in tags]
        older = [each for each in names if each != self._tag(name)][KEEP - 1 :]
        if older:
            self._engine.docker("image", "rm", *older, check=False)


def kubernetes_version_flags(version: str) -> str:
    """Linker flags that make Kubernetes programs know their version; kubeadm refuses one it cannot read."""
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())


def files_below(root: Path, without: Sequence[str]) -> list[Path]:
    """Files and symbolic links, but for what lies under a name that matches one of the patterns `without`."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        dropped = {name for name in (*folders, *files) if any(fnmatch(name, pattern) for pattern in without)}
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in dropped]
        found += [here / name for name in (*files, *links) if name not in dropped]
    return found


def place(source: Path, target: Path) -> None:
    """A hard link where the file systems allow it: contexts repeat files of 100 MB and more."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy(source, target)


def make_writable(folder: Path) -> None:
    """Go's module folders are read-only, and so are copies of them."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


def _packages(say: Say) -> Say:
    """`go build -v` prints a line per package that it compiles."""
    count = 0

    def line(text: str) -> None:
        nonlocal count
        count += 1
        say(text if " " in text else f"{count} packages, {text.rsplit('/', 1)[-1]}")

    return line
