"""The poller's CronJob: what the settings tell it, and what `status` says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.core import constants
from bootstrap.core.errors import UsageError
from bootstrap.core.model import Object, Ready
from bootstrap.core.paths import PROJECT
from bootstrap.incluster import poll_state
from bootstrap.incluster.poll_state import RepositoryState
from bootstrap.settings.config import Config, GitSettings, PollSettings, WebhookSettings
from bootstrap.steps import poller
from bootstrap.world import World
from tests.golden.rendered import LOCK

URL, OTHER = "https://git.test/you/app.git", "https://elsewhere.test/app"


def config(**settings: Any) -> Config:
    return replace(Config(), poll=PollSettings(**settings))


@pytest.mark.parametrize(
    ("minutes", "schedule", "suspended"),
    [(0, "*/1 * * * *", True), (1, "*/1 * * * *", False), (59, "*/59 * * * *", False)],
)
def test_when(minutes: int, schedule: str, *, suspended: bool) -> None:
    objects = poller.render_objects(LOCK, PROJECT, config(minutes=minutes))
    cron = cron_jobs(objects)["poller"]
    assert (cron["spec"]["schedule"], cron["spec"]["suspend"]) == (schedule, suspended)


def cron_jobs(objects: list[Object]) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == "CronJob"}


@pytest.mark.parametrize(
    ("webhook", "git", "schedule", "suspended"),
    [
        ({}, {}, "*/5 * * * *", False),
        ({"reconcile_minutes": 30}, {}, "*/30 * * * *", False),
        ({"reconcile_minutes": 0}, {}, "*/1 * * * *", True),
        ({"repositories": ("you/app",)}, {}, "*/1 * * * *", True),
        ({}, {"webhook": "off"}, "*/1 * * * *", True),
    ],
    ids=["by default", "set", "never", "a name has no address", "nobody tells of pushes"],
)
def test_when_lost_events_are_looked_for(
    webhook: dict[str, Any], git: dict[str, Any], schedule: str, *, suspended: bool
) -> None:
    given = replace(Config(), webhook=WebhookSettings(**webhook), git=GitSettings(**git))
    crons = cron_jobs(poller.render_objects(LOCK, PROJECT, given))
    spec = crons["reconciler"]["spec"]
    assert (spec["schedule"], spec["suspend"]) == (schedule, suspended)
    assert crons["poller"]["spec"]["suspend"]


def test_the_reconciler_is_the_poller_with_settings_and_state_of_its_own() -> None:
    crons = cron_jobs(poller.render_objects(LOCK, PROJECT, config()))
    text = {name: json.dumps(each) for name, each in crons.items()}
    pods = {name: each["spec"]["jobTemplate"]["spec"]["template"] for name, each in crons.items()}
    environ = {
        name: {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
        for name, pod in pods.items()
    }
    assert environ["reconciler"] == environ["poller"] | {
        "CRON_JOB": "reconciler",
        "SETTINGS": "/etc/poller/reconciler.json",
    }
    assert environ["poller"]["CRON_JOB"] == "poller"
    assert pods["reconciler"]["metadata"]["labels"] == {"app.kubernetes.io/name": "reconciler"}
    assert "reconciler" not in text["poller"]


def test_what_is_looked_at_for_lost_events() -> None:
    given = replace(
        config(), webhook=WebhookSettings(repositories=(URL, "you/other", OTHER), branches=("main", "release/*"))
    )
    made = poller.make_reconciler_settings(PROJECT, given)
    assert (made["repositories"], made["branches"]) == ([URL, OTHER], ["main", "release/*"])
    assert (made["first"], made["names"]) == ("remember", ["you/other"])
    polled = replace(given, poll=PollSettings(minutes=2, repositories=(URL,), branches=("main", "release/*")))
    assert poller.list_reconciled(polled) == [OTHER], "the poll finds it anyway"
    fewer = replace(given, poll=PollSettings(minutes=2, repositories=(URL,)))
    assert poller.list_reconciled(fewer) == [URL, OTHER]


def test_the_password_is_for_the_host_of_the_pipeline_only() -> None:
    given = replace(config(repositories=(URL, OTHER)), git=GitSettings(url=URL))
    made = poller.make_settings(PROJECT, given)
    assert made["repositories"] == [URL, OTHER]
    assert made["credentialsFor"] == "https://git.test"
    own = poller.make_settings(PROJECT, config())
    assert (own["repositories"], own["credentialsFor"]) == ([constants.GIT_URL], "http://git.git.svc.cluster.local")


def test_the_run_is_that_of_test_run_unless_a_file_is_named(tmp_path: Path) -> None:
    own = poller.read_template(PROJECT, config(), "")
    assert (own["spec"]["pipelineRef"], own["metadata"]) == ({"name": "git-cicd"}, {"namespace": "cicd"})
    file = tmp_path / "run.yaml"
    text = (PROJECT / "manifests/test/pipelinerun.yaml").read_text()
    file.write_text(text.replace("name: git-cicd", "name: mine").replace("namespace: cicd", "labels: {team: red}"))
    mine = poller.read_template(PROJECT, config(), str(file))
    assert mine["spec"]["pipelineRef"] == {"name": "mine"}
    assert (mine["metadata"]["namespace"], mine["metadata"]["labels"]) == ("cicd", {"team": "red"})
    values = {each["name"]: each["value"] for each in mine["spec"]["params"]}
    assert values["IMAGE"] == "registry.tekton.internal:5000/demo/go-echo", "as the file says"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not one PipelineRun"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "is not one PipelineRun"),
        ("apiVersion: tekton.dev/v1\nkind: PipelineRun\nmetadata: {generateName: x-}\nspec: {}\n", "none of the param"),
        ("{", "run.yaml"),
    ],
)
def test_a_file_that_holds_no_run_is_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        poller.read_template(PROJECT, config(), str(file))
    assert told in str(error.value) + str(error.value.faults)
    with pytest.raises(UsageError):
        poller.read_template(PROJECT, config(), str(tmp_path / "missing.yaml"))


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ({}, "asks every 2 min"),
        ({URL: poll_state.dump_state(URL, RepositoryState({"main": "a" * 40}, seen=True))}, "asks every 2 min"),
        (
            {URL: "rubbish"},
            f"asks every 2 min; 1 of 2 failed: {URL}: its state could not be read, and is begun anew",
        ),
        (
            {OTHER: poll_state.dump_state(OTHER, RepositoryState(why="no answer"))},
            f"asks every 2 min; 1 of 2 failed: {OTHER}: no answer",
        ),
    ],
)
def test_what_status_says(kept: dict[str, str], said: str) -> None:
    live: Object = {"data": {poll_state.make_key(url): text for url, text in kept.items()}}
    kube = SimpleNamespace(get=lambda *_: live, list=lambda *_, **__: [])
    world = cast(World, SimpleNamespace(config=config(minutes=2, repositories=(URL, OTHER)), kube=kube))
    assert poller.make_poller_step().prove(world) == Ready(said)


def test_status_says_of_a_poll_that_died_what_it_died_of() -> None:
    ended = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    job = {"kind": "Job", "metadata": {"name": "poller-1", "namespace": "cicd"}, "status": {"conditions": [ended]}}
    kube = SimpleNamespace(get=lambda *_: None, list=lambda _, kind, *__, **___: [job] if kind == "Job" else [])
    world = cast(World, SimpleNamespace(config=config(minutes=2), kube=kube))
    assert (
        poller.make_poller_step().prove(world).why
        == "asks every 2 min; poller-1 failed: Job cicd/poller-1: DeadlineExceeded"
    )
