"""What is wanted of others and what the lock says of it; release documents and the names in them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bootstrap.core.errors import BootstrapError, PreconditionError, UsageError
from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT
from bootstrap.objects.image_refs import parse_reference
from bootstrap.supply import tekton_build, tekton_releases, upstream_lock
from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import read_module_version
from bootstrap.supply.upstream_lock import Document, Platform, PublicImage, PublicLock, Wanted

HEX = "a" * 64
DIGEST = f"sha256:{HEX}"
PATH = "pipeline/previous/v1.9.0/release.yaml"
PAUSE = PublicImage("registry.k8s.io/pause:3", DIGEST, {"amd64": Platform(f"sha256:{'b' * 64}", 10)})
LOCK = PublicLock({"pipelines": Document(PATH, HEX, 5)}, {"pause": PAUSE})
WANTED = Wanted({"pipelines": PATH}, {"pause": parse_reference("registry.k8s.io/pause:3")})
GHCR = "ghcr.io/tektoncd"


def test_what_is_wanted_fits_what_is_built() -> None:
    wanted, go_mod = upstream_lock.read_wanted(PROJECT), PROJECT / "images/tekton/go.mod"
    pipelines, triggers = read_module_version(go_mod, PIPELINE), read_module_version(go_mod, TRIGGERS)
    assert wanted.documents["pipelines"] == f"pipeline/previous/{pipelines}/release.yaml"
    assert {wanted.documents[name] for name in ("triggers", "interceptors")} == {
        f"triggers/previous/{triggers}/{name}.yaml" for name in ("release", "interceptors")
    }
    kubernetes = read_module_version(PROJECT / "images/kubernetes/go.mod", "k8s.io/kubernetes")
    assert wanted.images["kubectl"].tag == kubernetes
    assert wanted.images["node"].tag.rpartition(".")[0] == kubernetes.rpartition(".")[0], "the same minor version"
    assert wanted.images["buildkit"].tag == read_module_version(
        PROJECT / "images/buildkit/go.mod", "github.com/moby/buildkit"
    )
    aliases = yaml.safe_load((PROJECT / "images/versions.yaml").read_text())["aliases"]
    assert str(wanted.images["pause"]) == aliases["pause"][0]
    assert not any(reference.digest for reference in wanted.images.values()), "digests stand in the lock"


def test_the_lock_of_the_repository_is_one() -> None:
    held = upstream_lock.read(PROJECT / "images/upstream.lock.json")
    assert set(held.images) <= {
        *upstream_lock.read_wanted(PROJECT).images,
        *tekton_build.NAMES,
        tekton_releases.DASHBOARD,
    }
    for name, image in held.images.items():
        wanted = upstream_lock.read_wanted(PROJECT).images.get(name)
        assert wanted is None or str(wanted) == image.reference


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "lock.json"
    file.write_text(LOCK.dump())
    assert upstream_lock.read(file) == LOCK
    assert upstream_lock.read(tmp_path / "none.json") == PublicLock()


@pytest.mark.parametrize(
    "bend",
    [
        lambda found: found.update(format=2),
        lambda found: found.update(more=1),
        lambda found: found.pop("images"),
        lambda found: found["documents"]["pipelines"].update(sha256="abc"),
        lambda found: found["images"]["pause"].update(digest="sha256:abc"),
        lambda found: found["images"]["pause"]["platforms"]["amd64"].update(digest=HEX),
        lambda found: found["images"]["pause"].update(reference="UPPER"),
        lambda found: found["images"]["pause"].pop("platforms"),
    ],
)
def test_what_is_no_lock_is_refused(tmp_path: Path, bend: object) -> None:
    found = json.loads(LOCK.dump())
    assert callable(bend)
    bend(found)
    file = tmp_path / "lock.json"
    file.write_text(json.dumps(found))
    with pytest.raises(UsageError):
        upstream_lock.read(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"lock"'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.json").write_text(text)
    with pytest.raises(UsageError, match="is not a lock"):
        upstream_lock.read(tmp_path / "lock.json")


@pytest.mark.parametrize(
    ("lock", "wanted", "arch", "said"),
    [
        (LOCK, WANTED, "amd64", []),
        (LOCK, WANTED, "arm64", ["registry.k8s.io/pause:3 is not for arm64"]),
        (PublicLock(), WANTED, "amd64", [f"{PATH} is not in it", "registry.k8s.io/pause:3 is not in it"]),
        (
            replace(LOCK, images={"pause": replace(PAUSE, platforms={})}),
            WANTED,
            "amd64",
            ["registry.k8s.io/pause:3 is in it without its platforms"],
        ),
        (
            LOCK,
            replace(WANTED, documents={"pipelines": "pipeline/previous/v2.0.0/release.yaml"}),
            "amd64",
            [f"pipeline/previous/v2.0.0/release.yaml is not in it, but {PATH}"],
        ),
        (
            LOCK,
            replace(WANTED, images={"pause": parse_reference("registry.k8s.io/pause:4")}),
            "amd64",
            [f"registry.k8s.io/pause:4 is not in it, but registry.k8s.io/pause:3@{DIGEST}"],
        ),
        (
            LOCK,
            replace(WANTED, images={"pause": parse_reference(f"registry.k8s.io/pause:3@sha256:{'c' * 64}")}),
            "amd64",
            [f"registry.k8s.io/pause:3@sha256:{'c' * 64} is not in it, but registry.k8s.io/pause:3@{DIGEST}"],
        ),
    ],
)
def test_gaps_are_told_by_name(lock: PublicLock, wanted: Wanted, arch: str, said: list[str]) -> None:
    assert upstream_lock.find_gaps(lock, wanted, arch) == said


def test_changes_are_told_with_both_digests() -> None:
    other = replace(LOCK, images={"pause": replace(PAUSE, digest=f"sha256:{'c' * 64}")})
    assert upstream_lock.list_changes(LOCK, LOCK) == []
    assert upstream_lock.list_changes(LOCK, other) == [("registry.k8s.io/pause:3", DIGEST, f"sha256:{'c' * 64}")]
    assert upstream_lock.list_changes(PublicLock(), LOCK) == [
        (PATH, "", f"sha256:{HEX}"),
        ("registry.k8s.io/pause:3", "", DIGEST),
    ]


# -- release documents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        (f"{GHCR}/pipeline/controller-10a3e32792f33651396d02b6855a6e36", "tekton-pipelines-controller"),
        (f"{GHCR}/pipeline/entrypoint-bff0a22da108bc2f16c818c97641a296:v1", "tekton-pipelines-entrypoint"),
        ("gcr.io/tekton-releases/github.com/tektoncd/pipeline/cmd/nop:v0.50.0", "tekton-pipelines-nop"),
        (f"{GHCR}/triggers/eventlistenersink-7ad1faa98cddbcb0c24990303b220bb8", "tekton-triggers-eventlistenersink"),
        (f"{GHCR}/dashboard/dashboard-9623576a202fe86c8b7d1bc489905f86:v0.65.0", "tekton-dashboard"),
        ("registry.test:5000/copies/tektoncd/triggers/webhook", "tekton-triggers-webhook"),
        (f"{GHCR}/pipeline/new-program", ""),
        ("ghcr.io/tektoncdx/pipeline/controller", ""),
        ("cgr.dev/chainguard/busybox:latest", ""),
        ("mcr.microsoft.com/powershell:nanoserver", ""),
    ],
)
def test_images_of_releases_have_logical_names(reference: str, name: str) -> None:
    assert tekton_releases.find_logical_name(parse_reference(reference)) == name


def deployment(image: str, *args: str) -> Object:
    return {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"image": image, "args": [*args]}}


def test_references_become_logical_wherever_they_stand() -> None:
    controller, nop = f"{GHCR}/pipeline/controller:v1", f"{GHCR}/pipeline/nop:v1"
    other = f"cgr.dev/chainguard/busybox@{DIGEST}"
    given: list[Object] = [
        deployment(f"{controller}@{DIGEST}", "-nop-image", f"{nop}@{DIGEST}", f"-x={nop}@{DIGEST}", "-shell", other),
        {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"text": f"a: {nop}@{DIGEST}\nb: 1"}},
    ]
    lock = PublicLock(
        {},
        {
            tekton_releases.find_logical_name(parse_reference(each)): PublicImage(each, DIGEST)
            for each in (controller, nop)
        },
    )
    done = tekton_releases.use_logical_names(given, lock)
    local = "image.local/tekton-pipelines-"
    assert done[0]["spec"] == {
        "image": f"{local}controller",
        "args": ["-nop-image", f"{local}nop", f"-x={local}nop", "-shell", other],
    }
    assert done[1]["data"]["text"] == f"a: {local}nop\nb: 1"
    assert tekton_releases.use_logical_names(done, lock) == done, "the second time nothing changes"


@pytest.mark.parametrize(
    "held", [{}, {"tekton-pipelines-nop": PublicImage(f"{GHCR}/pipeline/nop:v1", f"sha256:{'c' * 64}")}]
)
def test_an_image_that_the_lock_holds_otherwise_is_refused(held: dict[str, PublicImage]) -> None:
    with pytest.raises(BootstrapError, match=r"the lock does not hold the image ghcr\.io/tektoncd/pipeline/nop"):
        tekton_releases.use_logical_names([deployment(f"{GHCR}/pipeline/nop:v1@{DIGEST}")], PublicLock({}, held))


def test_two_images_of_one_name_are_refused() -> None:
    two = [deployment(f"{GHCR}/pipeline/nop:v1@{DIGEST}"), deployment(f"{GHCR}/pipeline/nop:v2@{DIGEST}")]
    with pytest.raises(BootstrapError, match="two images tekton-pipelines-nop"):
        tekton_releases.find_images(two)


def test_releases_that_lack_an_image_are_refused() -> None:
    references = {name: parse_reference("x") for name in tekton_build.NAMES}
    tekton_releases.check_complete(references)
    references.pop("tekton-triggers-webhook")
    with pytest.raises(BootstrapError, match="no image tekton-triggers-webhook"):
        tekton_releases.check_complete(references)


def test_a_document_is_what_its_hash_says_or_nothing() -> None:
    data = b"kind: List"
    assert tekton_releases.verify(PATH, data, hashlib.sha256(data).hexdigest()) == data
    with pytest.raises(PreconditionError, match="is not what the lock says"):
        tekton_releases.verify(PATH, data + b" ", hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("data", [b"", b"a: [", b"<html>", b"- 1", b"kind: X", b"\xff\xfe\x00"])
def test_what_holds_no_objects_is_refused(data: bytes) -> None:
    with pytest.raises(PreconditionError, match="the release document pipelines"):
        tekton_releases.parse("pipelines", data)


def test_objects_of_dashboard_are_known_again() -> None:
    [found] = tekton_releases.parse("dashboard", b"---\nkind: Service\nmetadata: {name: x}\n---\n")
    assert tekton_releases.is_dashboard(found)
    [other] = tekton_releases.parse("pipelines", b"kind: Service\nmetadata: {name: x}")
    assert not tekton_releases.is_dashboard(other)
