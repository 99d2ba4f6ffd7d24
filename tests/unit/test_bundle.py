"""Bundles: written, read back, and refused when they are not what was written."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap import bundling
from bootstrap.errors import BootstrapError, PreconditionError, UsageError
from bootstrap.model import LockedImage, Pending, Ready
from bootstrap.supply import bundle_file, oci
from bootstrap.supply.bundle import Bundle
from bootstrap.supply.bundle_file import Description, Writer
from tests.unit.fakes import FakeClock, FakeReport

VERSIONS = {"kubernetes": "v1.36.3", "pipelines": "v1.9.0", "triggers": "v0.35.0"}
SEED = "library/golang:1"
Members = dict[str, bytes]


def make_layout(folder: Path, name: str, *layers: bytes) -> Path:
    """A small image."""
    blobs = folder / name / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    config = put(json.dumps({"name": name}).encode(), oci.CONFIG)
    manifest = {"schemaVersion": 2, "config": config, "layers": [put(each, oci.LAYER) for each in layers]}
    oci.write_index(folder / name, [put(json.dumps(manifest).encode(), oci.MANIFEST)])
    return folder / name


@pytest.fixture
def layouts(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "made"
    return {
        "pause": make_layout(folder, "pause", b"shared", b"pause"),
        "toolbox": make_layout(folder, "toolbox", b"shared", b"tools"),
        SEED: make_layout(folder, "golang", b"go"),
    }


def description(layouts: dict[str, Path]) -> Description:
    images = tuple(
        LockedImage(name, f"registry/{name}", str(oci.manifest_of(layout)["digest"]), 1, ("alias:1",))
        for name, layout in layouts.items()
        if name != SEED
    )
    seeds = {SEED: str(oci.manifest_of(layouts[SEED])["digest"])}
    return Description("amd64", VERSIONS, "node:1", "registry:1", images, seeds)


@pytest.fixture
def file(tmp_path: Path, layouts: dict[str, Path]) -> Path:
    file = tmp_path / "a.tar"
    program = tmp_path / "program"
    program.write_bytes(b"#!program")
    with file.open("wb") as target:
        writer = Writer(target)
        writer.put("bundle.json", description(layouts).dump())
        writer.layouts(layouts)
        writer.put("tekton.json", b'[{"kind": "Deployment"}]')
        for name in bundle_file.PROGRAMS:
            writer.add(f"tools/{name}", program, 0o755)
        for name in bundle_file.ARCHIVES:
            writer.add(f"engine/{name}.tar", program)
        writer.close()
    return file


class Engine:
    """present: names of images. An archive that is loaded brings all of them."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.loaded: list[str] = []

    def image_exists(self, name: str) -> bool:
        return name in self.present

    def docker(self, *words: str, limit: float) -> None:
        assert words[:2] == ("load", "--quiet"), words
        assert Path(words[-1]).exists()
        self.loaded.append(Path(words[-1]).name)
        self.present.add({"node.tar": "node:1", "registry.tar": "registry:1"}[Path(words[-1]).name])


def supply(tmp_path: Path, file: Path, *, arch: str = "amd64", versions: dict[str, str] | None = None) -> Bundle:
    engine = cast(Any, Engine())
    wanted = VERSIONS if versions is None else versions
    return Bundle(engine, FakeClock(), file=file, cache=tmp_path / "cache", arch=arch, versions=wanted)


def provide(bundle: Bundle) -> None:
    bundle.provide(FakeReport().step("images"))


def test_everything_comes_back(tmp_path: Path, file: Path, layouts: dict[str, Path]) -> None:
    bundle = supply(tmp_path, file)
    assert bundle.check() == Pending("a.tar is not unpacked yet")
    with pytest.raises(PreconditionError, match="not unpacked"):
        bundle.tool("kind")
    provide(bundle)
    assert bundle.check() == Ready("2 images, from a.tar")
    assert bundle.lock().images["pause"] == description(layouts).images[0]
    assert (bundle.lock().node_image, bundle.lock().registry_image) == ("node:1", "registry:1")
    assert bundle.kubernetes() == "v1.36.3"
    assert bundle.tekton() == [{"kind": "Deployment"}]
    assert bundle.tool("crane").stat().st_mode & 0o111
    for name, layout in {**bundle.layouts(), **bundle.seeds()}.items():
        original = layouts[name]
        assert oci.manifest_of(layout) == oci.manifest_of(original)
        assert sorted(path.name for path in (layout / "blobs/sha256").iterdir()) == sorted(
            path.name for path in (original / "blobs/sha256").iterdir()
        )


def test_what_is_there_is_not_done_again(tmp_path: Path, file: Path) -> None:
    bundle = supply(tmp_path, file)
    provide(bundle)
    engine = cast(Any, bundle)._engine
    provide(bundle)
    assert engine.loaded == ["node.tar", "registry.tar"]
    engine.present.discard("registry:1")
    assert bundle.check() == Pending("registry:1 is not in the engine yet")
    provide(bundle)
    assert engine.loaded == ["node.tar", "registry.tar", "registry.tar"]


def read(file: Path) -> Members:
    with tarfile.open(file) as tar:
        return {each.name: cast(Any, tar.extractfile(each)).read() for each in tar.getmembers()}


def write(file: Path, members: Members, *more: tarfile.TarInfo) -> None:
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for each in more:
            tar.addfile(each)


