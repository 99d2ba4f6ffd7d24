"""The end of an environment, however it comes: nothing of it stays."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.world import World
from bootstrap.world.shell import STOP_GRACE
from tests.e2e import app
from tests.e2e.conftest import USERS_KUBECONFIG
from tests.e2e.docker_client import inspect
from tests.e2e.footprint import footprint, leftovers, processes_of
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
GRACE = 2 * STOP_GRACE + 5
"""Seconds that the guard of a killed command may take: SIGTERM, its grace, SIGKILL; and some for a busy machine."""


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


@pytest.mark.parametrize(
    ("words", "seconds", "number"),
    [
        ("ok   registry", 0, signal.SIGKILL),
        ("...  cluster", 1, signal.SIGKILL),
        ("...  cluster", 8, signal.SIGTERM),
        ("...  tekton", 1, signal.SIGKILL),
    ],
)
def test_an_up_may_end_at_any_point(
    product: Product, world: World, words: str, seconds: float, number: signal.Signals
) -> None:
    """Each goes on from where the one before it was ended, at once, while what that one began may still end."""
    with product.running("up") as ended:
        ended.until_said(words, limit=400)
        time.sleep(seconds)
        ended.signal(number)
        answer = ended.end(30)
    assert answer.code == (130 if number == signal.SIGTERM else -number)
    assert not re.search(r"^(error:|  FAIL)", answer.text, re.MULTILINE), answer
    assert "Traceback" not in answer.text


def test_no_child_of_them_is_left(product: Product, world: World) -> None:
    assert _strays_after(product.name, GRACE) == []


def test_what_they_began_is_gone_on_with_by_two_at_once(product: Product, world: World) -> None:
    """Of the two one waits for the other."""
    with product.running("up") as first:
        first.until_said("...")
        second = product.run("up", limit=600)
        answer = first.end(400)
    assert answer.code == 0
    assert "waiting for another command" in second.err
    assert {step["verdict"] for step in app.status(product)["steps"]} == {"ready"}


def _strays_after(name: str, seconds: float) -> list[str]:
    """What is left after `seconds`; looked at until nothing is."""
    end = time.monotonic() + seconds
    while (found := _strays(name)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _strays(name: str) -> list[str]:
    """Programs of ours that outlived their command. What runs in containers belongs to those."""
    return [
        words for _, words in processes_of(name) if Path(words.split()[0]).name in ("kind", "docker", "crane", "python")
    ]


def test_a_stopped_up_can_be_taken_down_at_once(product: Product, world: World) -> None:
    _gone(product, product.world())
    with product.running("up") as stopped:
        stopped.until_said("ok   registry")
        stopped.signal(signal.SIGINT)
        answer = stopped.end(30)
    assert answer.code == 130
    assert "invoke down" in answer.text
    assert "Traceback" not in answer.text
    assert inspect(product.world(), "network", constants.network(product.name)) is not None
    _gone(product, product.world())
