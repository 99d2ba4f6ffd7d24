"""A real registry, filled and read; and one before it that answers as registries do when something is wrong."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.commands import mirror
from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import BootstrapError, NotFound, PreconditionError, UsageError
from bootstrap.core.model import Failed, LockedImage, Pending, Ready, Secret
from bootstrap.core.paths import PROJECT
from bootstrap.settings.config import Config, MirrorSettings
from bootstrap.steps.images import ImagesStep
from bootstrap.steps.registry import find_free_port
from bootstrap.steps.remote_cluster import MirrorStep, ServedStep
from bootstrap.supply import auto, bundle_file, oci_layout
from bootstrap.supply.auto import Option
from bootstrap.supply.mirror import Mirror
from bootstrap.supply.mirror_remote import DirectMirror
from bootstrap.supply.versions import read_versions
from bootstrap.world import host
from bootstrap.world.registry.user import MirrorRegistry
from bootstrap.world.shell import SystemShell
from tests.integration import registries
from tests.integration.conftest import find_binary
from tests.integration.registries import Front
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.step_world import FakeImages, StepWorld, make
from tests.unit.supply.test_bundle import make_layout

SEED = "library/golang:1"
NODE, REGISTRY = "tekton-bootstrap/node:aaaa", "tekton-bootstrap/registry:bbbb"


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    with registries.plain() as port:
        yield port


@pytest.fixture
def front(behind: int) -> Iterator[Front]:
    with registries.front(behind) as state:
        yield state


@pytest.fixture
def fresh() -> Iterator[Front]:
    """A registry that holds no blob: that of `front` keeps them for all repositories, and so for all tests."""
    with registries.plain() as port, registries.front(port) as state:
        yield state


def settings(port: int, folder: str, **more: Any) -> MirrorSettings:
    return MirrorSettings(registry=f"127.0.0.1:{port}", folder=folder, plain_http="on", **more)


class Engine:
    """Two images of its own; what is saved is an archive as docker writes it, what is loaded is there."""

    is_managed = False

    def __init__(self) -> None:
        self.present = {NODE, REGISTRY}
        self.saved: list[str] = []
        self.loaded: list[Path] = []

    def read_image_size(self, reference: str) -> int:
        assert reference in self.present
        return 1000

    def has_image(self, reference: str) -> bool:
        return reference in self.present

    def save_image(self, image: str, archive: Path, *, limit: float = 900) -> None:
        assert image in self.present
        self.saved.append(image)
        archive.write_bytes(docker_archive(image))

    def load_images(self, archive: Path, *, limit: float = 900) -> None:
        self.loaded.append(archive)
        with tarfile.open(archive) as tar:
            manifest = json.loads(cast(Any, tar.extractfile("manifest.json")).read())
        self.present |= set(manifest[0]["RepoTags"])

    def tag_image(self, image: str, name: str) -> None:
        assert image in self.present
        self.present.add(name)

    def remove_images(self, *references: str) -> None:
        assert self.present.issuperset(references)
        self.present.difference_update(references)


def docker_archive(name: str) -> bytes:
    """An image of one empty layer."""
    layer, buffer = io.BytesIO(), io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    data = layer.getvalue()
    diff = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": diff}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, text in (("config.json", config), ("layer.tar", data), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


class Supply(FakeImages):
    """A supply that has built a few small images. mark: another one for another build of the same versions."""

    def __init__(self, folder: Path, mark: str = "") -> None:
        made = {
            name: make_layout(folder, name, b"shared", f"{name}{mark}".encode() * 1000)
            for name in ("pause", "toolbox", "kube")
        }
        images = {
            name: LockedImage(
                name,
                f"registry/{name}",
                oci_layout.read_digest(layout),
                oci_layout.compute_size(layout),
            )
            for name, layout in made.items()
        }
        super().__init__(images=images, node_image=NODE, registry_image=REGISTRY)
        self.made = made | {SEED: make_layout(folder, "golang", b"go")}

    def list_layouts(self) -> dict[str, Path]:
        return {name: layout for name, layout in self.made.items() if name != SEED}

    def list_seeds(self) -> dict[str, Path]:
        return {SEED: self.made[SEED], "library/golang:1.26": self.made[SEED]}

    def list_tekton_objects(self) -> list[Any]:
        return [{"kind": "Deployment"}]

    def find_tool(self, name: str) -> Path:
        return find_binary(name)


class Source:
    """Of supply source what a mirror needs of it."""

    def build(self, names: Sequence[str], line: object) -> None:
        assert list(names) == ["go-tools"]

    def find_tool(self, name: str) -> Path:
        return find_binary(name)


def world_of(home: Path, given: MirrorSettings) -> StepWorld:
    world = make(home, Config(mirror=given))
    world.images = Supply(home / "made")
    world.engine = cast(Any, Engine())
    world.clock = FakeClock()
    cast(Any, world).shell = SystemShell(Cancel())
    cast(Any, world).project = PROJECT
    world.paths.cache.mkdir(parents=True, exist_ok=True)
    return world


def door(world: StepWorld, given: MirrorSettings) -> MirrorRegistry:
    return MirrorRegistry(cast(Any, world).shell, world.clock, find_binary("crane"), given)


def fill(world: StepWorld, given: MirrorSettings) -> dict[str, Any]:
    cast(Any, world).report = FakeReport()
    with door(world, given).log_in() as registry:
        assert mirror._fill_mirror(world.open(), registry, plan=False, as_json=True) == 0
    [(kind, document)] = cast(Any, world).report.printed
    assert kind == "json"
    return cast(dict[str, Any], document)


def check(world: StepWorld, given: MirrorSettings) -> dict[str, str]:
    cast(Any, world).report = FakeReport()
    with door(world, given).log_in() as registry:
        code = mirror._check_mirror(world.open(), registry, as_json=True)
    [(_, document)] = cast(Any, world).report.printed
    assert code == (1 if document["wrong"] else 0)
    return cast(dict[str, str], document["wrong"])


def supply(
    world: StepWorld,
    given: MirrorSettings,
    cache: Path,
    make: Callable[..., Mirror] = Mirror,
    engine: Engine | None = None,
) -> tuple[Mirror, Engine]:
    """make: Mirror or Direct. engine: without one, another that holds nothing."""
    if engine is None:
        engine = Engine()
        engine.present.clear()
    made = make(
        cast(Any, engine),
        world.clock,
        cast(Any, Source()),
        lambda _: door(world, given),
        cache=cache,
        arch=world.config.architecture,
        versions=read_versions(PROJECT),
        parallel=3,
    )
    return made, engine


def test_filled_once_and_read_back(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "once", username="me", password=Secret("hush"))
    world = world_of(tmp_path, given)
    told = fill(world, given)
    assert (told["images"], told["pushed"]) == (6, 6)
    front.heard.clear()
    assert fill(world, given)["pushed"] == 0
    assert not [each for each in front.heard if each.startswith(("PUT", "POST", "PATCH"))], "nothing is written again"
    assert check(world, given) == {}
    assert {each for each in front.logins if each} <= {"Basic bWU6aHVzaA=="}

    mirrored, engine = supply(world, given, tmp_path / "elsewhere")
    assert not mirrored.is_kept()
    line = FakeReport().step("images")
    mirrored.provide(line)
    assert mirrored.check().why == f"3 images, from 127.0.0.1:{front.port}/once"
    assert mirrored.read_lock() == world.images.read_lock()
    assert mirrored.list_tekton_objects() == [{"kind": "Deployment"}]
    assert engine.present == {NODE, REGISTRY}
    for name, layout in {**mirrored.list_layouts(), **mirrored.list_seeds()}.items():
        original = {**world.images.list_layouts(), **world.images.list_seeds()}[name]
        assert oci_layout.read_digest(layout) == oci_layout.read_digest(original)
    front.heard.clear()
    assert mirrored.check().why.startswith("3 images")
    assert front.heard == [], "it was just fetched"
    later, _ = supply(world, given, tmp_path / "elsewhere", engine=engine)
    assert later.check() == mirrored.check()
    assert front.heard == [f"HEAD /v2/once/{mirror._get_name(world.open()).replace(':', '/manifests/')}"]


def test_what_is_missing_or_changed_is_named_and_pushed_again(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "changed")
    world = world_of(tmp_path, given)
    fill(world, given)
    images = world.images.read_lock().images
    kube = f"kube:{images['kube'].digest.partition(':')[2][:12]}"
    with door(world, given).log_in() as registry:
        registry.push(world.images.list_layouts()["pause"], kube)
    assert check(world, given) == {kube: "changed"}
    assert fill(world, given)["pushed"] == 1
    assert check(world, given) == {}


def test_what_another_version_filled_or_kept_is_no_mirror(
    tmp_path: Path, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(front.port, "older")
    world, cache, line = world_of(tmp_path, given), tmp_path / "elsewhere", FakeReport().step("images")
    with monkeypatch.context() as older:
        older.setattr(bundle_file, "FORMAT", bundle_file.FORMAT - 1)
        fill(world, given)
        supply(world, given, cache)[0].provide(line)
    mirrored, _ = supply(world, given, cache)
    assert not mirrored.is_kept()
    assert isinstance(mirrored.check(), Pending)
    with pytest.raises(UsageError, match="another version"):
        mirrored.provide(line)
    with pytest.raises(UsageError, match="another version"):
        check(world, given)
    fill(world, given)
    mirrored.provide(line)
    assert isinstance(mirrored.check(), Ready)


def test_half_a_mirror_is_none(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "half")
    world = world_of(tmp_path, given)
    front.on, front.faults = "PUT /v2/half/kube/manifests", [403] * 20
    with pytest.raises(BootstrapError):
        fill(world, given)
    front.faults.clear()
    mirrored, _ = supply(world, given, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="has no environment for this checkout"):
        mirrored.provide(FakeReport().step("images"))
    assert fill(world, given)["pushed"] < 6, "it goes on where it was"
    mirrored.provide(FakeReport().step("images"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_is_asked_again(tmp_path: Path, front: Front, status: int) -> None:
    given = settings(front.port, f"busy-{status}")
    world = world_of(tmp_path, given)
    front.on, front.faults = "busy", [status] * 2
    assert fill(world, given)["pushed"] == 6
    assert front.faults == []
    assert check(world, given) == {}


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "it wants a login"), (403, "that user may not do this")],
)
def test_a_registry_that_refuses_is_explained(tmp_path: Path, front: Front, status: int, said: str) -> None:
    given = settings(front.port, f"refuses-{status}")
    world = world_of(tmp_path, given)
    front.on, front.faults = "refuses", [status] * 500
    with pytest.raises(PreconditionError, match=said) as failure:
        fill(world, given)
    assert failure.value.hint


def test_wrong_bytes_never_become_an_image(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "bent")
    world = world_of(tmp_path, given)
    fill(world, given)
    mirrored, engine = supply(world, given, tmp_path / "elsewhere")
    front.bend = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(BootstrapError):
        mirrored.provide(FakeReport().step("images"))
    assert engine.present == set()
    assert not mirrored.is_kept()
    front.bend = None
    mirrored.provide(FakeReport().step("images"))
    assert mirrored.is_kept()


def test_plain_http_only_if_said(tmp_path: Path, front: Front) -> None:
    given = replace(settings(front.port, "plain"), plain_http="off")
    world = world_of(tmp_path, given)
    with pytest.raises(PreconditionError, match="does not speak TLS"):
        door(world, given).require_tls()


def test_nothing_there(tmp_path: Path) -> None:
    given = settings(find_free_port(), "nowhere")
    world = world_of(tmp_path, given)
    with door(world, given).log_in() as registry, pytest.raises(PreconditionError, match="nothing answers there"):
        registry.read_digest("pause:1")


def test_an_image_that_is_not_there(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "empty")
    world = world_of(tmp_path, given)
    with door(world, given).log_in() as registry:
        assert registry.read_digest("pause:1") == ""
        with pytest.raises(NotFound):
            registry.pull_files("environment:x", tmp_path / "x.tar")


@pytest.mark.parametrize("logs_in", [True, False])
def test_for_a_cluster_elsewhere_no_image_is_fetched(tmp_path: Path, front: Front, logs_in: bool) -> None:
    given = settings(front.port, f"direct-{logs_in}".lower(), **_LOGIN if logs_in else {})
    world = world_of(tmp_path, given)
    fill(world, given)
    direct, engine = supply(world, given, tmp_path / "elsewhere", partial(DirectMirror, logs_in=logs_in))
    assert not direct.is_kept()
    front.heard.clear()
    direct.provide(FakeReport().step("images"))
    assert not [each for each in front.heard if "/blobs/" in each and "/environment/" not in each]
    assert (engine.saved, engine.loaded) == ([], [])
    root = f"127.0.0.1:{front.port}/{given.folder}"
    assert direct.check().why == f"3 images, pulled from {root}"
    lock, own = direct.read_lock(), world.images.read_lock()
    for name, image in lock.images.items():
        assert image.reference == f"{root}/{name}@{own.images[name].digest}"
    assert (lock.node_image, lock.registry_image) == ("", "")
    assert lock.pull_secret == ("registry-login" if logs_in else "")
    with pytest.raises(PreconditionError):
        direct.list_layouts()
    world.config = Config(context="far", supply="mirror", mirror=given)
    world.images = cast(Any, direct)
    cast(Any, world).open_mirror = lambda: door(world, given)
    step, served = MirrorStep(), ServedStep()
    assert step.check(world.open()) == Pending(f"{SEED} is missing")
    step.apply(world.open())
    assert isinstance(step.check(world.open()), Ready)
    assert served.check(world.open()) == Ready(f"3 images served by {root}")
    with door(world, given).log_in() as registry:
        assert registry.read_digest(SEED) == lock.seeds[SEED].partition("@")[2]
        registry.push(make_layout(tmp_path, "another", b"another"), f"kube:{own.images['kube'].digest[7:19]}")
    assert isinstance(served.check(world.open()), Ready), "a tag may lead elsewhere: digests are what counts"


@pytest.fixture
def another() -> Iterator[int]:
    """The port of a registry that holds nothing yet."""
    with registries.plain() as port:
        yield port


@pytest.mark.parametrize("replaced", [False, True])
def test_a_mirror_that_was_filled_with_another_build_is_noticed(
    tmp_path: Path, fresh: Front, another: int, replaced: bool
) -> None:
    """replaced: by a registry that has nothing of the first build."""
    given = settings(fresh.port, "twice")
    world, cache = world_of(tmp_path, given), tmp_path / "elsewhere"
    fill(world, given)
    mirrored, engine = supply(world, given, cache)
    mirrored.provide(FakeReport().step("images"))
    first = world.images
    fresh.behind = another if replaced else fresh.behind
    world.images = second = Supply(tmp_path / "second", "second")
    assert fill(world, given)["pushed"] == (6 if replaced else 3)
    assert first.read_lock() != second.read_lock()

    later, _ = supply(world, given, cache, engine=engine)
    assert later.check() == Pending("the mirror holds another build than is known here")
    assert later.read_lock() == first.read_lock()
    later.provide(FakeReport().step("images"))
    assert later.read_lock() == second.read_lock()
    assert {name: oci_layout.read_digest(layout) for name, layout in later.list_layouts().items()} == {
        name: image.digest for name, image in second.read_lock().images.items()
    }
    after = supply(world, given, cache, engine=engine)[0]
    assert after.check() == Ready(f"3 images, from 127.0.0.1:{fresh.port}/twice")
    assert after.read_lock() == second.read_lock()


def test_a_cluster_elsewhere_is_served_what_the_mirror_holds_by_now(tmp_path: Path, fresh: Front, another: int) -> None:
    given = settings(fresh.port, "anew")
    world, cache, make = world_of(tmp_path, given), tmp_path / "elsewhere", partial(DirectMirror, logs_in=False)
    fill(world, given)
    supply(world, given, cache, make)[0].provide(FakeReport().step("images"))
    fresh.behind = another
    world.images = Supply(tmp_path / "second", "second")
    fill(world, given)

    cast(Any, world).open_mirror = lambda: door(world, given)
    direct, _ = supply(world, given, cache, make)
    world.images = cast(Any, direct)
    images, served = ImagesStep(needs=()), ServedStep()
    assert images.check(world.open()) == Pending("the mirror holds another build than is known here")
    assert isinstance(served.check(world.open()), Failed), "as `up` ended before, of a mirror that lacks nothing"
    images.apply(world.open())
    root = f"127.0.0.1:{fresh.port}/anew"
    assert images.check(world.open()) == Ready(f"3 images, pulled from {root}")
    assert served.check(world.open()) == Ready(f"3 images served by {root}")
    fresh.on, fresh.faults = "environment", [503] * 9
    assert supply(world, given, cache, make)[0].check() == Ready(
        f"3 images, pulled from {root}, as last seen: {root} answers 503"
    )


_LOGIN: dict[str, Any] = {"username": "me", "password": Secret("hush")}


def test_pods_know_nothing_of_the_machines_own_login(
    tmp_path: Path, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(front.port, "nobody")
    world = world_of(tmp_path, given)
    config = {"auths": {given.registry: {"auth": "bWU6aHVzaA=="}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for ambient, logins in ((True, {"Basic bWU6aHVzaA=="}), (False, set[str]())):
        front.logins.clear()
        with door(world, given).log_in(ambient=ambient) as registry:
            assert registry.read_digest("pause:1") == ""
        assert {each for each in front.logins if each} == logins


def test_it_waits_as_long_as_the_registry_says_and_then_says_so(tmp_path: Path, front: Front) -> None:
    """Once, for crane takes its time as well: it asks again by itself before each of our waits."""
    given = settings(front.port, "waits")
    world = world_of(tmp_path, given)
    front.on, front.faults, front.retry_after = "waits", [429] * 40, "37"
    with (
        door(world, given).log_in() as registry,
        pytest.raises(PreconditionError, match="too many requests") as failure,
    ):
        registry.read_digest("pause:1")
    assert failure.value.hint
    assert world.clock.slept == [37, 37, 37]


def test_it_does_not_wait_for_hours(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "hours")
    world = world_of(tmp_path, given)
    front.on, front.faults, front.retry_after = "hours", [429] * 40, "7200"
    with (
        door(world, given).log_in() as registry,
        pytest.raises(PreconditionError, match="wants 2h00m without requests"),
    ):
        registry.read_digest("pause:1")
    assert world.clock.slept == []


def test_a_pull_that_is_cut_in_the_middle_of_a_blob_goes_on(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "cut-pull")
    world = world_of(tmp_path, given)
    fill(world, given)
    front.cut = [50, 50]
    mirrored, engine = supply(world, given, tmp_path / "elsewhere")
    with contextlib.suppress(BootstrapError):  # the same command again is what a user does
        mirrored.provide(FakeReport().step("images"))
    mirrored.provide(FakeReport().step("images"))
    assert front.cut == []
    assert mirrored.read_lock() == world.images.read_lock()
    assert engine.present == {NODE, REGISTRY}


def test_a_push_that_is_cut_in_the_middle_of_a_blob_goes_on(tmp_path: Path, fresh: Front) -> None:
    given = settings(fresh.port, "cut-push")
    world = world_of(tmp_path, given)
    fresh.cut_push = [4, 4]  # the smallest layer has few more, and to wait for them would never end
    assert fill(world, given)["pushed"] == 6
    assert fresh.cut_push == []
    assert check(world, given) == {}


def test_a_slow_registry_is_waited_for(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "slow")
    world = world_of(tmp_path, given)
    front.delay = 0.3
    assert fill(world, given)["pushed"] == 6
    front.delay = 0
    assert check(world, given) == {}


def test_an_interrupted_one_pushes_only_what_is_missing(tmp_path: Path, fresh: Front) -> None:
    given = settings(fresh.port, "again", parallel=1)
    world = world_of(tmp_path, given)
    fresh.on, fresh.faults = "PUT /v2/again/kube/manifests", [403] * 20
    with pytest.raises(BootstrapError):
        fill(world, given)
    fresh.faults.clear()
    before = len(fresh.heard)
    fill(world, given)
    assert [each for each in fresh.heard[:before] if each.startswith("PATCH") and "/kube/" in each]
    assert not [each for each in fresh.heard[before:] if each.startswith("PATCH") and "/kube/" in each], (
        "they are there"
    )


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 256 KiB."""
    if not host.is_root():
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_of_the_registry(tmp_path: Path, small: Path) -> None:
    big = make_layout(tmp_path, "big", os.urandom(1 << 20))
    with registries.plain(f"--disk={small}") as port, registries.front(port) as front:
        given = settings(front.port, "full")
        world = world_of(tmp_path, given)
        with door(world, given).log_in() as registry, pytest.raises(BootstrapError) as caught:
            registry.push(big, "big:1")
        assert caught.value.hint or caught.value.evidence
        with door(world, given).log_in() as registry:
            assert registry.read_digest("big:1") == "", "half an image is none"


