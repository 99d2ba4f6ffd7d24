"""Manifests of anybody, with images of a registry that has TLS and a password, brought to a mirror and rewritten."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from bootstrap.commands import mirror, mirror_manifests
from bootstrap.core.errors import BootstrapError, NotFound, PreconditionError, UsageError
from bootstrap.core.model import Secret
from bootstrap.settings.config import MirrorSettings
from bootstrap.supply import oci_layout
from bootstrap.world.registry.user import MirrorRegistry
from tests.integration import registries
from tests.integration.registries import Front, Secured
from tests.integration.test_mirror import Supply, settings, world_of
from tests.unit.fakes import FakeReport
from tests.unit.step_world import StepWorld
from tests.unit.supply.test_bundle import make_layout


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Stands for the public hosts."""
    with registries.secured(tmp_path_factory.mktemp("origin")) as server:
        yield server


@pytest.fixture
def target() -> Iterator[Front]:
    with registries.plain() as port, registries.front(port) as front:
        yield front


@pytest.fixture
def allowed(origin: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user has who may pull there: docker's login, and the authority."""
    auth = b64encode(f"{registries.USER}:{registries.PASSWORD}".encode()).decode()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {origin.address: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("SSL_CERT_FILE", str(origin.ca))


@dataclass
class Scene:
    """controller: an image by digest; tool: one of two platforms, by tag."""

    world: StepWorld
    given: MirrorSettings
    origin: str
    controller: str
    tool: str
    source: Path
    destination: Path

    def mirror(self, **flags: Any) -> Any:
        """The document of `invoke mirror --json`."""
        self.world.report = FakeReport()
        wish = mirror.MirrorRequest(
            source=str(self.source), destination=str(self.destination), as_json=True, **{"sync": True, **flags}
        )
        self.code = mirror._act_at_registry(self.world.open(), wish)
        return next(said[1] for said in reversed(cast(Any, self.world.report).printed) if said[0] == "json")


@pytest.fixture
def scene(tmp_path: Path, origin: Secured, target: Front, allowed: None) -> Scene:
    given = settings(target.port, "team")
    world = world_of(tmp_path, given)
    there = MirrorSettings(registry=origin.address, folder="tekton", plain_http="off")
    pushing = MirrorRegistry(cast(Any, world).shell, world.clock, cast(Supply, world.images).find_tool("crane"), there)
    digest = pushing.push(make_layout(tmp_path, "controller", os.urandom(5000)), "controller:v1")
    pushing.push(make_index(tmp_path / "index"), "tool:v2")
    scene = Scene(
        world,
        given,
        origin.address,
        f"{origin.address}/tekton/controller:v1@{digest}",
        f"{origin.address}/tekton/tool:v2",
        tmp_path / "manifests",
        tmp_path / "rewritten",
    )
    write(scene, f"image: {scene.controller}  # ours\n", "a.yaml")
    write(scene, f"args: [-tool-image, '{scene.tool}', -x=image.local/pause]\n", "below/b.yml")
    return scene


def make_index(folder: Path) -> Path:
    """An image of two platforms."""
    manifests = []
    for arch in ("amd64", "arm64"):
        layout = make_layout(folder, arch, arch.encode() * 500)
        manifests.append(oci_layout.read_descriptor(layout) | {"platform": {"os": "linux", "architecture": arch}})
        (folder / "all/blobs/sha256").mkdir(parents=True, exist_ok=True)
        for blob in (layout / "blobs/sha256").iterdir():
            blob.rename(folder / "all/blobs/sha256" / blob.name)
    text = json.dumps({"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": manifests}).encode()
    digest = hashlib.sha256(text).hexdigest()
    (folder / "all/blobs/sha256" / digest).write_bytes(text)
    oci_layout.write_index(
        folder / "all", [{"mediaType": oci_layout.INDEX, "digest": f"sha256:{digest}", "size": len(text)}]
    )
    return folder / "all"


def write(scene: Scene, text: str, name: str) -> None:
    (scene.source / name).parent.mkdir(parents=True, exist_ok=True)
    (scene.source / name).write_text(text)


PUBLIC = f"shell.test/busybox@sha256:{'c' * 64}"


def rewritten(scene: Scene) -> dict[str, str]:
    files = sorted(scene.destination.rglob("*.y*ml"))
    return {str(file.relative_to(scene.destination)): file.read_text() for file in files}


def test_copied_rewritten_and_proved(scene: Scene, target: Front) -> None:
    told = scene.mirror()
    assert (scene.code, told["copied"], told["left"]) == (0, 3, [])
    below = scene.origin.replace(":", "-")
    base = f"127.0.0.1:{target.port}/team"
    found = rewritten(scene)
    digest = scene.controller.partition("@")[2]
    assert found["a.yaml"] == f"image: {base}/{below}/tekton/controller@{digest}  # ours\n"
    [_, tool, pause] = yaml.safe_load(found["below/b.yml"])["args"]
    assert tool.startswith(f"{base}/{below}/tekton/tool@sha256:")
    assert pause == f"-x={base}/pause@{scene.world.images.read_lock().images['pause'].digest}"
    assert scene.mirror(sync=False, check=True) == {"wrong": {}}


def test_a_second_time_copies_and_changes_nothing(scene: Scene, target: Front) -> None:
    scene.mirror()
    before, heard = rewritten(scene), len(target.heard)
    assert scene.mirror()["copied"] == 0
    assert rewritten(scene) == before
    assert not [each for each in target.heard[heard:] if each.startswith(("PUT", "POST", "PATCH"))]
    scene.source, scene.destination = scene.destination, scene.source.with_name("twice")
    assert scene.mirror()["copied"] == 0
    assert rewritten(scene) == before, "what is rewritten already stays as it is"


def test_all_platforms_or_those_that_are_wanted(scene: Scene, target: Front) -> None:
    write(scene, f"image: {scene.tool}\n", "a.yaml")
    plan = scene.mirror(sync=False, plan=True)
    whole = scene.mirror()["images"][scene.tool]
    small = scene.mirror(platforms=("linux/arm64",))["images"][scene.tool]
    assert whole != small
    assert scene.mirror(platforms=("linux/arm64",))["copied"] == 0
    registry = MirrorRegistry(
        cast(Any, scene.world).shell,
        scene.world.clock,
        cast(Supply, scene.world.images).find_tool("crane"),
        scene.given,
    )
    assert platforms(registry.read_foreign_manifest(whole)) == ["amd64", "arm64"]
    assert platforms(registry.read_foreign_manifest(small)) == ["arm64"]
    [bytes_of_tool] = [row["bytes"] for row in plan["images"] if row["name"] == scene.tool]
    assert 5000 < bytes_of_tool < 6000
    assert plan["bytes_per_second"] > 1e5


def platforms(document: Any) -> list[str]:
    return [each["platform"]["architecture"] for each in document["manifests"]]


def test_what_is_gone_from_the_mirror_is_named(scene: Scene, target: Front) -> None:
    scene.mirror()
    lost = yaml.safe_load(rewritten(scene)["a.yaml"])["image"]
    (scene.destination / "a.yaml").write_text(f"image: {lost.partition('@')[0]}@sha256:{'0' * 64}\n")
    (scene.destination / "c.yaml").write_text("image: nginx\n")
    wrong = scene.mirror(sync=False, check=True)["wrong"]
    assert scene.code == 1
    assert sorted(wrong.values()) == ["missing", "not at the mirror, or without a digest"]


def test_an_image_that_nobody_has(scene: Scene) -> None:
    write(scene, f"image: {scene.origin}/tekton/none:v1\n", "c.yaml")
    with pytest.raises(NotFound, match=rf"{scene.origin} does not have it"):
        scene.mirror()
    assert not scene.destination.exists(), "nothing is half rewritten"


def test_what_may_be_no_image_to_pull_is_left_alone_and_told(scene: Scene) -> None:
    built = f"{scene.origin}/me/app:v1"
    write(scene, f"params: [{{name: IMAGE, value: '{built}'}}]\n", "c.yaml")
    assert scene.mirror()["left"] == [built]
    assert built in rewritten(scene)["c.yaml"]
    assert any(built in str(said) for said in cast(Any, scene.world.report).printed)


def test_a_registry_that_wants_a_login_is_named(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "docker/config.json").write_text("{}")
    with pytest.raises(PreconditionError, match=rf"{scene.origin}: it wants a login") as caught:
        scene.mirror()
    assert caught.value.hint == f"docker login {scene.origin}, its address, or the network"


def test_a_login_for_the_mirror_keeps_those_for_others(scene: Scene, tmp_path: Path) -> None:
    with registries.secured(tmp_path / "secured") as server:
        given = MirrorSettings(
            registry=server.address,
            username=registries.USER,
            password=Secret(registries.PASSWORD),
            ca_file=str(server.ca),
        )
        scene.world.config = replace(scene.world.config, mirror=given)
        assert scene.mirror()["copied"] == 3


def test_into_the_engine(scene: Scene, target: Front) -> None:
    scene.mirror(pull=True)
    present = cast(Any, scene.world.engine).present
    assert len([name for name in present if name.startswith(f"127.0.0.1:{target.port}/team/")]) == 3


def test_tektons_manifests_are_written_and_then_brought_along(scene: Scene, tmp_path: Path) -> None:
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tekton-pipelines"}},
        {
            "apiVersion": "triggers.tekton.dev/v1beta1",
            "kind": "Interceptor",
            "metadata": {"name": "x"},
            "spec": {"image": "image.local/toolbox"},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "tekton-pipelines-controller", "namespace": "tekton-pipelines"},
            "spec": {
                "template": {"spec": {"containers": [{"args": ["-shell-image", PUBLIC, "-shell-image-win", PUBLIC]}]}}
            },
        },
    ]
    cast(Any, scene.world.images).list_tekton_objects = lambda: objects
    scene.source = tmp_path / "tekton"
    mirror_manifests.download(scene.world.open(), scene.source)
    assert sorted(file.name for file in scene.source.iterdir()) == ["tekton-pipelines.yaml", "tekton-triggers.yaml"]
    assert scene.mirror()["copied"] == 1
    texts = "".join(rewritten(scene).values())
    assert "image.local" not in texts
    assert PUBLIC not in texts


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"download": True}, "--download needs a folder"),
        ({"source": "a"}, "--source needs a folder for what is rewritten"),
        ({"destination": "a"}, "--destination needs --source"),
        ({"source": "a", "destination": "./a"}, "the same folder"),
        ({"platforms": ("linux/amd64",)}, "--platform is for images that --source names"),
        ({"source": "a", "destination": "b", "platforms": ("linux",)}, "is not like linux/amd64"),
    ],
)
def test_flags_that_do_not_go_together(scene: Scene, flags: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        mirror._check_wish(scene.world.open(), mirror.MirrorRequest(**flags))
    assert caught.value.hint


def test_a_folder_without_manifests(scene: Scene, tmp_path: Path) -> None:
    scene.source = tmp_path
    (tmp_path / "empty").mkdir()
    scene.source = tmp_path / "empty"
    with pytest.raises(BootstrapError, match="no manifest"):
        scene.mirror()
