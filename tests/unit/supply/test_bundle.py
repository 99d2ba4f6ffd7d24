"""Bundles: written, read back, and refused when they are not what was written."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import pytest

from bootstrap.commands import bundle, mirror
from bootstrap.core.errors import BootstrapError, CommandError, PreconditionError, UsageError
from bootstrap.core.model import LockedImage, Pending, Ready
from bootstrap.settings.config import Config, MirrorSettings
from bootstrap.supply import bundle_file, oci_layout
from bootstrap.supply.bundle import Bundle
from bootstrap.supply.bundle_file import Description, Writer
from bootstrap.world import World
from tests.unit import step_world
from tests.unit.archives import pack_tar
from tests.unit.fake_shell import FakeShell
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

    config = put(json.dumps({"name": name}).encode(), oci_layout.CONFIG)
    manifest = {"schemaVersion": 2, "config": config, "layers": [put(each, oci_layout.LAYER) for each in layers]}
    oci_layout.write_index(folder / name, [put(json.dumps(manifest).encode(), oci_layout.MANIFEST)])
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
        LockedImage(name, f"registry/{name}", str(oci_layout.read_descriptor(layout)["digest"]), 1, ("alias:1",))
        for name, layout in layouts.items()
        if name != SEED
    )
    seeds = {SEED: str(oci_layout.read_descriptor(layouts[SEED])["digest"])}
    return Description("amd64", VERSIONS, "node:1", "registry:1", images, seeds)


@pytest.fixture
def file(tmp_path: Path, layouts: dict[str, Path]) -> Path:
    file = tmp_path / "a.tar"
    program = tmp_path / "program"
    program.write_bytes(b"#!program")
    with file.open("wb") as target:
        writer = Writer(target)
        writer.put("bundle.json", description(layouts).dump())
        writer.add_layouts(layouts)
        writer.put("tekton.json", b'[{"kind": "Deployment"}]')
        writer.put("sbom/pause.cdx.json", b"{}")
        for name in bundle_file.PROGRAMS:
            writer.add(f"tools/{name}", program, 0o755)
        for name in bundle_file.ARCHIVES:
            writer.put(f"engine/{name}.tar", f"{name}:1-unproved".encode())
        writer.close()
    return file


class Engine:
    """present: names of images. loaded: those that an archive brought, each time. An archive is its image's name."""

    def __init__(self) -> None:
        self.present: set[str] = set()
        self.loaded: list[str] = []
        self.broken = False

    def has_image(self, reference: str) -> bool:
        return reference in self.present

    def load_images(self, archive: IO[bytes], *, limit: float = 900) -> None:
        if self.broken:
            raise CommandError("docker load failed", code=1, evidence="no space left on device")
        name = archive.read().decode(errors="replace")
        self.loaded.append(name)
        self.present.add(name)

    def tag_image(self, image: str, name: str) -> None:
        assert image in self.present
        self.present.add(name)

    def remove_images(self, *references: str) -> None:
        for reference in references:
            if reference not in self.present:
                raise CommandError("docker image failed", code=1, evidence=f"No such image: {reference}")
            self.present.remove(reference)


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
        bundle.find_tool("kind")
    provide(bundle)
    assert bundle.check() == Ready("2 images, from a.tar")
    assert bundle.read_lock().images["pause"] == description(layouts).images[0]
    assert (bundle.read_lock().node_image, bundle.read_lock().registry_image) == ("node:1", "registry:1")
    assert bundle.read_kubernetes_version() == "v1.36.3"
    assert bundle.list_tekton_objects() == [{"kind": "Deployment"}]
    assert bundle.find_tool("crane").stat().st_mode & 0o111
    assert (bundle.find_bill("pause") or tmp_path / "none").read_bytes() == b"{}"
    assert bundle.find_bill("toolbox") is None
    for name, layout in {**bundle.list_layouts(), **bundle.list_seeds()}.items():
        original = layouts[name]
        assert oci_layout.read_descriptor(layout) == oci_layout.read_descriptor(original)
        assert sorted(path.name for path in (layout / "blobs/sha256").iterdir()) == sorted(
            path.name for path in (original / "blobs/sha256").iterdir()
        )