def blob(members: Members) -> str:
    return next(name for name in members if name.startswith("blobs/"))


def flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def damage_blob(members: Members) -> None:
    members[blob(members)] = flip(members[blob(members)])


def damage_node(members: Members) -> None:
    members["engine/node.tar"] = flip(members["engine/node.tar"])


def lose_tool(members: Members) -> None:
    del members["tools/kind"]


def lose_sums(members: Members) -> None:
    del members["checksums"]


def lose_knowledge(members: Members) -> None:
    lines = members["checksums"].decode().splitlines(keepends=True)
    members["checksums"] = "".join(line for line in lines if "tekton.json" not in line).encode()


def lose_both(members: Members) -> None:
    lose_knowledge(members)
    del members["tekton.json"]


def add_stranger(members: Members) -> None:
    members["hello"] = b""


def add_traversal(members: Members) -> None:
    members["tools/../../../evil"] = b""


def rewrite(members: Members, name: str, data: bytes) -> None:
    """With a checksum that fits: whoever makes such a file can do that too."""
    before = hashlib.sha256(members[name]).hexdigest()
    members["checksums"] = members["checksums"].replace(before.encode(), hashlib.sha256(data).hexdigest().encode())
    members[name] = data


def name_nothing(members: Members) -> None:
    index = json.loads(members["index.json"])
    index["manifests"][0]["digest"] = "sha256:../../../etc/passwd"
    rewrite(members, "index.json", json.dumps(index).encode())


def name_absent(members: Members) -> None:
    index = json.loads(members["index.json"])
    index["manifests"][0]["digest"] = "sha256:" + "0" * 64
    rewrite(members, "index.json", json.dumps(index).encode())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (damage_blob, r"blobs/sha256/[0-9a-f]{64} is damaged"),
        (damage_node, "engine/node.tar is damaged"),
        (lose_tool, "tools/kind is missing"),
        (lose_sums, "it is cut off after engine/registry.tar"),
        (lose_knowledge, "checksums does not know tekton.json"),
        (lose_both, "tekton.json is missing"),
        (add_stranger, "hello does not belong into a bundle"),
        (add_traversal, "does not belong into a bundle"),
        (name_nothing, "its images are not complete"),
        (name_absent, "its images are not complete"),
    ],
)
def test_another_file_than_was_written_is_refused_by_name(
    tmp_path: Path, file: Path, fault: Callable[[Members], None], said: str
) -> None:
    members = read(file)
    fault(members)
    write(file, members)
    bundle = supply(tmp_path, file)
    with pytest.raises(UsageError, match=said):
        provide(bundle)
    assert not bundle.kept()
    assert cast(Any, bundle)._engine.loaded == []
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, file: Path, kind: bytes) -> None:
    evil = tarfile.TarInfo("tools/kind")
    evil.type, evil.linkname = kind, "/etc/passwd"
    members = read(file)
    del members["tools/kind"]
    write(file, members, evil)
    with pytest.raises(UsageError, match="tools/kind does not belong"):
        provide(supply(tmp_path, file))


def test_a_member_twice_is_refused(tmp_path: Path, file: Path) -> None:
    write(file, read(file), tarfile.TarInfo("tekton.json"))
    with pytest.raises(UsageError, match=r"tekton\.json does not belong"):
        provide(supply(tmp_path, file))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_is_refused(tmp_path: Path, file: Path, part: float) -> None:
    data = file.read_bytes().rstrip(b"\0")
    file.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UsageError, match="cut off"):
        provide(supply(tmp_path, file))


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\0" * 10240])
def test_what_is_no_bundle(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "other.tar"
    file.write_bytes(data)
    with pytest.raises(UsageError, match="is not a bundle"):
        supply(tmp_path, file).check()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        supply(tmp_path, tmp_path / "none.tar").check()


def test_a_newer_format(tmp_path: Path, file: Path) -> None:
    members = read(file)
    members["bundle.json"] = members["bundle.json"].replace(b'"format": 1', b'"format": 2')
    write(file, members)
    with pytest.raises(UsageError, match="of format 2; this version reads 1"):
        supply(tmp_path, file).check()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"arch": "arm64"}, "made for amd64; arm64 is wanted"),
        ({"versions": VERSIONS | {"triggers": "v0.36.0"}}, "triggers v0.35.0; this checkout is for .*triggers v0.36.0"),
    ],
)
def test_one_that_does_not_fit(tmp_path: Path, file: Path, given: dict[str, Any], said: str) -> None:
    bundle = supply(tmp_path, file, **given)
    with pytest.raises(BootstrapError, match=said):
        provide(bundle)
    assert not bundle.kept()


def test_where_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundling.target_of("", "amd64") == Path("tekton-bootstrap-amd64.tar")
    assert bundling.target_of(str(tmp_path), "arm64") == tmp_path / "tekton-bootstrap-arm64.tar"
    assert bundling.target_of("x.tar", "amd64") == Path("x.tar")
    with pytest.raises(UsageError, match="there is no folder"):
        bundling.target_of("nowhere/x.tar", "amd64")


def test_description_survives(layouts: dict[str, Path]) -> None:
    said = description(layouts)
    assert Description.load(said.dump()) == said
    for data in (b"[]", said.dump().replace(b"node_image", b"other")):
        with pytest.raises(ValueError, match="not the description"):
            Description.load(data)
