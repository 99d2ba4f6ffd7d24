"""Into a registry with TLS and a password, and an environment from it, with an engine of its own and no other host."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bootstrap import names
from bootstrap.commands import make_world
from bootstrap.config import Config
from bootstrap.paths import Paths
from bootstrap.world import World
from bootstrap.world.report import TerminalReport
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def registry(product: Product, world: World) -> dict[str, str]:
    """Variables for the environment's own registry, which is as good as any: it has TLS by a CA of its own."""
    port = world.engine.port(names.registry_container(product.name), 5000)
    return {
        "INVOKE_MIRROR_REGISTRY": f"127.0.0.1:{port}",
        "INVOKE_MIRROR_FOLDER": "team/mirror",
        "INVOKE_MIRROR_USERNAME": world.config.registry.username,
        "INVOKE_MIRROR_PASSWORD": product.registry_password,
        "INVOKE_MIRROR_CA_FILE": str(world.identity.ca_file),
    }


@pytest.fixture(scope="module")
def apart(product: Product, registry: dict[str, str]) -> Iterator[dict[str, str]]:
    """Another machine's engine, from which only this registry answers."""
    given = registry | {
        "XDG_STATE_HOME": str(product.folder / "mirrored"),
        "INVOKE_SUPPLY": "mirror",
        "INVOKE_REGISTRY_PASSWORD": "",
        "GOPROXY": "off",
        "NO_PROXY": "127.0.0.1,localhost",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
    }
    yield given
    product.run("down", name=f"{product.name}-mirrored", env=given)
    # Not `down --purge`: its cache is everybody's.
    make_world(Config(name=f"{product.name}-mirrored"), Paths.of("any", given), TerminalReport()).engine.purge()


def test_a_mirror_is_planned_filled_and_checked(product: Product, registry: dict[str, str]) -> None:
    plan = product.run("mirror", "--plan", env=registry)
    assert "25 of 25 to push" in plan.last
    filled = json.loads(product.run("mirror", "--json", env=registry, limit=900).last)
    assert filled["images"] == filled["pushed"] == 25
    again = json.loads(product.run("mirror", "--json", env=registry).last)
    assert again["pushed"] == 0
    assert "each as it was pushed" in product.run("mirror", "--check", env=registry).last
    assert registry["INVOKE_MIRROR_PASSWORD"] not in plan.text


def test_a_wrong_password_is_explained(product: Product, registry: dict[str, str]) -> None:
    answer = product.run("mirror", env=registry | {"INVOKE_MIRROR_PASSWORD": "another-one"}, code=3)
    assert "it wants a login, or another one" in answer.err
    assert "another-one" not in answer.text


def test_the_whole_environment_comes_from_the_mirror(product: Product, apart: dict[str, str]) -> None:
    name = f"{product.name}-mirrored"
    answer = product.run("up", name=name, env=apart, limit=900)
    assert "22 images, from 127.0.0.1:" in answer.out
    assert "/version answers" in product.run("test-run", name=name, env=apart).last
    assert "nothing changed" in product.run("up", name=name, env=apart).last