def test_what_is_there_is_not_done_again(tmp_path: Path, file: Path) -> None:
    bundle = supply(tmp_path, file)
    provide(bundle)
    engine = cast(Any, bundle)._engine
    provide(bundle)
    assert sorted(engine.loaded) == ["node:1-unproved", "registry:1-unproved"]
    assert engine.present == {"node:1", "registry:1"}
    engine.present.discard("registry:1")
    later = supply(tmp_path, file)
    cast(Any, later)._engine = engine
    assert later.check() == Pending("registry:1 is not in the engine yet")
    provide(later)
    assert engine.loaded[2:] == ["registry:1-unproved"]
    assert engine.present == {"node:1", "registry:1"}


def test_what_another_supply_has_put_into_the_engine_is_not_loaded(tmp_path: Path, file: Path) -> None:
    bundle = supply(tmp_path, file)
    engine = cast(Any, bundle)._engine
    engine.present |= {"node:1", "registry:1"}
    provide(bundle)
    assert engine.loaded == []
    assert bundle.is_kept()


def test_what_an_earlier_command_has_loaded_is_not_trusted(tmp_path: Path, file: Path) -> None:
    bundle = supply(tmp_path, file)
    provide(bundle)
    later = supply(tmp_path, file)
    engine = cast(Any, later)._engine
    engine.present.add("node:1-unproved")
    provide(later)
    assert sorted(engine.loaded) == ["node:1-unproved", "registry:1-unproved"]


def test_an_engine_that_takes_nothing_ends_it(tmp_path: Path, file: Path) -> None:
    bundle = supply(tmp_path, file)
    cast(Any, bundle)._engine.broken = True
    with pytest.raises(CommandError, match="docker load failed"):
        provide(bundle)
    assert not bundle.is_kept()


def test_a_file_that_changes_later_is_not_loaded_from(tmp_path: Path, file: Path) -> None:
    provide(supply(tmp_path, file))
    data = file.read_bytes()
    file.write_bytes(data.replace(b"node:1-unproved", b"node:2-unproved"))
    later = supply(tmp_path, file)
    with pytest.raises(UsageError, match=r"engine/node\.tar is damaged"):
        provide(later)
    assert "node:1" not in cast(Any, later)._engine.present


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
    members["engine/node.tar"] = members["engine/node.tar"][:-1] + b"!"


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
        (lose_sums, "it is cut off or damaged after engine/registry.tar"),
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
    assert not bundle.is_kept()
    assert not cast(Any, bundle)._engine.present & {"node:1", "registry:1"}
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


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_to_the_file_it_is_refused(tmp_path: Path, file: Path, seed: int) -> None:
    """A byte is changed, or the file cut, anywhere: refused by name, or all that is used is as it was written."""
    original, data = tmp_path / "original", bytearray(file.read_bytes())
    bundle_file.unpack(file, original, lambda _: None, lambda _, archive: (archive.read(), None)[1])
    chance = random.Random(seed)  # noqa: S311  the same places each time
    place = chance.randrange(len(bytes(data).rstrip(b"\0")))
    if seed % 3 == 0:
        del data[place:]
    else:
        data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    bundle = supply(tmp_path, file)
    refused = ""
    try:
        provide(bundle)
    except BootstrapError as error:
        refused = error.message
    if refused:
        assert str(file) in refused
        assert not cast(Any, bundle)._engine.present & {"node:1", "registry:1"}
        assert not list((tmp_path / "cache/store").rglob("*.json"))
    else:
        [folder] = (tmp_path / "cache/store/bundle").iterdir()
        assert contents(folder) == contents(original)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
    members["bundle.json"] = members["bundle.json"].replace(b'"format": 2', b'"format": 3')
    write(file, members)
    with pytest.raises(UsageError, match="of format 3; this version reads 2"):
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
    assert not bundle.is_kept()


def test_where_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle.resolve_target("", "amd64") == Path("tekton-bootstrap-amd64.tar")
    assert bundle.resolve_target(str(tmp_path), "arm64") == tmp_path / "tekton-bootstrap-arm64.tar"
    assert bundle.resolve_target("x.tar", "amd64") == Path("x.tar")
    with pytest.raises(UsageError, match="there is no folder"):
        bundle.resolve_target("nowhere/x.tar", "amd64")


def test_description_survives(layouts: dict[str, Path]) -> None:
    said = description(layouts)
    assert Description.load(said.dump()) == said
    for data in (b"[]", said.dump().replace(b"node_image", b"other")):
        with pytest.raises(ValueError, match="not the description"):
            Description.load(data)


