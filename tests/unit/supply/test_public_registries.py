"""Where each public registry is asked, and who gets the login."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Secret
from bootstrap.objects.image_refs import parse_reference
from bootstrap.settings.config import UpstreamSettings
from bootstrap.supply import public_registries
from bootstrap.supply.public_registries import PublicRegistries
from bootstrap.world.http_download import DownloadAccess
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeClock

DIGEST = "sha256:" + "a" * 64
SETTINGS = UpstreamSettings(
    registries=("docker.io=copy.test:5000/hub",), username="me", password=Secret("hush"), plain_http="on"
)


def made(answers: dict[str, str | Output], settings: UpstreamSettings = SETTINGS) -> tuple[PublicRegistries, FakeShell]:
    shell = FakeShell(answers)
    return PublicRegistries(shell, FakeClock(), lambda: Path("crane"), settings), shell


def test_a_copy_gets_the_login_and_its_own_address() -> None:
    asked, shell = made({"crane digest": DIGEST})
    seen: list[object] = []
    shell.on_run = lambda env: seen.append(json.loads((Path(env["DOCKER_CONFIG"]) / "config.json").read_text()))
    with asked.open(parse_reference("golang:1")) as (registry, path):
        assert registry.read_digest(f"{path}:1") == DIGEST
    assert shell.ran == ["crane digest copy.test:5000/hub/library/golang:1 --insecure"]
    assert seen == [{"auths": {"copy.test:5000": {"auth": "bWU6aHVzaA=="}}, "credHelpers": {}}]


def test_a_public_host_gets_no_login_and_is_never_asked_in_the_clear() -> None:
    asked, shell = made({"crane digest": DIGEST})
    with asked.open(parse_reference("ghcr.io/tektoncd/pipeline/nop:v1")) as (registry, path):
        registry.read_digest(f"{path}:v1")
    assert shell.ran == ["crane digest ghcr.io/tektoncd/pipeline/nop:v1"]
    assert shell.environs == [{}], "docker's own configuration counts"


def test_what_a_public_host_wants_is_told() -> None:
    asked, _ = made({"crane digest": Output(1, "", "UNAUTHORIZED: authentication required")})
    with (
        pytest.raises(PreconditionError, match="it wants a login") as failure,
        asked.open(parse_reference("ghcr.io/a/b:1")) as (registry, path),
    ):
        registry.read_digest(f"{path}:1")
    assert failure.value.hint == "docker login ghcr.io"


def test_a_single_image_is_for_the_architecture_of_its_configuration() -> None:
    manifest = {"config": {"size": 10}, "layers": [{"size": 100}, {"size": 1000}]}
    asked, shell = made(
        {
            "crane digest": DIGEST,
            "crane manifest": json.dumps(manifest),
            "crane config": json.dumps({"architecture": "arm64"}),
        }
    )
    found = asked.resolve(parse_reference("registry.k8s.io/pause:3"))
    assert found.reference == "registry.k8s.io/pause:3"
    assert found.digest == DIGEST
    assert {arch: (each.digest, each.size) for arch, each in found.platforms.items()} == {"arm64": (DIGEST, 1110)}
    assert f"crane manifest registry.k8s.io/pause@{DIGEST}" in shell.ran


def test_of_an_index_only_linux_counts() -> None:
    def child(system: str, arch: str, letter: str) -> dict[str, object]:
        return {"digest": f"sha256:{letter * 64}", "platform": {"os": system, "architecture": arch}}

    index = {"manifests": [child("windows", "amd64", "b"), child("linux", "amd64", "c"), child("linux", "s390x", "d")]}
    asked, shell = made(
        {
            f"crane manifest ghcr.io/a/b@{DIGEST}": json.dumps(index),
            f"crane manifest ghcr.io/a/b@sha256:{'c' * 64}": json.dumps({"config": {"size": 1}, "layers": []}),
        }
    )
    found = asked.resolve(parse_reference(f"ghcr.io/a/b:v1@{DIGEST}"))
    assert {arch: each.digest for arch, each in found.platforms.items()} == {"amd64": f"sha256:{'c' * 64}"}
    assert not any("digest" in command.split()[1] for command in shell.ran), "the digest is known"


def test_the_public_release_host_never_gets_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, DownloadAccess]] = []

    def download(url: str, access: DownloadAccess, _: object) -> bytes:
        asked.append((url, access))
        return b"x"

    monkeypatch.setattr(public_registries, "download", download)
    made({})[0].fetch_document("a/b.yaml")
    made({}, UpstreamSettings(releases="https://copy.test/t/", username="me", password=Secret("hush")))[
        0
    ].fetch_document("c")
    assert asked == [
        ("https://infra.tekton.dev/tekton-releases/a/b.yaml", DownloadAccess()),
        ("https://copy.test/t/c", DownloadAccess("me", Secret("hush"))),
    ]
