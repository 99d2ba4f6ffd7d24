"""What is known of a mirror is compared with the mirror, and two builds of it are never mixed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import BootstrapError, PreconditionError, UsageError
from bootstrap.core.model import LockedImage, Pending, Ready
from bootstrap.supply import oci_layout
from bootstrap.supply.bundle_file import DESCRIPTION, TEKTON, Description
from bootstrap.supply.mirror import DIGESTS, Mirror, make_environment_name, make_tag
from bootstrap.world.registry.http import RegistryAnswer
from tests.unit.archives import pack_tar
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.supply.test_bundle import make_layout

VERSIONS = {"kubernetes": "v1.36.3", "pipelines": "v1.9.0", "triggers": "v0.35.0"}
NAME = make_environment_name("amd64", VERSIONS)
ADDRESS = "mirror.example/team"
SEED = "library/golang:1"
ANOTHER = Pending("the mirror holds another build than is known here")


@dataclass(frozen=True)
class Build:
    """What one `invoke mirror` has pushed. layouts: "pause", "golang" -> layout. digest: of the description's image."""

    said: Description
    tekton: bytes
    digests: bytes
    layouts: dict[str, Path]

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.said.dump() + self.tekton + self.digests).hexdigest()}"


def make_build(folder: Path, mark: str) -> Build:
    """Another one for another mark, of the same versions."""
    layouts = {name: make_layout(folder / mark, name, f"{name} {mark}".encode()) for name in ("pause", "golang")}
    digests = {name: oci_layout.read_digest(layout) for name, layout in layouts.items()}
    image = LockedImage("pause", "registry/pause", digests["pause"], 1)
    engine = {f"node:{mark}": f"sha256:{mark * 64}", f"registry:{mark}": f"sha256:{mark * 64}"}
    seeds = {SEED: digests["golang"]}
    said = Description("amd64", VERSIONS, f"ours/node:{mark}", f"ours/registry:{mark}", (image,), seeds)
    return Build(said, json.dumps([{"kind": mark}]).encode(), json.dumps(engine).encode(), layouts)


@dataclass
class FakeRegistry:
    """build: what it holds, None for nothing. older: its builds from before, whose images it still has.

    silent: the answer to a look, in place of the digest. fault: raised by whatever pulls layouts. heard: one for each
    thing that it was asked.
    """

    build: Build | None = None
    older: list[Build] = field(default_factory=list)
    silent: RegistryAnswer | None = None
    fault: BootstrapError | None = None
    address: str = ADDRESS
    heard: list[str] = field(default_factory=list)
    logged_in: bool = False

    def fill(self, build: Build) -> None:
        self.older += [self.build] if self.build else []
        self.build = build

    @contextlib.contextmanager
    def log_in(self, *, ambient: bool = True) -> Iterator[FakeRegistry]:
        self.logged_in = True
        try:
            yield self
        finally:
            self.logged_in = False

    def require_tls(self) -> None:
        assert self.logged_in

    def find_digest(self, name: str) -> RegistryAnswer:
        assert name == NAME
        self.heard.append("look")
        if self.silent:
            return self.silent
        assert self.build
        return RegistryAnswer(200, {"docker-content-digest": self.build.digest})

    def read_digest(self, name: str) -> str:
        assert self.logged_in
        assert name == NAME
        self.heard.append("ask")
        return self.build.digest if self.build else ""

    def pull_files(self, name: str, layer: Path) -> None:
        assert self.logged_in
        self.heard.append("files")
        [build] = [each for each in self._builds if name == f"environment@{each.digest}"]
        layer.write_bytes(pack_tar({DESCRIPTION: build.said.dump(), TEKTON: build.tekton, DIGESTS: build.digests}))

    def pull_layout(self, name: str, layout: Path) -> None:
        assert self.logged_in
        self.heard.append(name.partition("@")[0])
        if self.fault:
            raise self.fault
        path, _, digest = name.partition("@")
        [found] = {each.layouts[path] for each in self._builds if oci_layout.read_digest(each.layouts[path]) == digest}
        shutil.copytree(found, layout, dirs_exist_ok=True)

    def pull_archive(self, name: str, archive: Path, platform: str = "") -> str:
        assert self.logged_in
        self.heard.append(name)
        archive.write_bytes(b"")
        return f"{ADDRESS}/{name.partition('@')[0]}:i-was-a-digest"

    @property
    def _builds(self) -> list[Build]:
        return [*self.older, *([self.build] if self.build else [])]


@dataclass
class FakeEngine:
    present: set[str] = field(default_factory=set)

    def has_image(self, reference: str) -> bool:
        return reference in self.present

    def load_images(self, archive: Path, *, limit: float = 900) -> None:
        assert archive.exists()
        self.present |= {f"{ADDRESS}/{name}:i-was-a-digest" for name in ("node", "registry")}

    def tag_image(self, image: str, name: str) -> None:
        assert image in self.present
        self.present.add(name)

    def remove_images(self, *references: str) -> None:
        self.present -= set(references)


@dataclass(frozen=True)
class FakeSource:
    folder: Path

    def build(self, names: Sequence[str], line: object) -> None:
        assert list(names) == ["go-tools"]
        (self.folder / "crane").touch()

    def find_tool(self, name: str) -> Path:
        return self.folder / name


