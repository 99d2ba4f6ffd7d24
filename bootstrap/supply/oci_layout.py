"""OCI image layouts: made from what the engine saves, read, and packed for containerd.

Format: the OCI image-spec (image-layout.md, manifest.md); the archive of `docker save` with its manifest.json. An
engine's own digests are not used: the classic Docker stores none for what it built.
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


def convert_engine_archive(archive: Path, layout: Path, *, packed: bool = True) -> str:
    """Turn the archive of `docker save IMAGE` into the layout folder `layout`; answers the image's digest.

    packed: layers are compressed, without a time stamp, so that the same layer gives the same blob in every image.
    Otherwise they are not, which is quicker for an image that holds compressed files. Raises ValueError.
    """
    keep = _store_compressed if packed else _store_plain
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        entry = json.loads(_open_member(tar, "manifest.json").read())[0]
        config = _write_blob(blobs, _open_member(tar, entry["Config"]).read(), CONFIG)
        layers = [keep(blobs, _open_plain(_open_member(tar, name))) for name in entry["Layers"]]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    descriptor = _write_blob(blobs, _encode_json(manifest), MANIFEST)
    write_index(layout, [descriptor])
    return str(descriptor["digest"])


def _open_member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    member = tar.extractfile(name)  # follows links: `docker save` links repeated layers
    if member is None:
        raise ValueError(f"{name} is not a file in the archive")
    return member


def _open_plain(layer: IO[bytes]) -> IO[bytes]:
    """The layer uncompressed: engines that keep images in containerd save layers as they were made."""
    magic = layer.read(2)
    layer.seek(0)
    return cast(IO[bytes], gzip.open(layer)) if magic == b"\x1f\x8b" else layer


def _store_compressed(blobs: Path, source: IO[bytes]) -> Descriptor:
    temporary = blobs / f".layer-{os.getpid()}"
    with temporary.open("wb") as raw, gzip.GzipFile("", "wb", 3, raw, mtime=0) as packed:
        shutil.copyfileobj(source, packed, CHUNK)
    return _name_blob(temporary, LAYER)


def _store_plain(blobs: Path, source: IO[bytes]) -> Descriptor:
    temporary = blobs / f".layer-{os.getpid()}"
    with temporary.open("wb") as raw:
        shutil.copyfileobj(source, raw, CHUNK)
    return _name_blob(temporary, LAYER.removesuffix("+gzip"))


def _name_blob(temporary: Path, media_type: str) -> Descriptor:
    """Rename a blob to its digest, and answer its descriptor."""
    with temporary.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    size = temporary.stat().st_size
    temporary.rename(temporary.with_name(digest))
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _write_blob(blobs: Path, data: bytes, media_type: str) -> Descriptor:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _encode_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def write_index(layout: Path, manifests: list[Descriptor]) -> None:
    """Write the files `oci-layout` and `index.json`. manifests: the descriptors of the images."""
    (layout / "oci-layout").write_bytes(_encode_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(_encode_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))


def read_descriptor(layout: Path) -> Descriptor:
    """The descriptor of the layout's only image: {"mediaType", "digest", "size"}."""
    index = json.loads((layout / "index.json").read_bytes())
    return cast(Descriptor, index["manifests"][0])


def read_digest(layout: Path) -> str:
    """The digest of the layout's only image, "sha256:HEX"."""
    return str(read_descriptor(layout)["digest"])


def compute_size(layout: Path) -> int:
    """The bytes of all blobs of a layout."""
    return sum(path.stat().st_size for path in (layout / "blobs/sha256").iterdir())


def pack_archive(images: Iterable[tuple[Path, Iterable[str]]], target: Path) -> None:
    """Pack layouts into one archive for `ctr images import`. images: (layout, all references of its image).

    Blobs shared by several images are packed once.
    """
    manifests: list[Descriptor] = []
    seen: set[str] = set()
    with tarfile.open(target, "w") as tar:
        for layout, references in images:
            descriptor = read_descriptor(layout)
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
            data = _encode_json(value)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
