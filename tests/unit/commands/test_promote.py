"""Promote and roll back: which image is deployed, how, and every way in which it is refused."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import promote, runs
from bootstrap.core.errors import BootstrapError, NotFound, PreconditionError, RunFailed, UsageError
from bootstrap.core.model import Object
from tests.unit.application_scene import (
    ENVIRONMENTS,
    ONE,
    PREFIX,
    REPOSITORY,
    THREE,
    TWO,
    application,
    deployment,
    ended,
    image,
    record,
    run,
    without_commit,
)
from tests.unit.step_world import FakeKube, StepWorld, make


@dataclass
class DeployKube(FakeKube):
    """A run that is created ends at once as `end` says; one that succeeds changes its Deployment and the pods."""

    end: Object = field(default_factory=ended)
    served: str = ""

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        made = super().create(wanted, dry_run=dry_run)
        assert made["spec"]["status"] == "PipelineRunPending", "the manager gives it its number"
        given = {each["name"]: each["value"] for each in made["spec"]["params"]}
        self.served = f"{given['IMAGE']}@{given['DIGEST']}"
        live = deployment(ONE, given["NAMESPACE"])
        live["spec"]["template"]["spec"]["containers"][0]["image"] = self.served
        if self.end["conditions"][0]["status"] == "True":
            self.put(live)
        self.put({**copy.deepcopy(made), "status": self.end})
        return made

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        if kind == "Pod":
            assert (namespace, labels) == (self.created[-1]["spec"]["params"][4]["value"], "app=orders")
            states = [{"imageID": self.served}]
            return [{"metadata": {"name": "p"}, "status": {"phase": "Running", "containerStatuses": states}}]
        if kind == "TaskRun":
            assert labels.startswith("tekton.dev/pipelineRun")
            return []
        assert kind in ("PipelineRun", "Application"), kind
        return super().list(api_version, kind, namespace, labels=labels)


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    made = make(tmp_path)
    made.kube = DeployKube()
    made.kube.put(application())
    return made


def created(world: StepWorld) -> Object:
    [made] = world.kube.created
    return made


def params(world: StepWorld) -> dict[str, str]:
    return {each["name"]: each["value"] for each in created(world)["spec"]["params"]}


def lines(world: StepWorld) -> list[str]:
    return [each[1] for each in world.report.printed]


def refusal(kind: type[BootstrapError], command: Any, world: StepWorld, **options: str) -> tuple[str, str]:
    with pytest.raises(kind) as caught:
        command(world.open(), app=options.pop("app", "orders"), **options)
    assert not world.kube.created
    return caught.value.message, caught.value.hint


# -- promote -----------------------------------------------------------------------------------------


def test_what_the_first_other_environment_serves_is_promoted(world: StepWorld) -> None:
    failed = run(THREE, minute=3, status=ended("False"))
    world.kube.put(run(ONE, minute=1), run(TWO, minute=2), failed, run(THREE, "canary", minute=4))
    assert promote.promote(world.open(), app="orders", to="production") == 0
    made = created(world)
    assert made["spec"]["pipelineRef"] == {"name": "deploy-image"}
    assert params(world) | {"ROLLOUT_SECONDS": ""} == {
        "COMMIT": TWO,
        "REPO": "http://git.git.svc.cluster.local/orders.git",
        "IMAGE": REPOSITORY,
        "DIGEST": image(TWO).partition("@")[2],
        "NAMESPACE": "sales",
        "NAME": "orders",
        "CONTAINER": "orders",
        "ROLLOUT_SECONDS": "",
        "PORT": "8080",
        "NOTIFY": "notify",
    }
    marks = made["metadata"]["labels"] | made["metadata"]["annotations"]
    assert marks == {
        f"{PREFIX}application": "orders",
        f"{PREFIX}environment": "production",
        f"{PREFIX}trigger": "hand",
        f"{PREFIX}commit": TWO,
        f"{PREFIX}branch": "main",
        f"{PREFIX}image-from": "staging",
    }
    [secret] = [each["secret"] for each in made["spec"]["workspaces"]]
    assert secret == {"secretName": "target-orders.production"}
    name = made["metadata"]["name"]
    assert name.startswith(f"orders--production-{TWO[:12]}-")
    first, last = lines(world)
    assert first == f"run {name} · commit {TWO[:7]} · orders to sales · promoted from staging"
    assert last.endswith(f"sales/orders runs {TWO[:7]}")


def test_a_commit_may_be_shortened_and_be_from_any_other_environment(world: StepWorld) -> None:
    world.kube.put(run(ONE, minute=1), run(TWO, minute=2), run(THREE, "canary", minute=3))
    assert promote.promote(world.open(), app="orders", to="production", commit=THREE[:7].upper()) == 0
    assert params(world)["COMMIT"] == THREE
    assert created(world)["metadata"]["annotations"][f"{PREFIX}image-from"] == "canary"


def test_what_was_promoted_can_be_promoted_on(world: StepWorld) -> None:
    moved = run(ONE, "staging", minute=5, **{"image-from": "canary"})
    moved["status"].pop("results")
    moved["spec"]["params"] += [{"name": "DIGEST", "value": image(ONE).partition("@")[2]}]
    world.kube.put(run(TWO, minute=1), moved)
    assert promote.promote(world.open(), app="orders", to="production") == 0
    assert params(world)["DIGEST"] == image(ONE).partition("@")[2]


def test_an_environment_that_gets_pushes_is_promoted_to_with_a_sentence(world: StepWorld) -> None:
    world.kube.put(run(ONE))
    assert promote.promote(world.open(), app="orders", to="canary") == 0
    assert lines(world)[0] == "canary gets pushes to canary by itself: the next one replaces this"


def test_what_serves_there_already_is_not_deployed_again(world: StepWorld) -> None:
    world.kube.put(run(ONE), deployment(ONE))
    assert promote.promote(world.open(), app="orders", to="production") == 0
    assert lines(world) == [f"production serves {ONE[:7]} already"]
    assert not world.kube.created


def test_it_is_deployed_again_if_a_run_would_replace_it(world: StepWorld) -> None:
    going = run(TWO, "production", minute=2, status={"startTime": "2026-01-01T10:02:00Z"})
    world.kube.put(run(ONE), deployment(ONE), going)
    assert promote.promote(world.open(), app="orders", to="production") == 0
    assert params(world)["COMMIT"] == ONE


def test_a_run_that_fails_fails_the_command(world: StepWorld) -> None:
    world.kube.end = ended("False", "Failed")  # type: ignore[attr-defined]
    world.kube.put(run(ONE))
    with pytest.raises(RunFailed) as caught:
        promote.promote(world.open(), app="orders", to="production")
    name = created(world)["metadata"]["name"]
    assert caught.value.hint == f"invoke logs --run {name} · invoke rerun --run {name}"


@pytest.mark.parametrize(
    ("options", "kind", "message", "hint"),
    [
        (
            {"app": "oders", "to": "production"},
            NotFound,
            "there is no application oders; did you mean orders?",
            "invoke app-list",
        ),
        (
            {},
            UsageError,
            "--to: the environment to promote to is missing; orders has staging, canary, production",
            "invoke promote orders --to production",
        ),
        (
            {"to": "prodution"},
            UsageError,
            "--to: orders has no environment prodution; did you mean production?; it has staging, canary, production",
            "invoke app-show orders",
        ),
        (
            {"to": "production", "commit": "main"},
            UsageError,
            "--commit: main is not a commit, which has 4 to 64 digits and letters from a to f",
            "",
        ),
        (
            {"to": "production", "commit": "dddd"},
            NotFound,
            "no run of dddd that succeeded in staging or canary is left; "
            f"there are staging {TWO[:7]}, staging {ONE[:7]}",
            f"invoke promote orders --to production --commit {TWO[:7]}",
        ),
        (
            {"to": "production", "commit": THREE[:7]},
            PreconditionError,
            f"{THREE[:7]} served in production itself, and in no other environment",
            f"invoke rollback orders --env production --to {THREE[:7]}",
        ),
        (
            {"to": "staging"},
            PreconditionError,
            "no run of orders that succeeded in canary is left",
            f"invoke promote orders --to staging --commit {THREE[:7]}",
        ),
    ],
)
def test_what_cannot_be_promoted_is_told_with_what_to_type(
    world: StepWorld, options: dict[str, str], kind: type[BootstrapError], message: str, hint: str
) -> None:
    world.kube.put(run(ONE, minute=1), run(TWO, minute=2), run(THREE, "production", minute=3))
    assert refusal(kind, promote.promote, world, **options) == (message, hint)


def test_a_beginning_of_two_commits_is_not_enough(world: StepWorld) -> None:
    world.kube.put(run("abcd1" + "0" * 35, minute=1), run("abcd2" + "0" * 35, minute=2))
    message, _ = refusal(UsageError, promote.promote, world, to="production", commit="abcd")
    assert message == "--commit: abcd is the beginning of staging abcd200, staging abcd100; give more of it"


def test_with_one_environment_there_is_nothing_to_promote_from(world: StepWorld) -> None:
    world.kube.put(application(ENVIRONMENTS[:1]))
    message, hint = refusal(UsageError, promote.promote, world, to="staging")
    assert message == "orders has one environment only: there is none to promote from"
    assert hint.startswith("invoke rollback orders")


def test_before_any_run_a_run_is_what_to_type(world: StepWorld) -> None:
    assert refusal(PreconditionError, promote.promote, world, to="production") == (
        "no run of orders that succeeded in staging is left",
        "invoke test-run --app orders --env staging",
    )


@pytest.mark.parametrize(("command", "options"), [(promote.promote, {"to": "production"}), (promote.rollback, {})])
def test_of_a_refused_application_nothing_is_deployed(world: StepWorld, command: Any, options: dict[str, str]) -> None:
    refused = application()
    why = "Deployment sales/orders is application invoices's"
    refused["status"] = {"conditions": [{"type": "Ready", "status": "False", "reason": "Refused", "message": why}]}
    world.kube.put(refused, run(ONE), deployment(ONE, "sales-staging", [record(ONE), record(TWO)]))
    message, hint = refusal(PreconditionError, command, world, **options)
    assert (message, hint) == (f"application orders is refused: {why}", "invoke app-show orders")


# -- rollback ----------------------------------------------------------------------------------------


def back(world: StepWorld, to: str = "") -> str:
    """The commit that is gone back to in production."""
    assert promote.rollback(world.open(), app="orders", env="production", to=to) == 0
    assert created(world)["metadata"]["annotations"][f"{PREFIX}image-from"] == "production"
    return params(world)["COMMIT"]


def test_it_goes_back_to_what_the_deployment_had_before(world: StepWorld) -> None:
    world.kube.put(deployment(THREE, records=[record(THREE), record(ONE), record(TWO)]))
    assert back(world) == ONE
    assert params(world)["DIGEST"] == image(ONE).partition("@")[2]
    assert "orders to sales · rollback" in lines(world)[0]


def test_an_image_that_was_taken_back_is_passed_over(world: StepWorld) -> None:
    records = [record(TWO, "undo"), record(THREE), record(TWO), record(ONE)]
    world.kube.put(deployment(TWO, records=records), run(THREE, "production", 3, ended("False")))
    assert back(world) == ONE


def test_an_image_whose_run_did_not_succeed_is_passed_over(world: StepWorld) -> None:
    superseded = run(TWO, "production", 2, ended("False", "Cancelled"), **{"superseded-by": "x"})
    world.kube.put(deployment(THREE, records=[record(THREE), record(TWO), record(ONE)]), superseded)
    assert back(world) == ONE


def test_back_and_back_again(world: StepWorld) -> None:
    records = [record(ONE), record(TWO), record(ONE)]
    world.kube.put(deployment(ONE, records=records), run(ONE, "production", 1), run(TWO, "production", 2))
    assert back(world) == TWO


def test_without_records_the_runs_tell(world: StepWorld) -> None:
    runs_there = [run(ONE, "production", 1), run(TWO, "production", 2), run(THREE, "production", 3)]
    world.kube.put(deployment(THREE), *runs_there, run("4d" * 20, "staging", 4))
    assert back(world) == TWO


def test_a_record_without_a_commit_has_that_of_its_run_or_is_passed_over(world: StepWorld) -> None:
    records = [record(THREE), without_commit(ONE), without_commit(TWO)]
    world.kube.put(deployment(THREE, records=records), run(TWO, "production", 2))
    assert back(world) == TWO


def test_it_goes_back_to_a_commit_of_its_own(world: StepWorld) -> None:
    world.kube.put(deployment(THREE, records=[record(THREE), record(TWO), record(ONE)]))
    assert back(world, to=ONE[:7]) == ONE


def test_the_first_environment_is_the_default_and_its_next_push_is_told_of(world: StepWorld) -> None:
    world.kube.put(deployment(TWO, "sales-staging", [record(TWO), record(ONE)]))
    assert promote.rollback(world.open(), app="orders") == 0
    assert params(world)["NAMESPACE"] == "sales-staging"
    assert lines(world)[0] == "staging gets pushes to main by itself: the next one replaces this"


def test_the_commit_that_serves_is_not_gone_back_to(world: StepWorld) -> None:
    world.kube.put(deployment(ONE, records=[record(ONE), record(TWO)]), run(ONE, "production", 1))
    assert promote.rollback(world.open(), app="orders", env="production", to=ONE[:7]) == 0
    assert lines(world) == [f"production serves {ONE[:7]} already"]


def test_what_cannot_be_gone_back_to_is_told_with_what_to_type(world: StepWorld) -> None:
    assert refusal(PreconditionError, promote.rollback, world, env="production") == (
        "there is no Deployment sales/orders: nothing was deployed to production",
        "invoke test-run --app orders --env production",
    )
    world.kube.put(deployment(ONE), run(THREE, "staging", 3))
    assert refusal(PreconditionError, promote.rollback, world, env="production") == (
        "nothing is known that production served before",
        "invoke runs --app orders",
    )
    world.kube.put(deployment(ONE, records=[record(ONE), record(TWO)]))
    assert refusal(NotFound, promote.rollback, world, env="production", to="dddd") == (
        f"nothing is known of dddd in production to go back to; there are production {TWO[:7]}",
        f"invoke rollback orders --env production --to {TWO[:7]}",
    )
    assert refusal(PreconditionError, promote.rollback, world, env="production", to=THREE[:7]) == (
        f"{THREE[:7]} served in staging, but never in production",
        f"invoke promote orders --to production --commit {THREE[:7]}",
    )
    message, hint = refusal(UsageError, promote.rollback, world, env="stagin")
    assert (message, hint) == (
        "--env: orders has no environment stagin; did you mean staging?; it has staging, canary, production",
        "invoke app-show orders",
    )


def test_a_run_that_was_promoted_runs_again_as_what_it_was(world: StepWorld) -> None:
    world.kube.put(run(ONE))
    promote.promote(world.open(), app="orders", to="production")
    first = copy.deepcopy(created(world))
    world.kube.created.clear()
    assert runs.rerun(world.open(), run=first["metadata"]["name"]) == 0
    again = created(world)
    assert again["metadata"].pop("name") != first["metadata"].pop("name")
    assert again == first
