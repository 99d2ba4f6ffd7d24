"""A bundle: one tar file with everything that `up` takes from outside.

    bundle.json                 what is in it; first, so that it is known without reading the rest
    oci-layout, index.json      an OCI image layout of all images, each by its name (org.opencontainers.image.ref.name)
    blobs/sha256/HEX            their blobs, those that several share once
    engine/{node,registry}.tar  what the engine runs itself, for `docker load`, by names that end in UNPROVED
    tools/{kind,crane}          programs for this machine
    tekton.json                 Tekton's objects, images by logical name
    sbom/NAME.cdx.json          what is in each image, as CycloneDX has it
    checksums                   SHA-256 of every other member, as sha256sum writes it; last

A file from outside is not trusted: other members, links and sizes that do not hold are refused by name.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from bootstrap.core.errors import UsageError
from bootstrap.core.model import LockedImage
from bootstrap.core.workers import Workers
from bootstrap.supply import oci_layout

FORMAT = 2
DESCRIPTION, CHECKSUMS, TEKTON = "bundle.json", "checksums", "tekton.json"
BLOBS, ENGINE, TOOLS, BILLS = "blobs/sha256/", "engine/", "tools/", "sbom/"
REF_NAME = "org.opencontainers.image.ref.name"
PROGRAMS = ("kind", "crane")
ARCHIVES = ("node", "registry")
DESCRIPTION_LIMIT = 1 << 20
UNPROVED = "-unproved"
"""End of the names by which the engine's archives are loaded: they get their own once all of the file is checked."""

