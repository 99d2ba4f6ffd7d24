"""Bills of materials: what is found in layers and programs, and how it is told."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from bootstrap.supply import oci_layout, sbom
from bootstrap.supply.sbom import Component
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
MODULES = (
    "path\texample.test/app\nmod\texample.test/app\t(devel)\t\n"
    "dep\tgolang.org/x/net\tv0.1.0\th1:x=\n"
    "dep\texample.test/old\tv1.0.0\n=>\texample.test/new\tv2.0.0\th1:y=\n"
    "build\t-compiler=gc\n"
)
GO = [
    Component("golang", "stdlib", "1.26.3"),
    Component("golang", "example.test/app", ""),
    Component("golang", "golang.org/x/net", "v0.1.0"),
    Component("golang", "example.test/new", "v2.0.0"),
]


def varint(number: int) -> bytes:
    data = b""
    while number >= 0x80:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def program(version: str = "go1.26.3", modules: str = MODULES) -> bytes:
    framed = b"0" * 16 + modules.encode() + b"1" * 16
    strings = b"".join(varint(len(text)) + text for text in (version.encode(), framed))
    return b"\x7fELF" + b"\0" * 100 + b"\xff Go buildinf:\x08\x02" + b"\0" * 16 + strings + b"rest"


def layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_debian_packages_that_are_installed() -> None:
    assert list(sbom.parse_dpkg_status(STATUS)) == [Component("deb", "git", "1:2.39.5-0+deb12u3", "amd64")]


def test_go_modules_replaced_ones_as_what_replaces_them() -> None:
    assert list(sbom.go(program())) == GO
    assert list(sbom.go(program("go1.26.3 X:some"))) == GO


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF of C",
        b"\xff Go buildinf:",
        b"\xff Go buildinf:\x08\x00" + b"\0" * 40,
        b"\xff Go buildinf:\x08\x02" + b"\0" * 16 + b"\xff" * 12,
    ],
)
def test_programs_that_tell_nothing(data: bytes) -> None:
    assert list(sbom.go(data)) == []


def test_a_program_that_has_the_magic_among_its_data_before() -> None:
    assert list(sbom.go(b"\xff Go buildinf:" + b"\0" * 200 + program())) == GO


def test_python_packages() -> None:
    assert list(sbom.parse_python_metadata("Metadata-Version: 2.1\nName: PyYAML\nVersion: 6.0\n\nName: no\n")) == [
        Component("pypi", "pyyaml", "6.0")
    ]


def files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    below = {"var/lib/dpkg/status": b"Package: old\nStatus: install ok installed\nVersion: 1\n"}
    above = {
        "var/lib/dpkg/status": STATUS.encode(),
        "usr/bin/app": program(),
        "usr/bin/script": b"#!/bin/sh" + b" " * 99,
    }
    return below, above


FOUND = sorted([Component("deb", "git", "1:2.39.5-0+deb12u3", "amd64"), *GO])


def test_of_a_layout_the_last_status_and_every_program(tmp_path: Path) -> None:
    below, above = files()
    layout = make_layout(tmp_path, "image", gzip.compress(layer(below)), layer(above))
    assert sbom.read_layout(layout, {}) == FOUND


def test_a_layer_that_images_share_is_read_once(tmp_path: Path) -> None:
    below, above = files()
    read: dict[str, sbom.Layer] = {}
    first = make_layout(tmp_path, "first", layer(below), layer(above))
    second = make_layout(tmp_path, "second", layer(below), layer({"usr/bin/other": program()}))
    sbom.read_layout(first, read)
    shared = set(read) & {each.name for each in (second / "blobs/sha256").iterdir()}
    assert len(shared) == 1
    (second / "blobs/sha256" / shared.pop()).write_bytes(b"not to be read again")
    assert sbom.read_layout(second, read) == sorted([Component("deb", "old", "1"), *GO])


def test_of_an_archive_of_the_engine(tmp_path: Path) -> None:
    below, above = files()
    manifest = json.dumps([{"Config": "c", "RepoTags": [], "Layers": ["1/layer.tar", "2/layer.tar"]}]).encode()
    members = {"manifest.json": manifest, "1/layer.tar": layer(below), "2/layer.tar": layer(above)}
    (tmp_path / "node.tar").write_bytes(layer(members))
    assert sbom.read_archive(tmp_path / "node.tar") == FOUND


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


def test_an_empty_image_has_an_empty_bill(tmp_path: Path) -> None:
    layout = make_layout(tmp_path, "image", layer({}))
    assert sbom.read_layout(layout, {}) == []
    assert json.loads(sbom.make_document("image", str(oci_layout.read_descriptor(layout)["digest"]), []))["metadata"]
