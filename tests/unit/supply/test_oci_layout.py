"""Image layouts: made from what engines save, and packed for containerd."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bootstrap.supply import oci_layout

CONFIG = json.dumps({"architecture": "amd64", "rootfs": {"diff_ids": []}}).encode()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def saved(path: Path, layers: dict[str, bytes], *, link: tuple[str, str] | None = None) -> Path:
    """An archive as `docker save` writes it. link: (name, target) of a layer that is a symbolic link."""
    names = [*layers, *([link[0]] if link else [])]
    with tarfile.open(path, "w") as tar:
        add(tar, "manifest.json", json.dumps([{"Config": "c.json", "Layers": names, "RepoTags": ["x:1"]}]).encode())
        add(tar, "c.json", CONFIG)
        for name, data in layers.items():
            add(tar, name, data)
        if link:
            info = tarfile.TarInfo(link[0])
            info.type, info.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(info)
    return path


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    data: bytes = (layout / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(data).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    assert len(data) == descriptor["size"]
    return data


def manifest(layout: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(blob(layout, oci_layout.read_descriptor(layout)))
    return loaded


def test_a_saved_image_becomes_a_layout(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.tar", {"1/layer.tar": b"one" * 1000, "2/layer.tar": b"two"})
    digest = oci_layout.convert_engine_archive(archive, tmp_path / "layout")
    assert digest == oci_layout.read_descriptor(tmp_path / "layout")["digest"]
    found = manifest(tmp_path / "layout")
    assert blob(tmp_path / "layout", found["config"]) == CONFIG
    assert [gzip.decompress(blob(tmp_path / "layout", layer)) for layer in found["layers"]] == [b"one" * 1000, b"two"]
    assert {layer["mediaType"] for layer in found["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert json.loads((tmp_path / "layout/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert oci_layout.compute_size(tmp_path / "layout") == sum(
        path.stat().st_size for path in (tmp_path / "layout/blobs/sha256").iterdir()
    )


def test_the_same_image_gives_the_same_digest(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.tar", {"1/layer.tar": b"one"})
    assert oci_layout.convert_engine_archive(archive, tmp_path / "1") == oci_layout.convert_engine_archive(
        archive, tmp_path / "2"
    )


def test_a_layer_that_links_to_another_one(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.tar", {"1/layer.tar": b"one"}, link=("2/layer.tar", "../1/layer.tar"))
    oci_layout.convert_engine_archive(archive, tmp_path / "layout")
    first, second = manifest(tmp_path / "layout")["layers"]
    assert first == second


def test_a_layer_that_is_compressed_already_is_not_compressed_twice(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.tar", {"blobs/sha256/1": gzip.compress(b"one")})
    oci_layout.convert_engine_archive(archive, tmp_path / "layout")
    [layer] = manifest(tmp_path / "layout")["layers"]
    assert gzip.decompress(blob(tmp_path / "layout", layer)) == b"one"


def test_an_archive_without_the_layer_is_refused(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.tar", {}, link=("1/layer.tar", "../gone"))
    with pytest.raises(KeyError):
        oci_layout.convert_engine_archive(archive, tmp_path / "layout")


def test_images_are_packed_under_all_their_names_and_shared_blobs_once(tmp_path: Path) -> None:
    layouts = []
    for name, own in (("a", b"own of a"), ("b", b"own of b")):
        archive = saved(tmp_path / f"{name}.tar", {"1": b"shared", "2": own})
        oci_layout.convert_engine_archive(archive, tmp_path / name)
        layouts.append(tmp_path / name)
    packed = tmp_path / "images.tar"
    oci_layout.pack_archive(
        [(layouts[0], ["r/a@sha256:1", "registry.k8s.io/a:1"]), (layouts[1], ["r/b@sha256:2"])], packed
    )
    with tarfile.open(packed) as tar:
        names = tar.getnames()
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
    assert len(names) == len(set(names))
    assert len([name for name in names if name.startswith("blobs/")]) == 6, "2 manifests, 1 config, 3 layers"
    by_name = {each["annotations"]["io.containerd.image.name"]: each["digest"] for each in index["manifests"]}
    assert by_name["r/a@sha256:1"] == by_name["registry.k8s.io/a:1"] == oci_layout.read_descriptor(layouts[0])["digest"]
    assert by_name["r/b@sha256:2"] == oci_layout.read_descriptor(layouts[1])["digest"]


def test_layers_can_stay_as_they_are(tmp_path: Path) -> None:
    archive = saved(tmp_path / "a.tar", {"1/layer.tar": b"one" * 1000})
    oci_layout.convert_engine_archive(archive, tmp_path / "layout", packed=False)
    [layer] = manifest(tmp_path / "layout")["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert blob(tmp_path / "layout", layer) == b"one" * 1000