def test_a_full_disk_of_this_machine(tmp_path: Path, small: Path, front: Front) -> None:
    given = settings(front.port, "full-here")
    world = world_of(tmp_path, given)
    images = cast(Supply, world.images)
    images.made["kube"] = make_layout(tmp_path, "big", os.urandom(1 << 20))
    images.images["kube"] = LockedImage(
        "kube", "registry/kube", str(oci_layout.read_descriptor(images.made["kube"])["digest"])
    )
    fill(world, given)
    mirrored, engine = supply(world, given, small)
    with pytest.raises(PreconditionError, match="a disk is full"):
        mirrored.provide(FakeReport().step("images"))
    assert engine.present == set()
    assert not mirrored.is_kept()
    assert [path for path in small.rglob("*") if path.is_file() and path.suffix == ".tar"] == []


def test_tls_and_a_password(tmp_path: Path) -> None:
    with registries.secured(tmp_path / "secured") as server:
        given = MirrorSettings(
            registry=server.address,
            folder="team",
            username=registries.USER,
            password=Secret(registries.PASSWORD),
            ca_file=str(server.ca),
        )
        world = world_of(tmp_path, given)
        with door(world, given).log_in() as registry:
            assert registry.measure_push_rate(0.2) > 1e5
            assert not list(server.data.rglob("manifests")), "what is measured with is not kept"
        assert fill(world, given)["pushed"] == 6
        assert check(world, given) == {}
        name = mirror._get_name(world.open())
        with door(world, given).log_in() as registry:
            assert registry.find_digest(name).digest == registry.read_digest(name) != ""
        option = auto.probe_mirror(cast(Any, world).shell, Config(mirror=given), PROJECT)
        assert option == Option(True, f"{server.address} has what this checkout needs")
        for wrong, said in (
            ({"password": Secret("another")}, "it wants a login"),
            ({"ca_file": ""}, "is of no CA that we know"),
        ):
            other = replace(given, **cast(Any, wrong))
            with door(world, other).log_in() as registry, pytest.raises(PreconditionError, match=said) as caught:
                registry.read_digest("pause:1")
            assert registries.PASSWORD not in caught.value.evidence
            assert not auto.probe_mirror(cast(Any, world).shell, Config(mirror=other), PROJECT).fits


def test_the_login_of_dockers_own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registries.secured(tmp_path / "secured") as server:
        auth = b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {server.address: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        given = MirrorSettings(registry=server.address, folder="team", ca_file=str(server.ca))
        world = world_of(tmp_path, given)
        assert fill(world, given)["pushed"] == 6
        assert auto.probe_mirror(cast(Any, world).shell, Config(mirror=given), PROJECT).fits
