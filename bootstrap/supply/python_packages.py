"""Python packages from the index that this machine is set up for, by its ordinary client: pip, or uv."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.supply.build_catalog import WheelPart, name_archive
from bootstrap.supply.cache_keys import list_files
from bootstrap.world.shell import Shell

LIMIT = 900
"""Seconds to fetch the packages for one version of Python."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""The C libraries that wheels are made for, of those that Debian 12 and Ubuntu 22.04, and all later ones, can run. pip
before 24 takes each name for itself; 2_17 and 2014 are two names of one.
"""
_NOTES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", ".lock")
"""What pip and uv each write on how they installed a package, beside what its wheel holds."""


@dataclass(frozen=True)
class Installer:
    """argv: the command that installs packages; a target and requirements are to be added. is_pip: it is no uv."""

    argv: tuple[str, ...]
    is_pip: bool

    def list_target_flags(self, python: str, arch: str) -> list[str]:
        """The flags for another Python than this one: its version, such as "3.11", and the architecture it runs on."""
        machine = _MACHINES[arch]
        if self.is_pip:
            platforms = [f"--platform={each}_{machine}" for each in _PLATFORMS]
        else:
            platforms = [f"--python-platform={machine}-{_PLATFORMS[0]}"]
        return ["--only-binary=:all:", f"--python-version={python}", *platforms]


def find_installer(shell: Shell) -> Installer:
    """pip of this interpreter, or uv, whose environments have no pip. Raises PreconditionError if there is neither."""
    if importlib.util.find_spec("pip"):
        argv = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--no-input")
        return Installer(argv, is_pip=True)
    uv = shell.which("uv")
    if uv:
        return Installer((uv, "pip", "install", "--quiet", "--no-deps", f"--python={sys.executable}"), is_pip=False)
    message = "there is neither pip nor uv to fetch Python packages with"
    raise PreconditionError(message, hint=f"{sys.executable} -m ensurepip")


class Wheels:
    """Fetches the wheel parts. project: the checkout. arch: that of the nodes."""

    def __init__(self, shell: Shell, *, project: Path, arch: str) -> None:
        self._shell = shell
        self._project = project
        self._arch = arch

    def fetch(self, part: WheelPart, folder: Path, say: Callable[[str], None]) -> None:
        """Fill `folder` with a ZIP file per version of Python (`name_archive`): what the wheels of the part hold.

        The packages are installed, not only downloaded, because uv can do nothing else; none of their code is run by
        that. Raises PreconditionError.
        """
        installer = find_installer(self._shell)
        requirements = f"--requirement={self._project / part.requirements}"
        for python in part.pythons:
            say(f"fetching packages for Python {python}")
            with tempfile.TemporaryDirectory(dir=folder) as target:
                flags = [*installer.list_target_flags(python, self._arch), "--require-hashes", f"--target={target}"]
                try:
                    self._shell.run([*installer.argv, *flags, requirements], limit=LIMIT)
                except CommandError as error:
                    raise PreconditionError(
                        f"the packages of {part.requirements} could not be fetched for Python {python}",
                        hint=f"check that {'pip' if installer.is_pip else 'uv'} can reach its index of packages",
                        evidence=error.evidence,
                    ) from None
                pack_packages(Path(target), folder / name_archive(python))


def pack_packages(source: Path, archive: Path) -> None:
    """Pack the packages that are installed in `source` as the ZIP file `archive`: the same ones give the same file.

    Their commands are left out: they begin with the path of this machine's Python.
    """
    shutil.rmtree(source / "bin", ignore_errors=True)
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(list_files(source, (*_NOTES, "__pycache__"))):
            member = zipfile.ZipInfo(path.relative_to(source).as_posix())  # of 1980, and of nobody
            file.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
