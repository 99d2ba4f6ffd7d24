"""Bills of materials: what is in an image, as CycloneDX JSON.

Three kinds of parts are found: Debian packages (dpkg's status file), Go modules (the build information that the linker
puts into every program, as runtime/debug and debug/buildinfo of Go's library describe it), Python packages (METADATA).
"""

from __future__ import annotations

import json
import re
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bootstrap.supply import oci_layout

FORMAT = "1"
"""Changes when a bill says something else of the same image."""
STATUS = "var/lib/dpkg/status"
SCHEME = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""The URL name space of RFC 4122: the same image has the same serial number."""
_MAGIC = b"\xff Go buildinf:"
_INLINE, _HEADER, _SENTINEL = 2, 32, 16
"""Of the build information: flag of strings that stand there themselves, what is before them, frame of the modules."""
_METADATA = re.compile(r"(?:.*/)?[^/]+\.dist-info/METADATA")
_FIELD = re.compile(r"^([A-Za-z-]+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Component:
    """A part of an image, as CycloneDX calls it.

    kind: "deb", "golang" or "pypi". version: "" where it has none. arch: of a Debian package.
    """

    kind: str
    name: str
    version: str
    arch: str = ""


@dataclass(frozen=True)
class Layer:
    """What is in one layer. packages: of its dpkg status file, None where it has none."""

    packages: tuple[Component, ...] | None
    others: frozenset[Component]


def read_layout(layout: Path, read: dict[str, Layer]) -> list[Component]:
    """The components of the image of an OCI layout. read: layers by digest, which images share; it is added to."""
    blobs = layout / "blobs/sha256"
    manifest = json.loads((blobs / _get_hex(oci_layout.read_descriptor(layout))).read_bytes())
    digests = [_get_hex(each) for each in manifest["layers"]]
    for digest in digests:
        if digest not in read:
            with (blobs / digest).open("rb") as stream:
                read[digest] = _read_layer(stream)
    return _merge_layers(read[digest] for digest in digests)


def read_archive(archive: Path) -> list[Component]:
    """The components of the image in an archive of `docker save`."""
    with tarfile.open(archive) as tar:
        names = json.loads(_open_member(tar, "manifest.json").read())[0]["Layers"]
        return _merge_layers(_read_layer(_open_member(tar, name)) for name in names)


def make_document(name: str, digest: str, parts: Iterable[Component]) -> bytes:
    """The bill of materials of an image, as CycloneDX JSON.

    digest: that of the image. The same image gives the same bytes.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    image = Component(type=ComponentType.CONTAINER, name=name, version=digest, bom_ref=f"{name}@{digest}")
    bom = Bom(serial_number=uuid.uuid5(SCHEME, f"{name}@{digest}"))
    bom.metadata.component = image
    for part in parts:
        space, _, last = part.name.rpartition("/")
        url = PackageURL(
            type=part.kind,
            namespace="debian" if part.kind == "deb" else space or None,
            name=last,
            version=part.version or None,
            qualifiers={"arch": part.arch} if part.arch else None,
        )
        text = url.to_string()
        component = Component(name=part.name, version=part.version or None, purl=url, bom_ref=text)
        bom.components.add(component)
        bom.register_dependency(image, [component])
    told = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del told["metadata"]["timestamp"]  # the same image, the same bytes
    return json.dumps(told, indent=1).encode()


def _read_layer(stream: IO[bytes]) -> Layer:
    packages: tuple[Component, ...] | None = None
    others: set[Component] = set()
    with tarfile.open(fileobj=stream, mode="r:*") as tar:
        for member in tar:
            if not member.isreg():
                continue
            if member.name.removeprefix("./") == STATUS:
                packages = tuple(parse_dpkg_status(_read_text(tar, member)))
            elif _METADATA.fullmatch(member.name):
                others |= set(parse_python_metadata(_read_text(tar, member)))
            elif member.mode & 0o111 and member.size > _HEADER:
                others |= set(_program(tar, member))
    return Layer(packages, frozenset(others))


def _merge_layers(layers: Iterable[Layer]) -> list[Component]:
    """Of the status file the last layer's counts; of programs and Python packages those of all layers."""
    packages: tuple[Component, ...] = ()
    others: set[Component] = set()
    for layer in layers:
        packages = packages if layer.packages is None else layer.packages
        others |= layer.others
    return sorted({*packages, *others})


def parse_dpkg_status(status: str) -> Iterator[Component]:
    """The installed packages of a dpkg status file."""
    for stanza in status.split("\n\n"):
        fields = dict(_FIELD.findall(stanza))
        if fields.get("Status", "").endswith(" installed"):
            yield Component("deb", fields["Package"], fields["Version"], fields.get("Architecture", ""))


def parse_python_metadata(metadata: str) -> Iterator[Component]:
    """The package of a METADATA file of Python; nothing if it has no name."""
    fields: Mapping[str, str] = dict(_FIELD.findall(metadata.partition("\n\n")[0]))
    if "Name" in fields:
        yield Component("pypi", fields["Name"].lower().replace("_", "-"), fields.get("Version", ""))


def go(program: bytes) -> Iterator[Component]:
    """The toolchain, the main module and all that are compiled in; nothing for a program that is not Go's."""
    start = program.find(_MAGIC)
    while start >= 0:
        found = _build_information(program[start : start + (1 << 20)])
        if found:
            yield from found
            return
        start = program.find(_MAGIC, start + 1)  # a program that reads such information has the magic in its data


def _build_information(data: bytes) -> list[Component]:
    if len(data) < _HEADER or not data[len(_MAGIC) + 1] & _INLINE:
        return []
    version, rest = _string(data[_HEADER:])
    modules, _ = _string(rest)
    if not version.startswith(b"go"):
        return []
    found = [Component("golang", "stdlib", version.decode(errors="replace").removeprefix("go").split()[0])]
    for line in modules[_SENTINEL:-_SENTINEL].decode(errors="replace").splitlines():
        kind, *words = line.split("\t")
        if kind == "=>" and found:  # in place of the one before
            found.pop()
        if kind in ("mod", "dep", "=>") and words:
            number = words[1] if len(words) > 1 else ""
            found.append(Component("golang", words[0], "" if number == "(devel)" else number))
    return found


def _string(data: bytes) -> tuple[bytes, bytes]:
    """One whose length stands before it (a varint), and what follows it."""
    length = shift = 0
    for index, byte in enumerate(data[:10]):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return data[index + 1 : index + 1 + length], data[index + 1 + length :]
    return b"", b""


def _program(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Component]:
    source = tar.extractfile(member)
    if source and source.read(4) == b"\x7fELF":
        source.seek(0)
        yield from go(source.read())


def _read_text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    source = tar.extractfile(member)
    return source.read().decode(errors="replace") if source else ""


def _open_member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    source = tar.extractfile(name)
    if source is None:
        raise ValueError(f"{name} is not a file in the archive")
    return source


def _get_hex(descriptor: Mapping[str, Any]) -> str:
    return str(descriptor["digest"]).partition(":")[2]
