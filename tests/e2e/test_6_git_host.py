"""A repository of another git host, with a password of its own, in place of the environment's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.docker_client import inspect
from tests.e2e.product import Product
from tests.e2e.repository import Repository
from tests.git_host import PASSWORD, USER, Bare, GitHost, git_host

pytestmark = pytest.mark.e2e


@pytest.fixture
def host(product: Product, world: World, tmp_path: Path) -> Iterator[GitHost]:
    """On this machine, where pods reach it: at the gateway of the environment's network."""
    network = inspect(world, "network", constants.network(product.name))
    assert network
    with git_host(tmp_path, network["IPAM"]["Config"][0]["Gateway"]) as host:
        yield host


def served(address: str) -> str:
    return str(json.loads(app.ask(f"{address}/version"))["commit"])


def test_it_is_cloned_with_its_password_built_and_serves(
    product: Product, world: World, repository: Repository, host: GitHost
) -> None:
    there = Bare(host.folder / "shop.git")
    repository.git("push", "--quiet", str(there.folder), "main:main")
    tree = there.git("rev-parse", "main^{tree}")
    commit = there.git("commit-tree", tree, "-p", "main", "-m", "Only there")
    there.refs({"refs/heads/main": commit})
    settings = {
        "INVOKE_GIT_URL": host.url("locked/shop"),
        "INVOKE_GIT_USERNAME": USER,
        "INVOKE_GIT_PASSWORD": PASSWORD,
    }
    address = app.address(product)
    product.run("up", env=settings)
    answer = product.run("test-run", env=settings)
    assert f"/version answers {commit[:7]}" in answer.last
    assert served(address) == commit
    assert any(path.startswith("/locked/shop.git") for path in host.asked)
    assert PASSWORD not in answer.text
    wrong = settings | {"INVOKE_GIT_PASSWORD": "another"}
    product.run("up", env=wrong)
    refused = product.run("test-run", env=wrong, code=1)
    assert "git-clone" in refused.err
    assert served(address) == commit
    product.run("up")
    product.run("test-run")
    assert app.version(product) == repository.git("rev-parse", "main")
