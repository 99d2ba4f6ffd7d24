"""The end of an environment, however it comes: nothing of it stays."""

from __future__ import annotations

import signal

import pytest

from bootstrap.core import constants
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.conftest import USERS_KUBECONFIG
from tests.e2e.docker_client import inspect
from tests.e2e.footprint import footprint, leftovers
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e


def _gone(product: Product, world: World) -> None:
    """`down`, and proof."""
    before = footprint(world)
    assert before.volumes
    product.run("down")
    assert leftovers(product.world(), before, (product.kubeconfig, USERS_KUBECONFIG)) == []


def test_down_leaves_nothing(product: Product, world: World) -> None:
    _gone(product, world)
    assert product.kubeconfig.exists(), "the file is the user's"


def test_down_on_nothing_is_fine(product: Product, world: World) -> None:
    answer = product.run("down")
    assert answer.code == 0
    assert app.status(product, code=1)["endpoints"] == {}


def test_a_stopped_up_can_be_taken_down_at_once(product: Product, world: World) -> None:
    product.run("down")
    with product.running("up") as stopped:
        stopped.until_said("ok   registry")
        stopped.signal(signal.SIGINT)
        answer = stopped.end(30)
    assert answer.code == 130
    assert "invoke down" in answer.text
    assert "Traceback" not in answer.text
    assert inspect(product.world(), "network", constants.network(product.name)) is not None
    _gone(product, product.world())
