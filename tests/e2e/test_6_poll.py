"""Pull mode: with nobody told of a push, a poll finds it."""

from __future__ import annotations

import pytest

from bootstrap.commands.follow_run import API
from bootstrap.core import constants
from bootstrap.incluster.run_names import TRIGGER, make_triggered_run_name
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e


def runs(world: World) -> dict[str, str]:
    """Run -> how it arrived."""
    found = world.kube.list(API, "PipelineRun", constants.RUNS)
    return {run["metadata"]["name"]: run["metadata"]["labels"].get(TRIGGER, "") for run in found}


def test_a_poll_finds_a_push_that_nobody_told_of(product: Product, world: World, repository: Repository) -> None:
    product.run("poll")
    before = runs(world)
    assert "poll" not in before.values(), "what is there at first is remembered only"
    commit = repository.push("main", "Found by polling", "README.md", "\nNobody tells.\n")
    name = make_triggered_run_name(constants.GIT_URL, commit)
    product.run("poll")
    answer = product.run("test-run")
    assert f"run {name} · commit {commit[:7]} · started by the poller" in answer.out
    product.run("poll")
    assert runs(world).items() - before.items() == {(name, "poll")}
    assert app.version(product) == commit


def test_a_repository_that_cannot_be_read_is_told_everywhere(product: Product, world: World) -> None:
    gone = "http://git.git.svc.cluster.local/gone.git"
    assert product.run("up", "--set", f"poll.repositories={constants.GIT_URL},{gone}").code == 0
    try:
        answer = product.run("poll", code=1)
        assert gone in answer.out
        status = product.run("status", "--set", f"poll.repositories={constants.GIT_URL},{gone}").out
        assert "1 of 2 failed" in status
        events = world.kube.list("v1", "Event", constants.RUNS)
        assert any(event["reason"] == "PollFailed" and gone in event["message"] for event in events)
    finally:
        assert product.run("up").code == 0
