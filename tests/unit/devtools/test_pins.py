"""What `invoke pins` reads out of the answers of go, pip and the files of this checkout."""

from __future__ import annotations

import json

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.devtools.pins import Pin, _list_images, parse_modules, parse_requirements, select_modules


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


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_of_this_checkout_is_read(file: str) -> None:
    text = (PROJECT / file).read_text()
    found = parse_requirements(text)
    assert len(found) == text.count("==") > 10
    assert all(version[0].isdigit() and not version.endswith("\\") for _, version in found)


def test_images_of_public_hosts_are_named_and_nobody_is_asked() -> None:
    found = _list_images(PROJECT)
    assert Pin("images/upstream.yaml", "golang", "1.26") in found
    assert {pin.state for pin in found} == {"unknown"}
