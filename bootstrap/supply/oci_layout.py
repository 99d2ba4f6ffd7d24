"""OCI image layouts: made from what the engine saves, read, and packed for containerd.

Format: the OCI image-spec (image-layout.md, manifest.md); the archive of `docker save` with its
manifest.json. An engine's own digests are not used: the classic Docker stores none for what it built.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"
CHUNK = 1 << 20

Descriptor = dict[str, Any]


def from_engine_archive(archive: Path, layout: Path, *, packed: bool = True) -> str:
    """Turn the archive of `docker save IMAGE` into the layout folder `layout`; answers the digest.

    Layers are compressed without a time stamp, so the same layer gives the same blob in every image; or not at all,
    which is quicker for an image that holds compressed ones.
    """
    keep = _compress if packed else _plainly
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        entry = json.loads(_member(tar, "manifest.json").read())[0]
        config = _put(blobs, _member(tar, entry["Config"]).read(), CONFIG)
        layers = [keep(blobs, _plain(_member(tar, name))) for name in entry["Layers"]]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    descriptor = _put(blobs, _json(manifest), MANIFEST)
    write_index(layout, [descriptor])
    return str(descriptor["digest"])


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)  # follows links: `docker save` links repeated layers
    if member is None:
        raise ValueError(f"{name} is not a file in the archive")
    return member


def _plain(layer: IO[bytes]) -> IO[bytes]:
    """Uncompressed: engines that keep images in containerd save layers as they were made."""
    magic = layer.read(2)
    layer.seek(0)
    return cast(IO[bytes], gzip.open(layer)) if magic == b"\x1f\x8b" else layer


def _compress(blobs: Path, source: IO[bytes]) -> Descriptor:
    temporary = blobs / f".layer-{os.getpid()}"
    with temporary.open("wb") as raw, gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed:
        shutil.copyfileobj(source, packed, CHUNK)
    return _layer(temporary, LAYER)


def _plainly(blobs: Path, source: IO[bytes]) -> Descriptor:
    temporary = blobs / f".layer-{os.getpid()}"
    with temporary.open("wb") as raw:
        shutil.copyfileobj(source, raw, CHUNK)
    return _layer(temporary, LAYER.removesuffix("+gzip"))


def _layer(temporary: Path, media_type: str) -> Descriptor:
    """Give a blob its name."""
    with temporary.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    size = temporary.stat().st_size
    temporary.rename(temporary.with_name(digest))
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _put(blobs: Path, data: bytes, media_type: str) -> Descriptor:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def write_index(layout: Path, manifests: list[Descriptor]) -> None:
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))


def manifest_of(layout: Path) -> Descriptor:
    """The descriptor of the layout's only image."""
    index = json.loads((layout / "index.json").read_bytes())
    return cast(Descriptor, index["manifests"][0])


def size_of(layout: Path) -> int:
    """Bytes of all blobs."""
    return sum(path.stat().st_size for path in (layout / "blobs/sha256").iterdir())


def archive(images: Iterable[tuple[Path, Iterable[str]]], target: Path) -> None:
    """Pack layouts into one archive for `ctr images import`; each image under all of its references.

    Blobs shared by several images are packed once.
    """
    manifests: list[Descriptor] = []
    seen: set[str] = set()
    with tarfile.open(target, "w") as tar:
        for layout, references in images:
            descriptor = manifest_of(layout)
            for reference in references:
                manifests.append(descriptor | {"annotations": {"io.containerd.image.name": reference}})
            for blob in sorted((layout / "blobs/sha256").iterdir()):
                if blob.name not in seen:
                    seen.add(blob.name)
                    tar.add(blob, f"blobs/sha256/{blob.name}")
        for name, value in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}),
        ):
            data = _json(value)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
