"""A chat robot hears how runs end, and a notification that fails is told by status and fails nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest

from bootstrap.commands import follow_run
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.objects.run_status import RunState
from bootstrap.world import World
from tests.e2e import app, receiver
from tests.e2e.product import Product
from tests.e2e.receiver import received
from tests.e2e.repository import Repository
from tests.robot_host import SECRET

pytestmark = pytest.mark.e2e
ROBOT = "http://receiver.e2e.svc.cluster.local:8080/{kind}/robot?token={token}&busy=1"


def settings(kind: str, **other: str) -> tuple[str, ...]:
    """other: the address' token, or the secret, where they are not the robot's own."""
    given = {"token": "e2e", "secret": SECRET} | other
    values = {"kind": kind, "url": ROBOT.format(kind=kind, token=given["token"]), "secret": given["secret"]}
    return tuple(word for key, value in values.items() for word in ("--set", f"notify.{key}={value}"))


@pytest.fixture(scope="module", autouse=True)
def back(product: Product, world: World) -> Iterator[None]:
    """Notifications go to the receiver again afterwards."""
    app.address(product)  # with other settings `status` says that `up` is due
    yield
    assert product.run("up").code == 0


def told(world: World) -> list[dict[str, dict[str, object]]]:
    return [message for message in received(world) if "robot" in message]


def test_success_and_failure_are_told_and_a_busy_robot_again(
    product: Product, world: World, repository: Repository
) -> None:
    product.run("up", *settings("dingtalk"))
    repository.push("main", "Tell <@all> the robot", "README.md", "\nTold.\n")
    assert "ok   notify      sent" in product.run("test-run").out
    busy, good = told(world)[-2:]
    assert (busy["answer"]["errcode"], good["answer"]["errcode"]) == (-1, 0)
    assert "succeeded" in str(good["robot"])
    assert "<@all>" not in str(good["robot"])
    serving = app.version(product)
    broken = repository.push("main", "Break for the robot", "main.go", "\nthis is no Go\n")
    assert product.run("test-run", code=1).code == 1
    assert "failed task: build-image" in str(told(world)[-1]["robot"])
    assert broken[:12] in str(told(world)[-1]["robot"])
    assert app.version(product) == serving
    repository.git("revert", "--no-edit", broken)
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")


def test_a_robot_that_refuses_fails_no_run_and_status_says_so(product: Product, world: World) -> None:
    refused = settings("wecom", secret="", token="")
    product.run("up", *refused)
    assert product.run("test-run").code == 0
    answer = product.run("status", *refused)
    assert answer.code == 0
    assert "errcode 93000" in answer.text
    document = json.loads(product.run("status", "--json", *refused).last)
    assert "errcode 93000" in next(step["why"] for step in document["steps"] if step["name"] == "pipeline")
    assert "robot?" not in answer.text


def stuck(world: World, limit: str = "") -> str:
    """A run whose first task waits for a server that hangs; its name, once that task runs. limit: of that task."""
    made = follow_run.compose_run(world, "main", secrets.token_hex(20), repository=receiver.HANG)
    if limit:
        [clone] = [each for each in made["spec"]["taskRunSpecs"] if each["pipelineTaskName"] == "git-clone"]
        clone["timeout"] = limit
    name = str(world.kube.create(made)["metadata"]["name"])

    def probe() -> Verdict:
        clone = follow_run.read_run(world, name).task("git-clone")
        return Ready() if clone and clone.state is RunState.RUNNING else Pending("git-clone does not run")

    assert isinstance(until(probe, clock=world.clock, limit=60, what=name), Ready)
    return name


def ended(world: World, name: str) -> RunState:
    def probe() -> Verdict:
        return Ready() if follow_run.read_run(world, name).state.is_over else Pending("it is not over")

    until(probe, clock=world.clock, limit=120, what=name)
    return follow_run.read_run(world, name).state


def test_runs_that_are_cancelled_or_take_too_long_are_told(product: Product, world: World) -> None:
    product.run("up", *settings("feishu"))
    late, name = stuck(world, "20s"), stuck(world)
    assert "its notification is still sent" in product.run("cancel", "--run", name).out
    assert ended(world, name) is RunState.CANCELLED
    assert ended(world, late) is RunState.TIMED_OUT
    for words in (f"{name} cancelled in", f"{late} timed out in"):
        answers = [each["answer"] for each in told(world) if words in str(each["robot"])]
        assert answers[-1]["code"] == 0, words
