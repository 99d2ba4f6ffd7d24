"""Bills of materials: what is in an image, as CycloneDX JSON.

Three kinds of components are found: Debian packages (dpkg's status file), Go modules (the build information that the
linker puts into every program, as `go version -m -json` prints it), Python packages (METADATA).
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bootstrap.supply import oci_layout

FORMAT = "1"
"""Changes when a bill says something else of the same image."""
STATUS = "var/lib/dpkg/status"
SCHEME = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""The URL name space of RFC 4122: the same image has the same serial number."""
_ELF = b"\x7fELF"
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


ReadPrograms = Callable[[Path], str]
"""Gives the build information of the Go programs in a folder, as `Go.read_build_information` does."""


class ImageReader:
    """Finds the components of images; layers that several images share are read once.

    folder: for copies of programs, a layer at a time.
    """

    def __init__(self, read_programs: ReadPrograms, folder: Path) -> None:
        self._read_programs = read_programs
        self._folder = folder
        self._layers: dict[str, Layer] = {}

    def read_layout(self, layout: Path) -> list[Component]:
        """The components of the image of an OCI layout. Raises CommandError."""
        blobs = layout / "blobs/sha256"
        manifest = json.loads((blobs / _get_hex(oci_layout.read_descriptor(layout))).read_bytes())
        digests = [_get_hex(each) for each in manifest["layers"]]
        for digest in digests:
            if digest not in self._layers:
                with (blobs / digest).open("rb") as stream:
                    self._layers[digest] = self._read_layer(stream)
        return _merge_layers(self._layers[digest] for digest in digests)

    def read_archive(self, archive: Path) -> list[Component]:
        """The components of the image in an archive of `docker save`. Raises CommandError."""
        with tarfile.open(archive) as tar:
            names = json.loads(_open_member(tar, "manifest.json").read())[0]["Layers"]
            return _merge_layers(self._read_layer(_open_member(tar, name)) for name in names)

    def _read_layer(self, stream: IO[bytes]) -> Layer:
        packages: tuple[Component, ...] | None = None
        others: set[Component] = set()
        with (
            tempfile.TemporaryDirectory(dir=self._folder) as folder,
            tarfile.open(fileobj=stream, mode="r:*") as tar,
        ):
            for number, member in enumerate(tar):
                if not member.isreg():
                    continue
                if member.name.removeprefix("./") == STATUS:
                    packages = tuple(parse_dpkg_status(_read_text(tar, member)))
                elif _METADATA.fullmatch(member.name):
                    others |= set(parse_python_metadata(_read_text(tar, member)))
                elif member.mode & 0o111:
                    _copy_program(tar, member, Path(folder) / str(number))
            if any(Path(folder).iterdir()):
                others |= set(parse_build_information(self._read_programs(Path(folder))))
        return Layer(packages, frozenset(others))


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


def parse_build_information(text: str) -> Iterator[Component]:
    """Of each program the toolchain, the main module and all that are compiled in.

    A module that another one replaces is told by that; one whose sources come from a folder, as edited ones do, by its
    own name. text: a JSON document for each program, as runtime/debug.BuildInfo of Go's library describes it.
    """
    decoder, rest = json.JSONDecoder(), text.lstrip()
    while rest:
        found, end = decoder.raw_decode(rest)
        rest = rest[end:].lstrip()
        yield Component("golang", "stdlib", found["GoVersion"].removeprefix("go").split()[0])
        for each in ([found["Main"]] if found.get("Main") else []) + (found.get("Deps") or []):
            replaced = each.get("Replace") or each
            module = each if replaced["Path"].startswith((".", "/")) else replaced
            version = module.get("Version", "")
            yield Component("golang", module["Path"], "" if version == "(devel)" else version)


def _copy_program(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Copy the member if it is a program in the format ELF."""
    source = tar.extractfile(member)
    if source and source.read(len(_ELF)) == _ELF:
        source.seek(0)
        with target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        target.chmod(0o755)


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
