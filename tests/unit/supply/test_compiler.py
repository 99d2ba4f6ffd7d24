"""The Go parts: which sources are compiled as they are, and which with a known fault taken out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.supply.build_cache import Store
from bootstrap.supply.build_catalog import GO_PARTS, GoPart, SourceEdit
from bootstrap.supply.compiler import Compiler
from bootstrap.supply.golang import Go
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeClock

EDIT = SourceEdit("example.org/dependency", "wait.go", "Every = 30", "Every = 1_000_000")
PART = GoPart("go-part", "images/part", {"part": "."}, cost=1)


class FakeGo:
    """Notes what a build reads: the text of each file below the folder that it is run in."""

    def __init__(self, dependency: Path) -> None:
        self.dependency = dependency
        self.read: dict[str, str] = {}

    def find_module_folder(self, _: Path, name: str) -> Path:
        assert name == EDIT.module
        return self.dependency

    def build(self, module: Path, *_: Any, **__: Any) -> None:
        files = [path for path in module.rglob("*") if path.is_file()]
        self.read = {str(path.relative_to(module)): path.read_text() for path in files}


def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: GoPart, source: str) -> dict[str, str]:
    module, dependency = tmp_path / "images/part", tmp_path / "dependency"
    for folder in (module, dependency):
        folder.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text("module part\n")
    cached = dependency / "wait.go"
    cached.unlink(missing_ok=True)
    cached.write_text(source)
    cached.chmod(0o444)  # as Go's module cache has it
    go = FakeGo(dependency)
    monkeypatch.setattr(Compiler, "provide_go", lambda *_: cast(Go, go))
    compiler = Compiler(FakeShell(), Store(tmp_path / "cache", FakeClock()), project=tmp_path, arch="amd64")
    compiler.build(part, tmp_path / "out", lambda _: None)
    assert cached.read_text() == source, "what Go has fetched stays as it is"
    assert (module / "go.mod").read_text() == "module part\n"
    return go.read


def test_a_source_is_compiled_as_the_edit_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = build(tmp_path, monkeypatch, replace(PART, edits=(EDIT,)), "var Every = 30 // seconds\n")
    assert found == {
        "go.mod": "module part\n\nreplace example.org/dependency => ./edited/example.org/dependency\n",
        "edited/example.org/dependency/wait.go": "var Every = 1_000_000 // seconds\n",
    }
    assert build(tmp_path, monkeypatch, PART, "var Every = 30\n") == {"go.mod": "module part\n"}


@pytest.mark.parametrize("source", ["var Every = 60\n", "var Every = 30\nvar NotEvery = 30\n"], ids=["none", "two"])
def test_a_source_that_has_changed_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    with pytest.raises(PreconditionError, match="does not have `Every = 30` exactly once"):
        build(tmp_path, monkeypatch, replace(PART, edits=(EDIT,)), source)


def test_the_provisioner_never_takes_the_lock_that_it_waits_for_twice() -> None:
    [storage] = [part for part in GO_PARTS if part.name == "go-storage"]
    [edit] = storage.edits
    assert (edit.file, edit.before) == ("provisioner.go", "ConfigFileCheckInterval = 30 * time.Second")
