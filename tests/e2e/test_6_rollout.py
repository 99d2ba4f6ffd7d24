"""Rollouts that are disturbed: by another image, and by the end of their run."""

from __future__ import annotations

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.incluster.rollout import LAST_GOOD, image_of
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e


def _image(world: World) -> str:
    found = world.kube.get("apps/v1", "Deployment", "go-echo", constants.DEMO)
    assert found
    return image_of(found, "go-echo")


def _good(world: World) -> str:
    found = world.kube.get("apps/v1", "Deployment", "go-echo", constants.DEMO)
    assert found
    return str(found["metadata"]["annotations"][LAST_GOOD])


def _await_image(world: World, changed_from: str) -> str:
    def look() -> Verdict:
        return Ready() if _image(world) != changed_from else Pending("the run has not set its image yet")

    assert isinstance(until(look, clock=world.clock, limit=240, what="the rollout"), Ready)
    return _image(world)


@pytest.fixture(scope="module")
def hanging(product: Product, repository: Repository) -> str:
    """A branch whose version runs, and never gets ready."""
    repository.push("hanging", "Never ready", "main.go", "\nfunc init() { time.Sleep(time.Hour) }\n")
    return "hanging"


def test_a_run_that_is_cancelled_in_the_middle_of_its_rollout_goes_back(
    product: Product, world: World, hanging: str
) -> None:
    serving, before, good = app.version(product), _image(world), _good(world)
    with product.running("test-run", "--revision", hanging) as command:
        _await_image(world, before)
        product.run("cancel")
        command.end(120)

    def look() -> Verdict:
        return Ready() if _image(world) == before else Pending("it still has the image of the cancelled run")

    assert isinstance(until(look, clock=world.clock, limit=60, what="the way back"), Ready)
    app.await_rollout(world)
    assert (app.version(product), _good(world)) == (serving, good)


def test_an_image_that_somebody_else_sets_meanwhile_is_left_alone(product: Product, world: World, hanging: str) -> None:
    before, good = _image(world), _good(world)
    digest = before.rpartition("@")[2]
    others = f"{constants.REGISTRY}/demo/go-echo:by-hand@{digest}"
    with product.running("test-run", "--revision", hanging) as command:
        _await_image(world, before)
        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": others}]
        world.kube.patch("apps/v1", "Deployment", "go-echo", constants.DEMO, patch=patch)
        answer = command.end(240)
    assert answer.code == 1
    assert "superseded" in answer.text
    assert (_image(world), _good(world)) == (others, good)
    patch[0]["value"] = before
    world.kube.patch("apps/v1", "Deployment", "go-echo", constants.DEMO, patch=patch)
    app.await_rollout(world)
