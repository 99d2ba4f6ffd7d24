"""Authorities of the settings: read, laid beside the machine's, and told to everyone who has to know them."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.core import constants, pki
from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import LockedImage, Object, Pending, Ready
from bootstrap.settings import ca_file
from bootstrap.settings.config import Config, MirrorSettings
from bootstrap.steps import manifest_catalog
from bootstrap.steps.credentials import make_credentials
from bootstrap.steps.node_trust import OTHERS, make_trust_files
from bootstrap.steps.registry import RegistryStep
from bootstrap.world.environment_store import _now
from tests.unit.step_world import FakeRegistry, make


@pytest.fixture
def company(tmp_path: Path) -> str:
    """A file with an authority."""
    path = tmp_path / "company.pem"
    path.write_bytes(pki.make_authority("company", _now()).certificate)
    return str(path)


def test_programs_here_are_told_of_both(tmp_path: Path, company: str) -> None:
    machine = tmp_path / "machine.pem"
    machine.write_text("machine's own")
    config = Config(ca_file=company)
    told = ca_file.write_bundle(config, {"SSL_CERT_FILE": str(machine)}, tmp_path / "state")
    assert set(told) == set(ca_file.VARIABLES)
    [bundle] = set(told.values())
    assert Path(bundle).read_text() == "machine's own\n" + Path(company).read_text()
    again = ca_file.write_bundle(config, {"SSL_CERT_FILE": str(machine)}, tmp_path / "state")
    assert again == told


def test_nothing_is_told_without_the_setting(tmp_path: Path) -> None:
    assert ca_file.write_bundle(Config(), {}, tmp_path / "state") == {}
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("name", "said"), [("missing", "cannot be read"), ("empty", "holds no certificate")])
def test_a_file_that_is_none(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(PreconditionError, match=said) as raised:
        ca_file.read("ca_file", str(tmp_path / name))
    assert raised.value.hint == "--set ca_file=FILE"


def certificates(found: list[Object], namespace: str) -> str:
    [one] = [each for each in found if each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == namespace]
    return str(one["data"]["ca.crt"])


def test_the_cluster_is_told(tmp_path: Path, company: str) -> None:
    world = make(tmp_path, Config(ca_file=company))
    own, further = world.identity.ensure_ca().certificate.decode(), Path(company).read_text()
    for namespace in (constants.RUNS, constants.BUILD):
        assert certificates(make_credentials(world.open()), namespace) == own + further
    server = next(each for each in make_credentials(world.open()) if each["metadata"]["name"] == "buildkit-server")
    assert b64decode(server["data"]["ca.crt"]).decode() == own, "who may be a client is the environment's affair alone"
    mirror = MirrorSettings(registry="mirror.example", ca_file=company)
    world.config = Config(context="far", supply="mirror", mirror=mirror)
    assert certificates(make_credentials(world.open()), constants.RUNS) == own + further


def test_other_authorities_make_another_pod_of_buildkits(tmp_path: Path, company: str) -> None:
    world = make(tmp_path)
    world.images.images["buildkit"] = LockedImage("buildkit", f"{constants.REPOSITORY}/buildkit", "sha256:" + "c" * 64)

    def template() -> Object:
        found = manifest_catalog.make_builder_step(world.open()).objects(world.open())
        [one] = [each["spec"]["template"] for each in found if each["kind"] == "Deployment"]
        return dict(one)

    before = template()
    assert template() == before
    world.config = replace(world.config, ca_file=company)
    assert template()["metadata"]["annotations"] != before["metadata"]["annotations"]


def test_nodes_are_told_but_not_those_of_the_users(tmp_path: Path, company: str) -> None:
    world = make(tmp_path, Config(ca_file=company))
    assert make_trust_files(world.open())[f"{OTHERS}/ca.crt"] == Path(company).read_text()
    world.config = Config()
    assert make_trust_files(world.open())[f"{OTHERS}/hosts.toml"] == ""
    world.config = Config(ca_file=company, context="kind-theirs")
    assert not any(path.startswith(OTHERS) for path in make_trust_files(world.open()))


class Registry(FakeRegistry):
    def append(self, repository: str, layer: Path, to: str) -> None:
        assert b"etc/ssl/certs/ca-certificates.crt" in layer.read_bytes()
        self.held[to] = "sha256:with-authorities"


def test_what_builds_start_from_trusts_them(tmp_path: Path, company: str) -> None:
    world = make(tmp_path)
    world.served = Registry()
    step = RegistryStep()
    world.engine.create_network(constants.network("demo"))
    step.apply(world.open())
    assert isinstance(step.check(world.open()), Ready)
    plain = world.served.held["library/golang:1"]
    world.config = replace(world.config, ca_file=company)
    assert isinstance(step.check(world.open()), Pending)
    step.apply(world.open())
    assert isinstance(step.check(world.open()), Ready)
    assert world.served.held["library/golang:1"] == "sha256:with-authorities" != plain
    world.served.held["library/golang:1"] = plain
    verdict = step.check(world.open())
    assert verdict == Pending("library/golang:1 trusts other CAs than ca_file")
