"""The Go parts: which sources are compiled as they are, and which with a known fault taken out."""

from __future__ import annotations

import json
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
    """Notes what a build would read in place of the dependency's sources."""

    def __init__(self, dependency: Path) -> None:
        self.dependency = dependency
        self.overlays: list[dict[str, str]] = []

    def find_module_folder(self, _: Path, name: str) -> Path:
        assert name == EDIT.module
        return self.dependency

    def build(self, *_: Any, overlay: Path | None, **__: Any) -> None:
        replaced = json.loads(overlay.read_text())["Replace"] if overlay else {}
        self.overlays.append({source: Path(copy).read_text() for source, copy in replaced.items()})


def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: GoPart, source: str) -> list[dict[str, str]]:
    (tmp_path / "wait.go").write_text(source)
    go = FakeGo(tmp_path)
    monkeypatch.setattr(Compiler, "provide_go", lambda *_: cast(Go, go))
    compiler = Compiler(FakeShell(), Store(tmp_path / "cache", FakeClock()), project=tmp_path, arch="amd64")
    compiler.build(part, tmp_path / "out", lambda _: None)
    return go.overlays


def test_a_source_is_compiled_as_the_edit_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = build(tmp_path, monkeypatch, replace(PART, edits=(EDIT,)), "var Every = 30 // seconds\n")
    assert found == [{str(tmp_path / "wait.go"): "var Every = 1_000_000 // seconds\n"}]
    assert build(tmp_path, monkeypatch, PART, "var Every = 30\n") == [{}]


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
