"""`supply: auto`: what is taken, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.cli import dispatch
from bootstrap.core.errors import UsageError
from bootstrap.core.paths import PROJECT, Paths
from bootstrap.settings.config import BundleSettings, Config, MirrorSettings, UpstreamSettings
from bootstrap.supply import auto, upstream_lock
from bootstrap.supply.auto import Choice, Option, pick_supply
from bootstrap.supply.bundle_file import Description, Writer
from bootstrap.supply.mirror import make_environment_tag
from bootstrap.supply.versions import read_versions
from bootstrap.world.environment_store import Identity
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeReport
from tests.unit.registry_server import RegistryServer

YES, NO = Option(True, "it fits"), Option(False, "it does not")


@pytest.mark.parametrize(
    ("found", "choice"),
    [
        ({}, Choice("source", "everything is built here")),
        ({"bundle": YES, "mirror": YES}, Choice("bundle", "it fits")),
        ({"bundle": NO, "mirror": YES}, Choice("mirror", "it fits; not bundle: it does not")),
        ({"mirror": YES}, Choice("mirror", "it fits")),
        (
            {"bundle": NO, "mirror": NO},
            Choice("source", "everything is built here; not bundle: it does not; not mirror: it does not"),
        ),
    ],
)
def test_the_nearest_that_fits_is_taken(found: dict[str, Option], choice: Choice) -> None:
    assert pick_supply(found) == choice


def bundle(folder: Path, *, arch: str = "amd64", **more: str) -> str:
    file = folder / "a.tar"
    said = Description(arch, read_versions(PROJECT) | more, "node:1", "registry:1", (), {})
    with file.open("wb") as target:
        writer = Writer(target)
        writer.put("bundle.json", said.dump())
        writer.close()
    return str(file)


def choose(config: Config, **more: Any) -> Choice:
    return auto.choose_supply(FakeShell({}), config, PROJECT, **more)


def test_a_bundle_that_fits(tmp_path: Path) -> None:
    config = Config(arch="amd64", bundle=BundleSettings(file=bundle(tmp_path)))
    assert choose(config) == Choice("bundle", "a.tar has what this checkout needs")
    assert choose(replace(config, arch="arm64")).supply == "source"
    assert choose(config, without="bundle").supply == "source"


@pytest.mark.parametrize("content", [b"", b"no bundle"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(content)
    choice = choose(Config(bundle=BundleSettings(file=str(file))))
    assert choice.supply == "source"
    assert "is not a bundle" in choice.why


def test_a_bundle_of_another_version(tmp_path: Path) -> None:
    config = Config(arch="amd64", bundle=BundleSettings(file=bundle(tmp_path, triggers="v0.1.0")))
    assert "not bundle: a.tar was made for another" in choose(config).why


def mirrored(server: RegistryServer, **more: Any) -> Config:
    return Config(arch="amd64", mirror=MirrorSettings(registry=server.address, folder="team", plain_http="on", **more))


@pytest.mark.parametrize(
    ("status", "supply", "why"),
    [
        (200, "mirror", "has what this checkout needs"),
        (401, "source", "wants a login"),
        (403, "source", "does not let us in"),
        (404, "source", "has no environment for this checkout"),
        (500, "source", "answers 500"),
    ],
)
def test_a_mirror_by_what_it_answers(monkeypatch: pytest.MonkeyPatch, status: int, supply: str, why: str) -> None:
    monkeypatch.setattr(auto, "LIMIT", 60.0)  # it answers at once, but the machine may be busy
    with RegistryServer(default=status) as server:
        choice = choose(mirrored(server))
        assert choice.supply == supply
        assert f"{server.address} {why}" in choice.why
        assert (
            server.heard[0]
            == f"HEAD /v2/team/environment/manifests/{make_environment_tag('amd64', read_versions(PROJECT))}"
        )


def test_a_mirror_that_never_answers_costs_the_limit_and_no_more() -> None:
    with RegistryServer(delay=600) as server:
        choice = choose(mirrored(server))
    assert choice.supply == "source"
    assert "does not answer" in choice.why


def test_an_environment_keeps_what_it_was_made_with() -> None:
    with RegistryServer(default=404) as server:
        assert choose(mirrored(server), made_with="mirror") == Choice("mirror", "environment demo was made with it")
        assert choose(mirrored(server), made_with="source").supply == "source"
        assert server.heard == []


def test_what_it_was_made_with_needs_its_settings() -> None:
    with pytest.raises(UsageError, match=r"made with supply bundle, but bundle\.file is not set"):
        choose(Config(), made_with="bundle")


def test_it_is_remembered_once_there_is_something(tmp_path: Path) -> None:
    identity = Identity(tmp_path / "demo", "demo")
    identity.save_supply("mirror")
    assert identity.read_supply() == ""
    identity.ensure_ca()
    identity.save_supply("mirror")
    assert identity.read_supply() == "mirror"
    identity.delete()
    assert identity.read_supply() == ""


def world(tmp_path: Path, config: Config, verb: str) -> Any:
    paths = Paths.of(config.name, {"HOME": str(tmp_path)})
    return dispatch.make_world(config, paths, cast(Any, FakeReport()), verb)


def test_commands_get_a_supply_in_place_of_auto(tmp_path: Path) -> None:
    config = Config(supply="auto", arch="amd64", bundle=BundleSettings(file=bundle(tmp_path)))
    up = world(tmp_path, config, "up")
    assert (up.config.supply, up.supply_why) == ("bundle", "auto: a.tar has what this checkout needs")
    assert world(tmp_path, config, "bundle").config.supply == "source", "it is not written from itself"
    assert world(tmp_path, config, "down").config.supply == "source"
    assert world(tmp_path, config, "config").config.supply == "auto"
    up.identity.ensure_ca()
    up.identity.save_supply("source")
    assert world(tmp_path, config, "up").config.supply == "source"
    assert world(tmp_path, replace(config, supply="bundle"), "up").config.supply == "bundle"


def upstream(folder: Path, server: RegistryServer) -> Config:
    """Settings whose lock is whole, and for which that server is the copy of every public host."""
    needs = upstream_lock.read_wanted(PROJECT)
    digest = f"sha256:{'a' * 64}"
    here = {"amd64": upstream_lock.Platform(digest, 1)}
    lock = upstream_lock.PublicLock(
        {name: upstream_lock.Document(path, "b" * 64, 1) for name, path in needs.documents.items()},
        {
            name: upstream_lock.PublicImage(str(upstream_lock.strip_digest(each)), digest, here)
            for name, each in needs.images.items()
        },
    )
    file = folder / "lock.json"
    file.write_text(lock.dump())
    copies = tuple(sorted({f"{each.domain}={server.address}" for each in needs.images.values()}))
    address = f"http://{server.address}/releases"
    return Config(
        arch="amd64",
        upstream=UpstreamSettings(releases=address, registries=copies, lock=str(file), plain_http="on"),
    )


def test_public_hosts_that_answer(tmp_path: Path) -> None:
    with RegistryServer() as server:
        choice = choose(upstream(tmp_path, server))
        assert (choice.supply, "or copies of them, answer" in choice.why) == ("upstream", True)
        config = upstream(tmp_path, server)
    choice = choose(config)
    assert choice.supply == "source"
    assert f"not upstream: {server.address} does not answer" in choice.why


def test_a_lock_that_is_not_complete_takes_nothing_from_public_hosts(tmp_path: Path) -> None:
    with RegistryServer() as server:
        config = upstream(tmp_path, server)
        (tmp_path / "lock.json").write_text(upstream_lock.PublicLock().dump())
        choice = choose(config)
    assert choice.supply == "source"
    assert "is not complete (invoke images --lock)" in choice.why
    assert server.heard == []
