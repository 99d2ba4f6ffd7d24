"""The kubeconfig that the pipeline deploys with: minted, checked, renewed."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, PreconditionError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.settings.config import Config, TargetSettings
from bootstrap.steps.deploy_target import SAME_CLUSTER, Reach, TargetStep, check_target, find_reach, read_contents
from tests.unit.step_world import FakeKube, StepWorld, make

STEP = TargetStep()
NOW = 1_800_000_000.0
HOUR, DAY = 3600, 86400
CA = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


def token(uid: str = "u1", issued: float = NOW, hours: float = 720) -> str:
    bound = {"namespace": "demo", "serviceaccount": {"name": "pipeline-deployer", "uid": uid}}
    claims = {"iat": issued, "exp": issued + hours * HOUR, "kubernetes.io": bound}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"header.{payload}.signature"


def account(uid: str = "u1", namespace: str = "demo") -> Object:
    return {"kind": "ServiceAccount", "metadata": {"name": "pipeline-deployer", "namespace": namespace, "uid": uid}}


def kubeconfig(path: Path, server: str, *, context: str = "kind-demo", inline_ca: bool = True, **more: Any) -> Path:
    cluster: dict[str, Any] = {"server": server, **more}
    cluster |= {"certificate-authority-data": base64.b64encode(CA.encode()).decode()} if inline_ca else {}
    entry = {"name": context}
    document = {
        "current-context": context,
        "clusters": [entry | {"cluster": cluster}],
        "contexts": [entry | {"context": {"cluster": context, "user": context}}],
        "users": [entry | {"user": {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepWorld:
    world = make(tmp_path)
    monkeypatch.setattr(time, "time", lambda: NOW)
    world.kube.kubeconfig = kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:6443")
    world.kube.token_text = token()
    world.kube.put(account())
    return world


def check(world: StepWorld) -> Verdict:
    return STEP.check(world.open())


def minted(world: StepWorld) -> dict[str, Any]:
    found = world.kube.objects["Secret", constants.RUNS, "target-kubeconfig"]
    document: dict[str, Any] = yaml.safe_load(base64.b64decode(found["data"]["kubeconfig"]))
    return document


def test_it_is_minted_for_one_namespace_and_a_limited_time(world: StepWorld) -> None:
    assert check(world) == Pending("the kubeconfig of the target is missing")
    STEP.apply(world.open())
    assert check(world) == Ready("may deploy to namespace demo, for 30 days")
    assert world.kube.tokens == [("demo", "pipeline-deployer", 720 * HOUR)]
    document = minted(world)
    assert document["clusters"][0]["cluster"]["server"] == SAME_CLUSTER
    assert base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"]).decode() == CA
    assert document["contexts"][0]["context"]["namespace"] == "demo"


def test_a_token_is_renewed_when_a_third_of_its_life_is_left(world: StepWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    STEP.apply(world.open())
    monkeypatch.setattr(time, "time", lambda: NOW + 19 * DAY)
    assert check(world) == Ready("may deploy to namespace demo, for 11 days")
    monkeypatch.setattr(time, "time", lambda: NOW + 21 * DAY)
    assert check(world) == Pending("its token ends in 216 h")
    monkeypatch.setattr(time, "time", lambda: NOW + 40 * DAY)
    assert check(world) == Pending("its token ends in 0 h")


def test_a_server_that_grants_less_than_was_asked_for_is_enough(world: StepWorld) -> None:
    world.kube.token_text = token(hours=24)
    STEP.apply(world.open())
    assert check(world) == Ready("may deploy to namespace demo, for 1 days")


def test_a_deployer_that_was_made_anew_gets_a_new_token(world: StepWorld) -> None:
    STEP.apply(world.open())
    world.kube.put(account("u2"))
    assert isinstance(check(world), Pending), "the old token is no longer accepted"
    world.kube.token_text = token("u2")
    STEP.apply(world.open())
    assert isinstance(check(world), Ready)
    del world.kube.objects["ServiceAccount", "demo", "pipeline-deployer"]
    assert isinstance(check(world), Pending)


def test_another_namespace_or_address_is_another_target(world: StepWorld) -> None:
    STEP.apply(world.open())
    for settings in (TargetSettings(namespace="staging"), TargetSettings(server="https://api.example.com")):
        world.config = Config(target=settings)
        assert check(world) == Pending("the target has changed")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "users: [{user: {token: 5}}]",
        "contexts: [{context: {namespace: n}}]\nusers: [{user: {token: 5}}]",
        "contexts: [{context: {namespace: n}}]\nusers: [{user: {token: a.b.c}}]",
    ],
)
def test_a_damaged_one_is_minted_again(world: StepWorld, text: str) -> None:
    data = {"kubeconfig": base64.b64encode(text.encode()).decode()} if text else {}
    live = {"kind": "Secret", "metadata": {"name": "target-kubeconfig", "namespace": constants.RUNS}, "data": data}
    assert read_contents(live).expires == 0
    world.kube.put(live)
    assert check(world) == Pending("the target has changed")


def test_a_ca_that_the_kubeconfig_keeps_in_a_file_is_taken_from_the_cluster(world: StepWorld, tmp_path: Path) -> None:
    world.kube.kubeconfig = kubeconfig(tmp_path / "minikube", "https://127.0.0.1:6443", inline_ca=False)
    metadata = {"name": "kube-root-ca.crt", "namespace": "demo"}
    world.kube.put({"kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": CA}})
    STEP.apply(world.open())
    cluster = minted(world)["clusters"][0]["cluster"]
    assert base64.b64decode(cluster["certificate-authority-data"]).decode() == CA


@pytest.mark.parametrize(
    ("address", "context", "reached"),
    [
        ("https://127.0.0.1:35461", "kind-staging", "https://staging-control-plane:6443"),
        ("https://api.example.com:6443", "kind-staging", "https://api.example.com:6443"),
    ],
)
def test_where_a_pod_reaches_a_second_cluster(
    world: StepWorld, tmp_path: Path, address: str, context: str, reached: str
) -> None:
    file = kubeconfig(tmp_path / "second", address, context=context)
    world.other = FakeKube(kubeconfig=file, context=context)
    world.config = Config(target=TargetSettings(kubeconfig=str(file)))
    assert find_reach(world.open()) == Reach(reached)
    world.config = replace(world.config, target=replace(world.config.target, server="https://by.hand"))
    assert find_reach(world.open()) == Reach("https://by.hand")


@pytest.mark.parametrize(
    ("address", "extra", "by_hand"),
    [
        ("https://127.0.0.1:6443", {}, ""),
        ("https://api.example.com", {"proxy-url": "http://localhost:3128"}, ""),
        ("https://api.example.com", {}, "https://localhost:6443"),
    ],
)
def test_nothing_is_minted_that_no_pod_could_reach(
    world: StepWorld, tmp_path: Path, address: str, extra: dict[str, Any], by_hand: str
) -> None:
    file = kubeconfig(tmp_path / "second", address, context="other", **extra)
    world.other = FakeKube(kubeconfig=file, context="other")
    world.config = Config(target=TargetSettings(kubeconfig=str(file), server=by_hand))
    with pytest.raises(PreconditionError, match="loopback: no pod reaches it"):
        STEP.apply(world.open())


def test_the_ways_to_a_target_go_into_the_pod_with_its_address(world: StepWorld, tmp_path: Path) -> None:
    extra: dict[str, Any] = {"tls-server-name": "kubernetes", "proxy-url": "http://proxy.example.com:3128"}
    file = kubeconfig(tmp_path / "second", "https://10.0.0.9:6443", context="other", **extra)
    world.other = FakeKube(kubeconfig=file, context="other", token_text=token())
    world.other.put(account())
    world.config = Config(target=TargetSettings(kubeconfig=str(file)))
    STEP.apply(world.open())
    cluster = minted(world)["clusters"][0]["cluster"]
    assert {key: cluster[key] for key in extra} == extra
    assert isinstance(check(world), Ready)
    kubeconfig(file, "https://10.0.0.9:6443", context="other")
    assert check(world) == Pending("the target has changed")


@pytest.mark.parametrize("namespace", ["y", "08", "0e12345", "null", "1_000"])
def test_a_namespace_stays_a_text_for_every_reader_of_yaml(world: StepWorld, namespace: str) -> None:
    world.config = Config(target=TargetSettings(namespace=namespace))
    STEP.apply(world.open())
    found = world.kube.objects["Secret", constants.RUNS, "target-kubeconfig"]
    text = base64.b64decode(found["data"]["kubeconfig"]).decode()
    assert f'"namespace": "{namespace}"' in text


def test_a_target_that_cannot_work_is_found_before_anything_is_made(world: StepWorld, tmp_path: Path) -> None:
    check_target(world.open())
    file = kubeconfig(tmp_path / "second", "https://api.example.com", context="other")
    world.config = Config(target=TargetSettings(kubeconfig=str(file)))
    world.other = FakeKube(kubeconfig=file, context="other", error=ApiError("it does not answer", status=0))
    with pytest.raises(PreconditionError, match=r"^target.kubeconfig: it does not answer$"):
        check_target(world.open())
    world.other = FakeKube(kubeconfig=file, context="gone")
    with pytest.raises(PreconditionError, match="has no context gone"):
        check_target(world.open())


def test_the_token_of_a_second_cluster_is_minted_there_and_kept_here(world: StepWorld, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "second", "https://127.0.0.1:1", context="kind-staging")
    world.other = FakeKube(kubeconfig=file, context="kind-staging", token_text=token("u9"))
    world.other.put(account("u9"))
    world.config = Config(target=TargetSettings(kubeconfig=str(file)))
    STEP.apply(world.open())
    assert isinstance(check(world), Ready)
    assert (len(world.other.tokens), world.kube.tokens) == (1, [])
    assert "https://staging-control-plane:6443" in str(minted(world))


def test_undo_takes_only_what_is_ours(world: StepWorld) -> None:
    STEP.apply(world.open())
    STEP.undo(world.open())
    STEP.undo(world.open())
    assert [key[0] for key in world.kube.objects] == ["ServiceAccount"]
    theirs = {"kind": "Secret", "metadata": {"name": "target-kubeconfig", "namespace": constants.RUNS}, "data": {}}
    world.kube.put(theirs)
    STEP.undo(world.open())
    assert theirs in world.kube.objects.values()