def test_what_supply_upstream_says_of_images_is_kept(layouts: dict[str, Path]) -> None:
    images = tuple(replace(image, in_node=False, public="ghcr.io/a/b:v1") for image in description(layouts).images)
    given = replace(description(layouts), images=images)
    assert Description.load(given.dump()) == given


def test_a_description_from_before_that_is_still_read(layouts: dict[str, Path]) -> None:
    found = json.loads(description(layouts).dump())
    for image in found["images"]:
        del image["in_node"], image["public"]
    assert Description.load(json.dumps(found).encode()) == description(layouts)


@pytest.mark.parametrize(
    "carry", [lambda world, to: bundle.bundle(world, output=str(to)), lambda world, _: mirror.mirror(world)]
)
def test_what_carries_images_leaves_no_engine_running_and_no_network_in_it(
    tmp_path: Path, carry: Callable[[World, Path], int]
) -> None:
    world = step_world.make(tmp_path, Config(mirror=MirrorSettings(registry="mirror.example")))
    world.images.error = PreconditionError("no Go to build with")
    with pytest.raises(PreconditionError, match="no Go"):
        carry(world.open(), tmp_path)
    assert world.engine.networks == set()
    assert world.engine.calls[-1] == "stop_if_idle"


class Images(step_world.FakeImages):
    """A supply with a few small images. bill: the file that came with each of them."""

    def __init__(self, layouts: dict[str, Path], bill: Path | None) -> None:
        super().__init__(images={each.name: each for each in description(layouts).images})
        self.made, self.bill = layouts, bill

    def list_layouts(self) -> dict[str, Path]:
        return {name: layout for name, layout in self.made.items() if name != SEED}

    def list_seeds(self) -> dict[str, Path]:
        return {SEED: self.made[SEED]}

    def list_tekton_objects(self) -> list[Any]:
        return []

    def find_tool(self, _: str) -> Path:
        return self.made[SEED] / "index.json"

    def find_bill(self, _: str) -> Path | None:
        return self.bill


class SavingEngine(step_world.FakeEngine):
    """An engine whose images have a single layer with one program."""

    def tag_image(self, image: str, name: str) -> None:
        assert name == image + bundle_file.UNPROVED

    def remove_images(self, *references: str) -> None:
        assert all(each.endswith(bundle_file.UNPROVED) for each in references)

    def save_image(self, _: str, archive: Path) -> None:
        archive.write_bytes(
            pack_tar({"manifest.json": b'[{"Layers": ["layer"]}]', "layer": pack_tar({"kube": b"\x7fELF"})})
        )


def write_bills(tmp_path: Path, shell: FakeShell, bill: Path | None) -> Members:
    """The bills of materials in a bundle."""
    layers = {name: make_layout(tmp_path / "made", name, pack_tar({"etc/none": b""})) for name in ("pause", "golang")}
    world = step_world.make(tmp_path)
    world.images, world.engine = Images({"pause": layers["pause"], SEED: layers["golang"]}, bill), SavingEngine()
    assert bundle.bundle(replace(world.open(), shell=cast(Any, shell)), output=str(tmp_path / "written.tar")) == 0
    with tarfile.open(tmp_path / "written.tar") as written:
        return {
            each.name.removeprefix("sbom/"): cast(Any, written.extractfile(each)).read()
            for each in written
            if each.name.startswith("sbom/")
        }


def test_bills_are_made_with_the_toolchain(tmp_path: Path) -> None:
    information = {"GoVersion": "go1.99.0", "Main": {"Path": "k8s.io/kubernetes", "Version": "v1.36.3"}}
    go = tmp_path / "go"
    go.touch()
    answers = {f"{go} version": "go version go1.99.0 linux/amd64", f"{go} version -m -json": json.dumps(information)}
    bills = write_bills(tmp_path, FakeShell(answers, {"go": str(go)}), None)
    assert set(bills) == {f"{name}.cdx.json" for name in ("pause", "golang", "node", "registry")}
    node = json.loads(bills["node.cdx.json"])
    assert {each["name"] for each in node["components"]} == {"stdlib", "k8s.io/kubernetes"}
    assert "components" not in json.loads(bills["pause.cdx.json"])


def test_bills_that_came_with_the_images_are_passed_on(tmp_path: Path) -> None:
    """Supply bundle has no toolchain, and needs none."""
    bill = tmp_path / "bill"
    bill.write_bytes(b"as it came")
    assert set(write_bills(tmp_path, FakeShell(), bill).values()) == {b"as it came"}
