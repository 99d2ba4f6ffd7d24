"""What ends first, and what `status` says of it."""

from __future__ import annotations

import datetime
import json
from base64 import b64encode
from pathlib import Path

import pytest

from bootstrap.commands import expiry, status
from bootstrap.core import pki
from tests.unit.step_world import StepWorld, make

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    return make(tmp_path)


def write_kubeconfig(world: StepWorld, days: int) -> None:
    ca = pki.make_authority("kubernetes", NOW)
    pair = pki.issue_certificate(ca, "kubernetes-admin", (), NOW, days)
    name = world.open().context
    ca_data, certificate, key = (b64encode(each).decode() for each in (ca.certificate, pair.certificate, pair.key))
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": ca_data}}
        ],
        "users": [{"name": "u", "user": {"client-certificate-data": certificate, "client-key-data": key}}],
    }
    path = world.open().kubeconfig
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def test_nothing_ends_where_nothing_is(world: StepWorld) -> None:
    assert expiry.find_nearest_expiry(world.open()) is None


def test_the_environments_own_certificates_and_the_kubeconfigs_are_looked_at(world: StepWorld) -> None:
    world.identity.ensure_certificate("registry", ["localhost"])
    found = expiry.find_nearest_expiry(world.open())
    assert found
    assert found.what in ("certificate ca of the environment", "certificate registry of the environment")
    assert 3600 < found.count_days(NOW) <= 3650
    write_kubeconfig(world, 20)
    found = expiry.find_nearest_expiry(world.open())
    assert found
    assert found.what == "certificate of the kubeconfig for kind-demo"
    assert found.count_days(NOW - datetime.timedelta(hours=1)) == 20
    assert "then invoke down and invoke up" in found.hint


def test_a_kubeconfig_that_logs_in_otherwise_tells_of_no_certificate(world: StepWorld) -> None:
    write_kubeconfig(world, 20)
    path = world.open().kubeconfig
    document = json.loads(path.read_text())
    document["users"][0]["user"] = {"token": "t"}
    path.write_text(json.dumps(document))
    assert expiry.find_nearest_expiry(world.open()) is None


@pytest.mark.parametrize(("days", "warned"), [(400, False), (12, True), (-2, True)])
def test_status_warns_a_month_before(
    world: StepWorld, monkeypatch: pytest.MonkeyPatch, days: int, *, warned: bool
) -> None:
    at = NOW + datetime.timedelta(days=days, hours=1)
    found = expiry.Expiry("certificate x of the environment", at, "invoke up")
    monkeypatch.setattr(status, "find_nearest_expiry", lambda _: found)
    monkeypatch.setattr("bootstrap.steps.graph.list_steps", lambda _: [])
    status.status(world.open())
    assert ("line", f"  expires    {at:%Y-%m-%d}, certificate x of the environment") in world.report.printed
    told = [str(each) for each in world.report.printed if each[0] == "warn"]
    assert bool(told) == warned
    if warned:
        assert f"ends in {max(days, 0)} days" in told[0]
        assert "invoke up" in told[0]