@dataclass
class Place:
    """A machine with a cache, the mirror that it asks, and two builds of the same versions."""

    folder: Path
    first: Build
    second: Build
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    engine: FakeEngine = field(default_factory=FakeEngine)

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def open(self, make: Callable[..., Mirror] = Mirror) -> Any:
        """The supply of one command."""
        return make(
            self.engine,
            FakeClock(),
            FakeSource(self.folder),
            lambda _: self.registry,
            cache=self.cache,
            arch="amd64",
            versions=VERSIONS,
            parallel=2,
        )

    def list_files(self) -> dict[str, int]:
        """Everything that is kept, with the time of its last change."""
        return {str(path): path.stat().st_mtime_ns for path in self.cache.rglob("*")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, make_build(tmp_path / "made", "a"), make_build(tmp_path / "made", "b"))
    place.registry.fill(place.first)
    return place


def provide(mirror: Mirror) -> None:
    mirror.provide(cast(Any, FakeReport().step("images")))


def tell(mirror: Mirror) -> list[object]:
    """All that is read of a description, in parts that come from different files of it."""
    lock = mirror.read_lock()
    return [lock.images["pause"].digest, mirror.list_tekton_objects()]


def say(build: Build) -> list[object]:
    return [build.said.images[0].digest, json.loads(build.tekton)]


def test_a_mirror_that_was_filled_anew_is_noticed_and_fetched(place: Place) -> None:
    provide(place.open())
    place.registry.heard.clear()
    assert place.open().check() == Ready(f"1 images, from {ADDRESS}")
    assert place.registry.heard == ["look"], "to look is one request"
    place.registry.fill(place.second)
    later = place.open()
    assert later.check() == ANOTHER
    assert tell(later) == say(place.first), "until it is fetched the old one counts"
    provide(later)
    assert tell(later) == say(place.second)
    assert later.check() == Ready(f"1 images, from {ADDRESS}")
    assert tell(place.open()) == say(place.second)
    assert {"ours/node:b", "ours/registry:b"} <= place.engine.present
    assert set(later.list_layouts()) == {"pause"}
    assert all(layout.is_dir() for layout in {**later.list_layouts(), **later.list_seeds()}.values())


def test_what_a_command_has_just_fetched_is_not_asked_for_again(place: Place) -> None:
    mirror = place.open()
    assert isinstance(mirror.check(), Pending)
    assert place.registry.heard == [], "of what is not here nothing has to be compared"
    provide(mirror)
    place.registry.heard.clear()
    assert isinstance(mirror.check(), Ready)
    assert place.registry.heard == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (RegistryAnswer(0, {}, "Connection refused"), "does not answer (Connection refused)"),
        (RegistryAnswer(401, {}), "wants a login, or another one"),
        (RegistryAnswer(403, {}), "does not let us in"),
        (RegistryAnswer(404, {}), "has no environment for this checkout"),
        (RegistryAnswer(503, {}), "answers 503"),
    ],
)
def test_a_look_that_fails_takes_nothing_away_and_is_told(place: Place, answer: RegistryAnswer, why: str) -> None:
    provide(place.open())
    place.registry.fill(place.second)
    place.registry.silent = answer
    before = place.list_files()
    mirror = place.open()
    assert mirror.check() == Ready(f"1 images, from {ADDRESS}, as last seen: {ADDRESS} {why}")
    assert tell(mirror) == say(place.first)
    assert place.list_files() == before


def test_a_look_writes_nothing(place: Place) -> None:
    provide(place.open())
    place.registry.fill(place.second)
    before = place.list_files()
    assert place.open().check() == ANOTHER
    assert place.list_files() == before


def test_what_another_command_fetches_meanwhile_is_not_mixed_in(place: Place) -> None:
    provide(place.open())
    running = place.open()
    assert isinstance(running.check(), Ready)
    place.registry.fill(place.second)
    provide(place.open())
    assert tell(running) == say(place.first)
    assert isinstance(running.check(), Ready), "the next look is at what is there now, as in an open console"
    assert tell(running) == say(place.second)


def test_what_cannot_be_fetched_whole_does_not_take_the_place_of_what_is_here(place: Place) -> None:
    provide(place.open())
    place.registry.fill(place.second)
    place.registry.fault = PreconditionError("a disk is full")
    mirror = place.open()
    with pytest.raises(PreconditionError):
        provide(mirror)
    assert tell(mirror) == say(place.first)
    place.registry.silent = RegistryAnswer(0, {}, "Connection refused")
    assert isinstance(place.open().check(), Ready)
    place.registry.silent = place.registry.fault = None
    provide(mirror)
    assert tell(mirror) == say(place.second)


def test_a_description_that_this_version_cannot_read_does_not_either(place: Place) -> None:
    provide(place.open())
    strange = make_build(place.folder / "strange", "c")
    object.__setattr__(strange, "said", type("Strange", (), {"dump": staticmethod(lambda: b"{}")}))
    place.registry.fill(strange)
    mirror = place.open()
    with pytest.raises(UsageError, match="another version"):
        provide(mirror)
    assert tell(place.open()) == say(place.first)


def test_a_build_that_comes_again_is_taken_from_the_cache_and_made_whole_first(place: Place) -> None:
    provide(place.open())
    place.registry.fill(place.second)
    provide(place.open())
    place.registry.fill(place.first)
    lost = place.open().list_layouts()["pause"].with_name(make_tag(place.first.said.images[0].digest))
    shutil.rmtree(lost)
    place.registry.heard.clear()
    mirror = place.open()
    assert mirror.check() == ANOTHER
    place.registry.fault = PreconditionError("a disk is full")
    with pytest.raises(PreconditionError):
        provide(mirror)
    assert tell(place.open()) == say(place.second)
    place.registry.fault = None
    provide(mirror)
    assert tell(mirror) == say(place.first)
    assert lost.is_dir()
    assert "files" not in place.registry.heard
    assert place.open().check() == Ready(f"1 images, from {ADDRESS}")
