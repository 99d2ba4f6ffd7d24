"""Bills of materials: what is found in layers and programs, and how it is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bootstrap.supply import oci_layout, sbom
from bootstrap.supply.sbom import Component, ImageReader
from tests.unit.archives import pack_tar
from tests.unit.supply.test_bundle import make_layout

STATUS = """\
Package: git
Status: install ok installed
Architecture: amd64
Version: 1:2.39.5-0+deb12u3
Description: fast
 Package: not-one

Package: gone
Status: deinstall ok config-files
Version: 1
"""
PROGRAM = b"\x7fELF by Go"
BUILD_INFORMATION: dict[str, Any] = {
    "GoVersion": "go1.26.3",
    "Path": "example.test/app",
    "Main": {"Path": "example.test/app", "Version": "(devel)"},
    "Deps": [
        {"Path": "golang.org/x/net", "Version": "v0.1.0", "Sum": "h1:x="},
        {
            "Path": "example.test/old",
            "Version": "v1.0.0",
            "Replace": {"Path": "example.test/new", "Version": "v2.0.0", "Sum": "h1:y="},
        },
        {"Path": "example.test/edited", "Version": "v3.0.0", "Replace": {"Path": "./edited/example.test/edited"}},
    ],
    "Settings": [{"Key": "-compiler", "Value": "gc"}],
}
GO = [
    Component("golang", "stdlib", "1.26.3"),
    Component("golang", "example.test/app", ""),
    Component("golang", "golang.org/x/net", "v0.1.0"),
    Component("golang", "example.test/new", "v2.0.0"),
    Component("golang", "example.test/edited", "v3.0.0"),
]


class Toolchain:
    """What `go version -m -json` prints of a folder. asked: how many programs were in each."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read(self, folder: Path) -> str:
        programs = list(folder.iterdir())
        self.asked.append(len(programs))
        assert all(each.stat().st_mode & 0o111 for each in programs), "Go passes over what cannot be run"
        assert all(each.read_bytes().startswith(b"\x7fELF") for each in programs)
        return "".join(
            json.dumps(BUILD_INFORMATION, indent=1) + "\n" for each in programs if each.read_bytes() == PROGRAM
        )


@pytest.fixture
def toolchain() -> Toolchain:
    return Toolchain()


@pytest.fixture
def reader(tmp_path: Path, toolchain: Toolchain) -> ImageReader:
    (tmp_path / "programs").mkdir()
    return ImageReader(toolchain.read, tmp_path / "programs")


def test_debian_packages_that_are_installed() -> None:
    assert list(sbom.parse_dpkg_status(STATUS)) == [Component("deb", "git", "1:2.39.5-0+deb12u3", "amd64")]


def test_go_modules_replaced_ones_as_what_replaces_them() -> None:
    assert list(sbom.parse_build_information(json.dumps(BUILD_INFORMATION))) == GO
    experiment = BUILD_INFORMATION | {"GoVersion": "go1.26.3 X:some"}
    assert list(sbom.parse_build_information(json.dumps(experiment))) == GO


def test_go_modules_of_several_programs_and_of_none() -> None:
    alone = {"GoVersion": "go1.26.3"}
    text = f"{json.dumps(BUILD_INFORMATION, indent=1)}\n{json.dumps(alone, indent=1)}\n"
    assert list(sbom.parse_build_information(text)) == [*GO, GO[0]]
    assert list(sbom.parse_build_information("")) == []


def test_python_packages() -> None:
    assert list(sbom.parse_python_metadata("Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\n\nName: no\n")) == [
        Component("pypi", "pyyaml", "6.0")
    ]


def files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    below = {"var/lib/dpkg/status": b"Package: old\nStatus: install ok installed\nVersion: 1\n"}
    above = {
        "var/lib/dpkg/status": STATUS.encode(),
        "usr/bin/app": PROGRAM,
        "usr/bin/tool": b"\x7fELF by C",
        "usr/bin/script": b"#!/bin/sh" + b" " * 99,
        "opt/site/kopf-1.44.6.dist-info/METADATA": b"Metadata-Version: 2.4\nName: kopf\nVersion: 1.44.6\n\nkopf\n",
    }
    return below, above


FOUND = sorted([Component("deb", "git", "1:2.39.5-0+deb12u3", "amd64"), Component("pypi", "kopf", "1.44.6"), *GO])


def test_of_a_layout_the_last_status_and_every_program(
    tmp_path: Path, reader: ImageReader, toolchain: Toolchain
) -> None:
    below, above = files()
    layout = make_layout(tmp_path, "image", gzip.compress(pack_tar(below)), pack_tar(above))
    assert reader.read_layout(layout) == FOUND
    assert toolchain.asked == [2], "programs of the second layer, scripts are none"
    assert list((tmp_path / "programs").iterdir()) == []


def test_a_layer_that_images_share_is_read_once(tmp_path: Path, reader: ImageReader) -> None:
    below, above = files()
    first = make_layout(tmp_path, "first", pack_tar(below), pack_tar(above))
    second = make_layout(tmp_path, "second", pack_tar(below), pack_tar({"usr/bin/other": PROGRAM}))
    reader.read_layout(first)
    blobs = [{each.name for each in (layout / "blobs/sha256").iterdir()} for layout in (first, second)]
    [shared] = blobs[0] & blobs[1]
    (second / "blobs/sha256" / shared).write_bytes(b"not to be read again")
    assert reader.read_layout(second) == sorted([Component("deb", "old", "1"), *GO])


def test_of_an_archive_of_the_engine(tmp_path: Path, reader: ImageReader) -> None:
    below, above = files()
    manifest = json.dumps([{"Config": "c", "RepoTags": [], "Layers": ["1/layer.tar", "2/layer.tar"]}]).encode()
    members = {"manifest.json": manifest, "1/layer.tar": pack_tar(below), "2/layer.tar": pack_tar(above)}
    (tmp_path / "node.tar").write_bytes(pack_tar(members))
    assert reader.read_archive(tmp_path / "node.tar") == FOUND


def test_the_document_is_cyclonedx_and_the_same_each_time() -> None:
    first, second = (sbom.make_document("toolbox", "sha256:aa", FOUND) for _ in range(2))
    assert first == second
    found = json.loads(first)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["name"] == "toolbox"
    urls = {each["purl"] for each in found["components"]}
    assert (
        "pkg:deb/debian/git@1%3A2.39.5-0%2Bdeb12u3?arch=amd64" in urls
        or "pkg:deb/debian/git@1:2.39.5-0%2Bdeb12u3?arch=amd64" in urls
    )
    assert "pkg:golang/golang.org/x/net@v0.1.0" in urls
    [image] = [each for each in found["dependencies"] if each["ref"] == "toolbox@sha256:aa"]
    assert len(image["dependsOn"]) == len(FOUND)


def test_an_empty_image_has_an_empty_bill(tmp_path: Path, reader: ImageReader, toolchain: Toolchain) -> None:
    layout = make_layout(tmp_path, "image", pack_tar({}))
    assert reader.read_layout(layout) == []
    assert toolchain.asked == []
    assert json.loads(sbom.make_document("image", oci_layout.read_digest(layout), []))["metadata"]
