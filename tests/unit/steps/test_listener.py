"""What the listener is made of: its gates, and that a run of its is like one started by hand.

What the gates make of events is in tests/events.yaml, and asked of Triggers itself (images/tekton/listener_test.go).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap.commands import follow_run
from bootstrap.core import constants
from bootstrap.core.model import Lock, LockedImage, Object, Pending, Ready, Verdict
from bootstrap.core.paths import PROJECT
from bootstrap.incluster import branch_patterns, notify, run_names
from bootstrap.objects import delivery_trace, drift, run_spec
from bootstrap.objects.manifests import load as load_manifests
from bootstrap.settings.config import AppSettings, Config, GitSettings, PipelineSettings, WebhookSettings
from bootstrap.steps import listener
from bootstrap.steps.manifest_step import ManifestStep
from bootstrap.world import World

OWN = '["http://git.git.svc.cluster.local/go-echo"]'
LOCK = Lock({"toolbox": LockedImage("toolbox", "registry/toolbox", f"sha256:{1:064x}")})


def rendered(config: Config, kind: str) -> Object:
    """The one object of that kind; of the TriggerTemplates that of the demo."""
    found = [each for each in listener.render_objects(LOCK, PROJECT, config) if each["kind"] == kind]
    [one] = [each for each in found if kind != "TriggerTemplate" or each["metadata"]["name"] == "git-cicd"]
    return one


def filters(config: Config) -> list[list[str]]:
    """The conditions of each trigger, in order."""
    return [
        [param["value"] for each in trigger["interceptors"] for param in each["params"] if param["name"] == "filter"]
        for trigger in rendered(config, "EventListener")["spec"]["triggers"]
    ]


def test_the_listener_in_the_manifest_is_that_of_the_defaults() -> None:
    [written] = [each for each in load_manifests(PROJECT / "manifests/listener") if each["kind"] == "EventListener"]
    delivery_trace.leave_notes(written)
    assert written["spec"] == rendered(Config(), "EventListener")["spec"]


@pytest.mark.parametrize(
    ("webhook", "url", "branches", "repositories"),
    [
        (WebhookSettings(), "", "main", f"(extensions.address in {OWN})"),
        (
            WebhookSettings(branches=("main", "release/*", "v1.*")),
            "https://github.com/you/app",
            r"main|release/[^/]*|v1\\.[^/]*",
            '(extensions.address in ["https://github.com/you/app"])',
        ),
        (
            WebhookSettings(repositories=("you/app", "https://Example.org:443/x.git/", "you/b")),
            "https://example.org/other.git",
            "main",
            '(extensions.address in ["https://example.org/x"] || extensions.event.name in ["you/app", "you/b"])',
        ),
        (
            WebhookSettings(repositories=("you/app",)),
            "https://example.org/other.git",
            "main",
            '(extensions.event.name in ["you/app"])',
        ),
    ],
)
def test_what_is_watched(webhook: WebhookSettings, url: str, branches: str, repositories: str) -> None:
    config = Config(webhook=webhook, git=GitSettings(url=url))
    wanted = f'extensions.event.ref.matches("^refs/heads/(?:{branches})$") && {repositories}'
    assert listener.make_watch_condition(config) == wanted
    assert [each[-1] for each in filters(config)] == [wanted] * 3


@pytest.mark.parametrize(
    ("repositories", "expression"),
    [
        ((), '{"http://git.git.svc.cluster.local/go-echo": "go-echo"}[extensions.address]'),
        (("you/app",), '{"you/app": "you-app-NAME"}[extensions.event.name]'),
        (
            ("you/app", "https://github.com/you/x"),
            '(extensions.event.name in ["you/app"] ? {"you/app": "you-app-NAME"}[extensions.event.name]'
            ' : {"https://github.com/you/x": "you-x-URL"}[extensions.address])',
        ),
    ],
)
def test_runs_are_named_as_by_the_poller(repositories: tuple[str, ...], expression: str) -> None:
    config = Config(webhook=WebhookSettings(repositories=repositories))
    commit, names = "f" * 40, run_spec.list_bare_names(config)
    for key, url in (("NAME", "https://anywhere.test/you/app.git"), ("URL", "https://github.com/you/x.git")):
        name = run_names.make_triggered_run_name(url, commit, names)
        expression = expression.replace(key, name.removesuffix(f"-{commit[:12]}").rpartition("-")[2])
    wanted = f'{expression} + "-" + extensions.event.commit.truncate(12)'
    assert listener.make_name_expression(config) == wanted
    for trigger in rendered(config, "EventListener")["spec"]["triggers"]:
        [watched] = [each for each in trigger["interceptors"] if each["name"] == "watched"]
        [overlays] = [each["value"] for each in watched["params"] if each["name"] == "overlays"]
        assert {"key": "run", "expression": wanted} in overlays


def test_every_trigger_has_the_same_gates_in_the_same_order() -> None:
    triggers = rendered(Config(), "EventListener")["spec"]["triggers"]
    gates = ["signed", "noted", "arrived", "buildable", "watched"]
    assert [delivery_trace.list_gates(trigger) for trigger in triggers] == [["heard", *gates], ["own", *gates], gates]
    signed = [each for trigger in triggers for each in trigger["interceptors"] if each["name"] == "signed"]
    hosts = [each["ref"]["name"] for each in signed]
    assert hosts == ["github", "signature", "gitlab"]
    assert tuple(trigger["name"] for trigger in triggers) == ("github", "gitea", "gitlab")
    github, gitea, gitlab = filters(Config())
    assert github[1:] == gitlab[1:]
    assert github == gitea[1:]
    assert {trigger["serviceAccountName"] for trigger in triggers} == {"starter"}


def test_nothing_of_a_setting_becomes_code() -> None:
    """Neither of CEL nor of the expression, even if it came past the rules."""
    config = Config(webhook=WebhookSettings(branches=('a" || true || "', "(.+)"), repositories=('you/"]',)))
    assert listener.make_watch_condition(config) == (
        r'extensions.event.ref.matches("^refs/heads/(?:a\"\\ \\|\\|\\ true\\ \\|\\|\\ \"|\\(\\.\\+\\))$")'
        r' && (extensions.event.name in ["you/\"]"])'
    )


@pytest.mark.parametrize(
    ("patterns", "matching", "others"),
    [
        (["main"], ["main"], ["Main", "main-2", "main/2", "mai", "feature/main", "main\n", ""]),
        (["release/*"], ["release/1.x", "release/"], ["release", "release/1/2", "xrelease/1", "releases/1"]),
        (["*"], ["main", "a.b"], ["a/b"]),
        (["*/main", "v1.*"], ["ada/main", "v1.2"], ["main", "a/b/main", "v12"]),
        (["a+b"], ["a+b"], ["aab"]),
    ],
)
def test_which_branches_a_pattern_means(patterns: list[str], matching: list[str], others: list[str]) -> None:
    expression = branch_patterns.build_branch_regex(patterns)
    assert [each for each in (*matching, *others) if re.fullmatch(expression, each)] == matching


def test_events_are_printed_only_if_asked() -> None:
    def kinds(config: Config) -> list[str]:
        return [each["kind"] for each in rendered(config, "TriggerTemplate")["spec"]["resourcetemplates"]]

    def creates(config: Config) -> list[str]:
        [role] = [
            each
            for each in listener.render_objects(LOCK, PROJECT, config)
            if (each["kind"], each["metadata"]["name"]) == ("Role", "starter")
        ]
        return [resource for rule in role["rules"] for resource in rule["resources"]]

    on = Config(webhook=WebhookSettings(debug="on"))
    assert (kinds(Config()), creates(Config())) == (["PipelineRun"], ["pipelineruns"])
    assert (kinds(on), creates(on)) == (["TaskRun", "PipelineRun"], ["pipelineruns", "taskruns"])


def test_the_task_that_prints_takes_all_that_its_run_gives() -> None:
    task = rendered(Config(), "Task")["spec"]
    [run] = load_manifests(PROJECT / "manifests/listener/debug")
    names = {each["name"] for each in task["params"]}
    [step] = task["steps"]
    env = {each["name"]: each["value"] for each in step["env"]}
    assert {each["name"] for each in run["spec"]["params"]} == names == set(env.pop("NAMES").split())
    assert env == {name: f"$(params.{name})" for name in names}
    odd = dict.fromkeys(names, 'a"\n$(id) \x1b[31m')
    said = subprocess.run(
        [sys.executable, "-c", *step["args"]],
        env={"NAMES": " ".join(names), **odd},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said[:-1].isprintable()
    assert json.loads(said) == odd


def test_a_pushed_run_is_like_one_started_by_hand() -> None:
    config = Config(pipeline=PipelineSettings(image="example.org/app", timeout_minutes=7), app=AppSettings(replicas=1))
    [run] = load_manifests(PROJECT / run_spec.MANIFEST)
    run_spec.fill(run, config, "http://example.org/app.git", "f" * 40)
    made = rendered(config, "TriggerTemplate")["spec"]["resourcetemplates"][0]["spec"]
    event = {"REPO": "$(tt.params.repository)", "REVISION": "$(tt.params.commit)"}
    params = [{**each, "value": event.get(each["name"], each["value"])} for each in run["spec"]["params"]]
    assert made == {**run["spec"], "params": params}
    assert made["timeouts"] == {"pipeline": "7m"}


@pytest.mark.parametrize("minutes", [5, 7, 20, 1440])
def test_a_run_that_takes_too_long_has_time_left_to_be_told(minutes: int) -> None:
    [run] = load_manifests(PROJECT / run_spec.MANIFEST)
    objects = load_manifests(PROJECT / "manifests/pipeline")
    [pipeline] = [each for each in objects if each["kind"] == "Pipeline" and each["metadata"]["name"] == "git-cicd"]
    run_spec.fill(run, Config(pipeline=PipelineSettings(timeout_minutes=minutes)), "", "")
    limits = {each["pipelineTaskName"]: int(each["timeout"].removesuffix("s")) for each in run["spec"]["taskRunSpecs"]}
    assert set(limits) == {each["name"] for part in ("tasks", "finally") for each in pipeline["spec"][part]}
    assert sum(limits.values()) <= minutes * 60
    assert limits["notify"] == 120 > notify.LIMIT_SECONDS
    assert min(limits.values()) >= 30


def test_the_run_in_the_file_is_that_of_the_defaults() -> None:
    [written], [filled] = (load_manifests(PROJECT / run_spec.MANIFEST) for _ in range(2))
    run_spec.fill(filled, Config(), run_spec.get_repository(Config()), "main")
    assert drift.find_drift(filled, written) == ""


def test_every_parameter_of_the_template_is_bound_and_used() -> None:
    template, binding = rendered(Config(), "TriggerTemplate"), rendered(Config(), "TriggerBinding")
    declared = {each["name"] for each in template["spec"]["params"]}
    triggers = rendered(Config(), "EventListener")["spec"]["triggers"]
    [inline] = {frozenset(each["name"] for each in one["bindings"] if "name" in each) for one in triggers}
    assert {each["name"] for each in binding["spec"]["params"]} | inline == declared
    used = re.findall(r"\$\(tt\.params\.([a-z-]+)\)", str(template["spec"]["resourcetemplates"]))
    assert sorted(used) == sorted(declared)
    overlays = {
        param["key"]
        for each in rendered(Config(), "EventListener")["spec"]["triggers"][0]["interceptors"]
        for params in each["params"]
        if params["name"] == "overlays"
        for param in params["value"]
    }
    bound = [each["value"] for each in binding["spec"]["params"]]
    assert set(re.findall(r"\$\(extensions\.([a-z._]+)\)", str(bound))) <= overlays


def test_a_run_again_is_of_the_repository_that_was_pushed_to() -> None:
    world = cast(World, SimpleNamespace(project=PROJECT, config=Config()))
    for given, wanted in (("http://example.org/app.git", "http://example.org/app.git"), ("", constants.GIT_URL)):
        run = follow_run.compose_run(world, "main", "f" * 40, repository=given)
        assert {each["name"]: each["value"] for each in run["spec"]["params"]}["REPO"] == wanted


class Kube:
    """An API server that knows one Deployment at most."""

    def __init__(self, deployment: Object | None) -> None:
        self.deployment = deployment

    def get(self, api_version: str, kind: str, name: str, namespace: str) -> Object | None:
        assert (api_version, kind, name, namespace) == ("apps/v1", "Deployment", "el-demo-listener", "cicd")
        return self.deployment


def proof(deployment: Object | None, config: Config) -> Verdict:
    step = listener.make_listener_step()
    assert isinstance(step, ManifestStep)
    return step.prove(cast(World, SimpleNamespace(kube=Kube(deployment), config=config)))


def test_it_is_ready_when_its_pod_is() -> None:
    status: dict[str, Any] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    meta = {"name": constants.LISTENER, "namespace": constants.RUNS, "generation": 1}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {}, "status": status}
    config = Config(webhook=WebhookSettings(branches=("next", "v*")))
    assert isinstance(proof(None, config), Pending)
    assert isinstance(proof(deployment, config), Pending)
    status["availableReplicas"] = 1
    assert proof(deployment, config) == Ready("pushes to next, v* start a run")
