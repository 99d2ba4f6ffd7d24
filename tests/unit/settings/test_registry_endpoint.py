"""Which registry pods and builds use, and what follows from it."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Lock, LockedImage, Object, Secret
from bootstrap.objects import run_spec
from bootstrap.settings import registry_endpoint
from bootstrap.settings.config import Config, MirrorSettings, PipelineSettings, RegistrySettings
from bootstrap.settings.registry_endpoint import RegistryEndpoint
from bootstrap.steps import credentials, manifest_catalog
from bootstrap.steps.manifest_step import render
from tests.unit.step_world import StepWorld, make

MIRROR = MirrorSettings(registry="mirror.example:5000", username="puller", password=Secret("hush"))
THERE = Config(context="far", supply="mirror", mirror=MIRROR)
LOGS_IN = Lock({"go-echo": LockedImage("go-echo", "mirror.example/go-echo", "sha256:" + "1" * 64)}, pull_secret="login")


@pytest.mark.parametrize(
    ("config", "elsewhere"),
    [
        (Config(), False),
        (Config(context="kind-x"), False),
        (Config(supply="mirror", mirror=MIRROR), False),
        (THERE, True),
    ],
)
def test_only_a_cluster_of_the_users_pulls_from_the_mirror(config: Config, elsewhere: bool) -> None:
    assert config.elsewhere is elsewhere
    assert (registry_endpoint.choose_endpoint(config).host == "mirror.example:5000") is elsewhere


def test_where_what_is_built_goes() -> None:
    assert run_spec.get_image(Config()) == "registry.tekton.internal:5000/demo/go-echo"
    assert run_spec.get_image(THERE) == "mirror.example:5000/tekton-bootstrap/demo/go-echo"
    mine = PipelineSettings(image="mirror.example:5000/team/shop")
    assert run_spec.get_image(replace(THERE, pipeline=mine)) == "mirror.example:5000/team/shop"


def test_buildkit_looks_for_base_images_where_they_are() -> None:
    text = registry_endpoint.render_buildkit_config(RegistryEndpoint("mirror.example:5000", "team/set"), "/ca.crt", 3)
    assert "[worker.oci]\n  max-parallelism = 3\n" in text
    assert 'mirrors = ["mirror.example:5000/team/set"]' in text
    assert '[registry."mirror.example:5000"]\n  ca = ["/ca.crt"]' in text
    assert "http = true" in registry_endpoint.render_buildkit_config(
        RegistryEndpoint("mirror.example", plain=True), "/ca.crt", 3
    )


def world_of(home: Path, config: Config = THERE) -> StepWorld:
    world = make(home, config)
    world.images.pull_secret = constants.PULL_SECRET if config.elsewhere else ""
    return world


def secret_of(found: list[Object], name: str, namespace: str) -> dict[str, str]:
    [one] = [each for each in found if each["metadata"]["name"] == name and each["metadata"]["namespace"] == namespace]
    return {key: b64decode(value).decode() for key, value in one["data"].items()}


def test_pods_and_pushes_log_in_to_the_mirror(tmp_path: Path) -> None:
    found = credentials.make_credentials(world_of(tmp_path).open())
    for namespace in (constants.RUNS, constants.BUILD, constants.GIT):
        data = json.loads(secret_of(found, constants.PULL_SECRET, namespace)[".dockerconfigjson"])
        assert data["auths"]["mirror.example:5000"]["password"] == "hush"
    assert secret_of(found, "docker-auth", constants.RUNS) == {"username": "puller", "password": "hush"}
    [push] = [each for each in found if each["metadata"]["name"] == "docker-auth"]
    assert push["metadata"]["annotations"] == {"tekton.dev/docker-0": "https://mirror.example:5000"}


def test_a_mirror_that_asks_nobody_needs_no_login(tmp_path: Path) -> None:
    world = world_of(tmp_path, replace(THERE, mirror=MirrorSettings(registry="mirror.example")))
    world.images.pull_secret = ""
    found = credentials.make_credentials(world.open())
    assert constants.PULL_SECRET not in {each["metadata"]["name"] for each in found}
    [push] = [each for each in found if each["metadata"]["name"] == "docker-auth"]
    assert "annotations" not in push["metadata"]


def test_the_environments_own_registry_keeps_its_random_password(tmp_path: Path) -> None:
    world = world_of(tmp_path, Config(registry=RegistrySettings(username="me")))
    login = credentials.read_registry_login(world.open())
    assert login == {"username": "me", "password": world.identity.ensure_password("registry", Secret("")).reveal()}


POD: Object = {"containers": [{"name": "a", "image": "image.local/go-echo"}]}


def deployment(account: str = "") -> Object:
    pod = POD | ({"serviceAccountName": account} if account else {})
    meta: Object = {"name": "a", "namespace": "b"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"template": {"spec": pod}}}


def test_accounts_log_in_and_so_do_pods_without_one() -> None:
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "namespace": "b"}}
    wanted = [{"name": "login"}]
    found = render(LOGS_IN, [account, deployment(), deployment("a")])
    assert found[0]["imagePullSecrets"] == wanted
    specs = [each["spec"]["template"]["spec"] for each in found[1:]]
    assert [spec.get("imagePullSecrets") for spec in specs] == [wanted, None]
    without = render(replace(LOGS_IN, pull_secret=""), [account, deployment()])
    assert "imagePullSecrets" not in str(without)


def test_the_application_logs_in_where_it_is_deployed(tmp_path: Path) -> None:
    config = replace(THERE, target=replace(THERE.target, namespace="shop"))
    world = world_of(tmp_path, config)
    world.images.images["go-echo"] = LockedImage("go-echo", "mirror.example:5000/x/go-echo", "sha256:" + "c" * 64)
    found = manifest_catalog.render_demo(world.open())
    assert secret_of(found, constants.PULL_SECRET, "shop")
    [app] = [each for each in found if each["kind"] == "Deployment"]
    assert app["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": constants.PULL_SECRET}]