_PLAIN = "|".join(map(re.escape, (DESCRIPTION, CHECKSUMS, TEKTON, "oci-layout", "index.json")))
_MEMBER = re.compile(
    rf"{_PLAIN}|{BLOBS}[0-9a-f]{{64}}|{BILLS}[a-z0-9][a-z0-9._-]*\.cdx\.json|{ENGINE}({'|'.join(ARCHIVES)})\.tar|{TOOLS}({'|'.join(PROGRAMS)})"
)
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Description:
    """What is in a bundle.

    versions: "kubernetes", "pipelines", "triggers" -> "v1.9.0". seeds: "library/golang:1" -> digest; the layout names
    them so, and images by their logical names.
    """

    arch: str
    versions: Mapping[str, str]
    node_image: str
    registry_image: str
    images: tuple[LockedImage, ...]
    seeds: Mapping[str, str]

    def dump(self) -> bytes:
        """As JSON, which `load` reads."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1).encode()

    @staticmethod
    def load(data: bytes) -> Description:
        """The description in this JSON.

        Raises ValueError for something else, LookupError(FORMAT) for another format.
        """
        try:
            found: dict[str, Any] = json.loads(data)
            number = found.pop("format")
            if number != FORMAT:
                raise LookupError(number)
            images = tuple(LockedImage(**(each | {"aliases": tuple(each["aliases"])})) for each in found["images"])
            return Description(**(found | {"images": images}))
        except (KeyError, TypeError, AttributeError):
            raise ValueError("not the description of a bundle") from None


# -- writing -----------------------------------------------------------------------------------------


class Writer:
    """Writes the members of a bundle to a tar file, and their checksums at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        self._sums: dict[str, str] = {}

    def put(self, name: str, data: bytes) -> None:
        """Add a member with these bytes."""
        self._add(name, io.BytesIO(data), len(data), 0o644)

    def add(self, name: str, path: Path, mode: int = 0o644) -> None:
        """Add a file as a member. mode: its permissions."""
        with path.open("rb") as source:
            self._add(name, source, os.fstat(source.fileno()).st_size, mode)

    def add_layouts(self, named: Mapping[str, Path]) -> None:
        """Add OCI layouts as one layout, each image by its name; blobs that several share are added once."""
        manifests = []
        for name, layout in named.items():
            manifests.append(oci_layout.read_descriptor(layout) | {"annotations": {REF_NAME: name}})
            for blob in sorted((layout / BLOBS).iterdir()):
                if BLOBS + blob.name not in self._sums:
                    self.add(BLOBS + blob.name, blob)
        self.put("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        index = {"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": manifests}
        self.put("index.json", json.dumps(index).encode())

    def close(self) -> None:
        """Add the checksums, and end the tar file."""
        lines = [f"{digest}  {name}\n" for name, digest in self._sums.items()]
        self.put(CHECKSUMS, "".join(lines).encode())
        self._tar.close()

    def _add(self, name: str, source: IO[bytes], size: int, mode: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, mode
        hashing = _Hashing(source)
        self._tar.addfile(info, hashing)
        self._sums[name] = hashing.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """A stream that keeps the digest of what was read of it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


# -- reading -----------------------------------------------------------------------------------------


def describe(file: Path) -> tuple[Description, bytes]:
    """The description of a bundle, and its bytes. Raises UsageError for a file that cannot be read or is no bundle."""
    try:
        with tarfile.open(file, "r|") as tar:
            first = tar.next()
            data = b""
            if first is not None and first.name == DESCRIPTION and first.isfile():
                data = _read(tar, first)
        return Description.load(data), data
    except LookupError as error:
        raise UsageError(
            f"{file} is a bundle of format {error.args[0]}; this version reads {FORMAT}", hint="invoke bundle, anew"
        ) from None
    except (ValueError, tarfile.TarError, EOFError):
        raise UsageError(f"{file} is not a bundle", hint="a file that invoke bundle has written") from None
    except OSError as error:
        raise UsageError(f"bundle.file: {file} cannot be read: {error.strerror}", hint="invoke config") from None


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(member)
    return source.read(DESCRIPTION_LIMIT) if source else b""


@dataclass(frozen=True)
class Member:
    """Where the bytes of a member are in the file, in bytes from its beginning."""

    name: str
    offset: int
    size: int


class _Stopped(Exception):
    """Another thread has failed, and its error is the one to raise."""


Load = Callable[[str, IO[bytes]], None]
"""Takes what the engine runs itself: "node", and a pipe with its archive. It has to read to the end, or to raise."""


def unpack(file: Path, folder: Path, say: Callable[[str], None], load: Load) -> None:
    """Check every member, and keep those that are used in `folder`, with a layout for each image, see `get_layout`.

    load: gets the engine's archives while they are checked, beside all other members. What it has made of them is not
    to be used before this returns. Raises UsageError with the name of the member that is wrong, and what `load` raises;
    then what is in `folder` is of no use.
    """
    members = scan(file)
    archives = [each for each in members if each.name.startswith(ENGINE)]
    rest = [each for each in members if not each.name.startswith(ENGINE)]
    stop, workers = threading.Event(), Workers[dict[str, str]]("bundle")
    workers.start("images", functools.partial(_keep_all, file, rest, folder, say, stop))
    for each in archives:
        workers.start(each.name, functools.partial(_load, file, each, load, stop))
    sums: dict[str, str] = {}
    failures: list[BaseException] = []
    while workers.busy:
        _, result = workers.take_result()
        if isinstance(result, BaseException):
            failures += [] if isinstance(result, _Stopped) else [result]
            stop.set()
        else:
            sums |= result
    if failures:
        # An archive that is cut or damaged also makes the engine complain: what we say of the file comes first.
        raise min(failures, key=lambda failure: not isinstance(failure, UsageError))
    _compare(file, sums, (folder / CHECKSUMS).read_text(errors="replace"))
    for program in PROGRAMS:
        (folder / TOOLS / program).chmod(0o755)
    _split(file, folder)


def load_again(file: Path, name: str, digest: str, load: Load) -> None:
    """Give `load` one of the engine's archives again.

    digest: its checksum. Raises UsageError if the file has changed.
    """
    member = next((each for each in scan(file) if each.name == f"{ENGINE}{name}.tar"), None)
    if member is None or _load(file, member, load, threading.Event())[member.name] != digest:
        raise _make_error(file, f"{ENGINE}{name}.tar is damaged")


def scan(file: Path) -> list[Member]:
    """All members, without reading their contents. Raises UsageError for what does not belong into a bundle."""
    found: dict[str, Member] = {}
    name = ""
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                name = member.name
                if name in found or not member.isreg() or member.issparse() or not _MEMBER.fullmatch(name):
                    raise _make_error(file, f"{name[:80]} does not belong into a bundle")
                found[name] = Member(name, member.offset_data, member.size)
            end = max((each.offset + each.size for each in found.values()), default=0)
    except (tarfile.TarError, EOFError, ValueError, OverflowError):
        raise _make_error(file, f"it is cut off or damaged at {name or 'its beginning'}") from None
    if file.stat().st_size < end:
        raise _make_error(file, f"it is cut off at {name}")
    if name != CHECKSUMS:  # which is written last
        raise _make_error(file, f"it is cut off or damaged after {name or 'its beginning'}")
    return list(found.values())


def _keep_all(
    file: Path, members: list[Member], folder: Path, say: Callable[[str], None], stop: threading.Event
) -> dict[str, str]:
    """Name -> digest, of what is now in `folder`."""
    sums: dict[str, str] = {}
    for member in members:
        say(f"reading {member.name[:30]}")
        target = folder / member.name
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as kept:
            for data in _read_pieces(file, member, stop):
                digest.update(data)
                kept.write(data)
        sums[member.name] = digest.hexdigest()
        if member.name.startswith(BLOBS) and sums[member.name] != member.name.removeprefix(BLOBS):
            raise _make_error(file, f"{member.name} is damaged")
    return sums


def _load(file: Path, member: Member, load: Load, stop: threading.Event) -> dict[str, str]:
    """Its name and digest, once `load` has had all of it."""
    reader, writer = os.pipe()
    feeder: Workers[str] = Workers("feed")
    feeder.start(member.name, functools.partial(_feed, file, member, writer, stop))
    with os.fdopen(reader, "rb") as archive:  # closed, it also ends a feeder whose reader has gone
        load(member.name.removeprefix(ENGINE).removesuffix(".tar"), archive)
    _, digest = feeder.take_result()
    if isinstance(digest, BaseException):
        raise digest
    return {member.name: digest}


def _feed(file: Path, member: Member, writer: int, stop: threading.Event) -> str:
    """The digest of what was read, which is not all of it if nobody took it."""
    digest = hashlib.sha256()
    with os.fdopen(writer, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
        for data in _read_pieces(file, member, stop):
            digest.update(data)
            left = memoryview(data)
            while left:
                left = left[pipe.write(left) :]
    return digest.hexdigest()


def _read_pieces(file: Path, member: Member, stop: threading.Event) -> Iterator[bytes]:
    """The member's bytes. Raises UsageError where the file ends before it does, _Stopped once `stop` is set."""
    with file.open("rb") as source:
        source.seek(member.offset)
        left = member.size
        while left:
            if stop.is_set():
                raise _Stopped
            data = source.read(min(left, oci_layout.CHUNK))
            if not data:
                raise _make_error(file, f"it is cut off at {member.name}")
            left -= len(data)
            yield data


def _compare(file: Path, sums: Mapping[str, str], text: str) -> None:
    wanted = {match[2]: match[1] for match in map(_LINE.fullmatch, text.splitlines()) if match}
    for name in sorted({*wanted, *sums} - {CHECKSUMS}):
        if name not in sums:
            raise _make_error(file, f"{name} is missing")
        if name not in wanted:
            raise _make_error(file, f"{CHECKSUMS} does not know {name}")
        if sums[name] != wanted[name]:
            raise _make_error(file, f"{name} is damaged")
    needed = {DESCRIPTION, TEKTON, "index.json"}
    needed |= {f"{ENGINE}{name}.tar" for name in ARCHIVES} | {f"{TOOLS}{name}" for name in PROGRAMS}
    lost = needed - set(sums)
    if lost:
        raise _make_error(file, f"{min(lost)} is missing")


def _split(file: Path, folder: Path) -> None:
    """A layout folder for each image, its blobs linked from the common ones."""
    try:
        manifests = json.loads((folder / "index.json").read_bytes())["manifests"]
        for descriptor in manifests:
            target = get_layout(folder, str(descriptor["annotations"][REF_NAME]))
            for digest in _list_blobs(folder, descriptor):
                kept = target / BLOBS / digest
                kept.parent.mkdir(parents=True, exist_ok=True)
                if not kept.exists():
                    kept.hardlink_to(folder / BLOBS / digest)
            plain = {key: value for key, value in descriptor.items() if key != "annotations"}
            oci_layout.write_index(target, [plain])
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        raise _make_error(file, "its images are not complete") from None


def _list_blobs(folder: Path, descriptor: Mapping[str, Any]) -> Iterator[str]:
    """Hex digests of a manifest and of all that it names. Raises ValueError for what is no digest."""
    manifest = _get_hex(descriptor)
    yield manifest
    found = json.loads((folder / BLOBS / manifest).read_bytes())
    yield from map(_get_hex, (found["config"], *found["layers"]))


def _get_hex(descriptor: Mapping[str, Any]) -> str:
    match = _DIGEST.fullmatch(str(descriptor["digest"]))
    if not match:
        raise ValueError("not a digest")
    return match[1]


def get_layout(folder: Path, name: str) -> Path:
    """The folder in which an unpacked bundle has the layout of an image or a seed."""
    return folder / "layouts" / re.sub(r"[^a-z0-9.-]", "_", name)


def _make_error(file: Path, why: str) -> UsageError:
    return UsageError(f"{file}: {why}", hint="copy the file again, or make it again: invoke bundle")
