"""Go for this checkout: finds the toolchain that everything is built with, or fetches it, and builds the Go parts."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core.errors import PreconditionError
from bootstrap.supply import golang
from bootstrap.supply.build_cache import Store
from bootstrap.supply.build_catalog import GoPart, SourceEdit
from bootstrap.world.shell import Shell

Say = Callable[[str], None]


def read_pin(project: Path) -> golang.Pin:
    """PyPI's Go, as images/versions.yaml pins it."""
    pin: dict[str, Any] = yaml.safe_load((project / "images/versions.yaml").read_text())["go"]
    return golang.Pin(pin["package"], pin["version"], tuple(pin["sha256"]))


class Compiler:
    """The machine's Go, or PyPI's if that is not new enough. project: the checkout. arch: that of the nodes."""

    def __init__(self, shell: Shell, store: Store, *, project: Path, arch: str) -> None:
        self._shell = shell
        self._store = store
        self._project = project
        self._arch = arch

    @functools.cached_property
    def toolchain(self) -> golang.Toolchain:
        """The machine's Go if it is new enough, else PyPI's, which is fetched by the first build."""
        wanted = golang.find_required_version(sorted(self._project.glob("images/*/go.mod")))
        found = golang.find_toolchain(self._shell, ("go", "/usr/local/go/bin/go"), wanted)
        if found:
            return found
        version = read_pin(self._project).version
        return golang.Toolchain(
            self._store.get_path("go-toolchain", version) / "go/bin/go", golang.parse_version(version)
        )

    @property
    def minor(self) -> str:
        """The toolchain's minor version, such as "1.26".

        Keys contain it, so a patch release does not rebuild everything.
        """
        return ".".join(map(str, self.toolchain.version[:2]))

    def provide_go(self, say: Say) -> golang.Go:
        """The toolchain, ready to run; fetched first if this machine has none. Raises PreconditionError."""
        toolchain = self.toolchain
        if not toolchain.go.exists():
            toolchain = golang.fetch_toolchain(self._shell, self._store, read_pin(self._project), say)
        return golang.Go(self._shell, toolchain, self._store.root, self._arch)

    def download(self, part: GoPart, say: Say) -> None:
        """Fetch the modules that the part is compiled from. Raises CommandError."""
        packages = list(part.packages.values())
        self.provide_go(say).download(
            self._project / part.module, packages, tags=part.tags, native=part.native, say=say
        )

    def build(self, part: GoPart, folder: Path, say: Say) -> None:
        """Build the part's programs into `folder`.

        Raises CommandError with the compiler's last lines, and PreconditionError where a source is not as an edit says.
        """
        module = self._project / part.module
        flags = part.ldflags
        if part.version_of:
            flags = make_kubernetes_version_flags(golang.read_module_version(module / "go.mod", part.version_of))
        go = self.provide_go(say)
        with tempfile.TemporaryDirectory() as edited:
            go.build(
                copy_edited(go, module, part.edits, Path(edited)) if part.edits else module,
                folder,
                part.packages,
                ldflags=flags,
                tags=part.tags,
                native=part.native,
                on_line=golang.count_packages(say),
            )


def copy_edited(go: golang.Go, module: Path, edits: Sequence[SourceEdit], folder: Path) -> Path:
    """A copy of the module below `folder`, whose go.mod takes the edited dependencies from a folder of its own.

    Go refuses to overlay files of its module cache. The path is relative: a program tells it as part of how it was
    built, and is to be the same on every machine. Raises PreconditionError where a source is not as an edit says.
    """
    copy = folder / "module"
    shutil.copytree(module, copy)
    for edit in edits:
        target = f"edited/{edit.module}"
        if not (copy / target).exists():
            shutil.copytree(go.find_module_folder(module, edit.module), copy / target, copy_function=shutil.copyfile)
            with (copy / "go.mod").open("a", encoding="utf-8") as file:
                file.write(f"\nreplace {edit.module} => ./{target}\n")
        source = copy / target / edit.file
        text = source.read_text(encoding="utf-8")
        if text.count(edit.before) != 1:
            cause = f"{edit.module}: {edit.file} does not have `{edit.before}` exactly once"
            raise PreconditionError(cause, hint="bootstrap/supply/build_catalog.py says why it is edited")
        source.write_text(text.replace(edit.before, edit.after), encoding="utf-8")
    return copy


def make_kubernetes_version_flags(version: str) -> str:
    """Linker flags that set the version of Kubernetes programs; kubeadm refuses a version that it cannot read."""
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{key}={value}" for package in packages for key, value in values.items())
