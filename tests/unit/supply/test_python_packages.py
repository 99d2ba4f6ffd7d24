"""Fetching the packages of an image: by pip or uv, for each Python and architecture that it may have."""

from __future__ import annotations

import importlib.util
import re
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.paths import PROJECT
from bootstrap.supply import python_packages
from bootstrap.supply.build_catalog import IMAGE_PARTS, PYTHONS, WHEEL_PARTS, WheelPart, name_archive
from bootstrap.supply.python_packages import Wheels, pack_packages
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell

PART = WheelPart("part", "images/part/requirements.txt", cost=1, pythons=("3.10", "3.14"))
PIP = f"{sys.executable} -m pip install --quiet --no-deps --no-compile --no-input"
LOCKED = re.compile(r"^([a-z0-9][\w.-]*)==(\S+) \\$", re.MULTILINE)


class Index(FakeShell):
    """Installs one package into --target, as pip and uv do. fails: for that Python."""

    fails = ""

    def run(self, argv: Sequence[str], **options: Any) -> Output:
        words = dict(word.partition("=")[::2] for word in argv)
        self.ran.append(" ".join(argv).replace(words["--target"], "TARGET"))
        if words["--python-version"] == self.fails:
            raise CommandError("pip failed", code=1, evidence="no matching distribution found for kopf")
        install(Path(words["--target"]), words["--python-version"])
        return Output(0, "", "")


def install(target: Path, text: str) -> None:
    notes = {"INSTALLER": "pip", "RECORD": "bin/kopf,,", "REQUESTED": "", "METADATA": "Name: kopf", "WHEEL": "any"}
    files = {f"kopf-1.dist-info/{name}": each for name, each in notes.items()}
    for name, each in {**files, "kopf/bin/a.py": text, "kopf/__pycache__/a.pyc": "x", "bin/kopf": "#!/me"}.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(each)


def fetch(shell: FakeShell, folder: Path, arch: str = "amd64") -> list[str]:
    said: list[str] = []
    folder.mkdir()
    Wheels(shell, project=Path("/project"), arch=arch).fetch(PART, folder, said.append)
    return said


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_each_python_gets_a_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    said = fetch(Index(), tmp_path / "part")
    assert said == ["fetching packages for Python 3.10", "fetching packages for Python 3.14"]
    assert {path.name for path in (tmp_path / "part").iterdir()} == {"python3.10.zip", "python3.14.zip"}
    with zipfile.ZipFile(tmp_path / "part/python3.14.zip") as file:
        assert file.read("kopf/bin/a.py") == b"3.14"
        assert set(file.namelist()) == {"kopf/bin/a.py", "kopf-1.dist-info/METADATA", "kopf-1.dist-info/WHEEL"}


@pytest.mark.parametrize(("arch", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")])
def test_pip_is_asked_for_the_image_and_not_for_this_machine(tmp_path: Path, arch: str, machine: str) -> None:
    shell = Index()
    fetch(shell, tmp_path / "part", arch)
    platforms = [f"--platform={each}_{machine}" for each in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    last = "--require-hashes --target=TARGET --requirement=/project/images/part/requirements.txt"
    assert shell.ran == [
        f"{PIP} --only-binary=:all: --python-version={python} {' '.join(platforms)} {last}"
        for python in ("3.10", "3.14")
    ]


def test_where_uv_made_the_environment_uv_is_asked_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip(monkeypatch)
    shell = Index(programs={"uv": "/bin/uv"})
    fetch(shell, tmp_path / "part", "arm64")
    assert shell.ran[0] == (
        f"/bin/uv pip install --quiet --no-deps --python={sys.executable} --only-binary=:all: --python-version=3.10 "
        "--python-platform=aarch64-manylinux_2_28 --require-hashes --target=TARGET "
        "--requirement=/project/images/part/requirements.txt"
    )


def test_without_any_installer_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pip(monkeypatch)
    with pytest.raises(PreconditionError, match="neither pip nor uv") as failure:
        python_packages.find_installer(FakeShell())
    assert "ensurepip" in failure.value.hint


def test_packages_that_do_not_come_are_named_with_the_cause(tmp_path: Path) -> None:
    shell = Index()
    shell.fails = "3.14"
    with pytest.raises(PreconditionError, match=r"images/part/requirements\.txt .* Python 3\.14") as failure:
        fetch(shell, tmp_path / "part")
    assert failure.value.evidence == "no matching distribution found for kopf"
    assert "pip can reach its index" in failure.value.hint
    assert {path.name for path in (tmp_path / "part").iterdir()} == {"python3.10.zip"}


def test_the_same_packages_give_the_same_file(tmp_path: Path) -> None:
    for name, reverse in (("a", False), ("b", True)):
        install(tmp_path / name, "x")
        for path in sorted(["kopf/z.py", "kopf/y.py"], reverse=reverse):
            (tmp_path / name / path).touch()
        pack_packages(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_image_takes_a_file_for_each_python() -> None:
    [manager] = [part for part in IMAGE_PARTS if part.name == "manager"]
    [wheels] = WHEEL_PARTS
    assert manager.files == {name_archive(each): f"{wheels.name}/{name_archive(each)}" for each in PYTHONS}
    assert manager.preload, "the node image holds it"
    assert (PROJECT / wheels.requirements).parent == PROJECT / manager.folder


def test_the_lock_of_the_manager_is_for_every_python_and_its_framework_is_the_one_that_is_tested() -> None:
    """A package that only the oldest needs, as 3.10 does, stands in it for all: markers would be read for this one."""
    text = (PROJECT / WHEEL_PARTS[0].requirements).read_text()
    locked, tested = (dict(LOCKED.findall(each)) for each in (text, (PROJECT / "requirements-dev.txt").read_text()))
    assert {"kopf", "aiohttp", "async-timeout", "typing-extensions"} <= locked.keys()
    assert [(locked[name], locked[name]) for name in ("kopf", "aiohttp")] == [
        (locked[name], tested[name]) for name in ("kopf", "aiohttp")
    ]
    assert ";" not in text
    for line in (PROJECT / "images/manager/requirements.in").read_text().splitlines():
        name, _, version = line.partition("==")
        assert line.startswith("#") or locked[name] == version
