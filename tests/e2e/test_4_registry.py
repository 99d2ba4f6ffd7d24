"""The registry: who may, from where, and that pods pull from it."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.world import World
from tests.e2e.docker_client import inspect
from tests.e2e.product import Product
from tests.e2e.receiver import restricted, wait_for_pod

pytestmark = pytest.mark.e2e
IMAGE = "e2e/pause:1"


def _ask(world: World, user: str = "", password: str = "") -> int:
    """HTTP status of its root, over TLS that the environment's CA vouches for."""
    port = world.engine.find_port(constants.registry_container(world.config.name), 5000)
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/v2/", headers={"Authorization": f"Basic {login}"} if user else {}
    )
    context = ssl.create_default_context(cafile=str(world.identity.ca_file))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        return int(opener.open(request, timeout=5).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_wants_the_password(product: Product, world: World) -> None:
    assert _ask(world) == 401
    assert _ask(world, "builder", "wrong") == 401
    assert _ask(world, "builder", product.registry_password) == 200


def test_it_listens_on_loopback_only(world: World) -> None:
    document = inspect(world, "container", constants.registry_container(world.config.name))
    assert document
    assert {each["HostIp"] for each in document["NetworkSettings"]["Ports"]["5000/tcp"]} == {"127.0.0.1"}


def test_what_is_pushed_can_be_pulled(world: World, tmp_path: Path) -> None:
    pushed = world.open_registry().push(world.images.list_layouts()["pause"], IMAGE)
    assert world.open_registry().read_digest(IMAGE) == pushed
    world.open_registry().pull(f"{IMAGE.partition(':')[0]}@{pushed}", tmp_path / "pulled")
    assert (tmp_path / "pulled/index.json").exists()


def test_a_pod_pulls_without_a_secret_of_its_own(world: World) -> None:
    world.open_registry().push(world.images.list_layouts()["pause"], IMAGE)
    world.kube.apply([restricted("pulls", f"{constants.REGISTRY}/{IMAGE}", imagePullPolicy="Always")])
    wait_for_pod(world, "pulls")
