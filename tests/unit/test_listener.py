"""What the listener is made of: its filter, its runs' names, and that such a run is like one started by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bootstrap import composing, deliveries, following, names
from bootstrap.config import AppSettings, Config, GitSettings, PipelineSettings, WebhookSettings, load
from bootstrap.errors import UsageError
from bootstrap.manifests import load as load_manifests
from bootstrap.model import Lock, Object, Pending, Ready, Verdict
from bootstrap.paths import PROJECT
from bootstrap.steps import listener
from bootstrap.steps.manifest import ManifestStep
from bootstrap.world import World

OWN = '["http://git.git.svc.cluster.local/go-echo.git", "http://git.git.svc.cluster.local/go-echo"]'
SHORT = "0123456789ab"


def rendered(config: Config, kind: str) -> Object:
    [found] = [each for each in listener.objects(Lock({}), PROJECT, config) if each["kind"] == kind]
    return found


def test_the_filter_in_the_manifest_is_that_of_the_defaults() -> None:
    [written] = [each for each in load_manifests(PROJECT / "manifests/listener") if each["kind"] == "EventListener"]
    deliveries.leave_notes(written)
    assert written["spec"] == rendered(Config(), "EventListener")["spec"]


@pytest.mark.parametrize(
    ("webhook", "url", "wanted"),
    [
        (WebhookSettings(), "", f'body.ref == "refs/heads/main" && body.repository.clone_url in {OWN}'),
        (
            WebhookSettings(branch="release/1.x"),
            "https://github.com/you/app",
            'body.ref == "refs/heads/release/1.x" && body.repository.clone_url in '
            '["https://github.com/you/app.git", "https://github.com/you/app"]',
        ),
        (
            WebhookSettings(repository="you/app"),
            "https://example.org/other.git",
            'body.ref == "refs/heads/main" && body.repository.full_name == "you/app"',
        ),
    ],
)
def test_what_is_watched(webhook: WebhookSettings, url: str, wanted: str) -> None:
    config = Config(webhook=webhook, git=GitSettings(url=url))
    assert listener.watched(config) == wanted
    filters = [
        param["value"]
        for each in rendered(config, "EventListener")["spec"]["triggers"][0]["interceptors"]
        for param in each["params"]
        if param["name"] == "filter"
    ]
    assert filters[-1] == wanted


def test_nothing_of_a_setting_becomes_code() -> None:
    config = Config(webhook=WebhookSettings(branch='a" || true || "', repository="\\"))
    assert listener.watched(config) == (
        'body.ref == "refs/heads/a\\" || true || \\"" && body.repository.full_name == "\\\\"'
    )


@pytest.mark.parametrize(
    "value", ["app", "/app", "you/", "-you/app", "you/app x", 'you/"', "https://github.com/you/app"]
)
def test_a_repository_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(PROJECT / "invoke.yaml", {"INVOKE_WEBHOOK_REPOSITORY": value})
    assert [fault.where for fault in caught.value.faults] == ["INVOKE_WEBHOOK_REPOSITORY"]


@pytest.mark.parametrize(
    ("deployment", "wanted"),
    [
        ("go-echo", f"go-echo-{SHORT}"),
        ("1st", f"r1st-{SHORT}"),
        ("a" * 63, f"{'a' * 50}-{SHORT}"),
        ("a" * 49 + "-bc", f"{'a' * 49}-{SHORT}"),
    ],
)
def test_a_run_is_named_after_its_commit(deployment: str, wanted: str) -> None:
    config = Config(pipeline=PipelineSettings(deployment=deployment))
    assert listener.pushed_run_name(config, SHORT) == wanted
    assert len(wanted) <= 63
    made = rendered(config, "TriggerTemplate")["spec"]["resourcetemplates"][0]
    assert made["metadata"]["name"] == wanted.replace(SHORT, "$(tt.params.short)")


def test_a_pushed_run_is_like_one_started_by_hand() -> None:
    config = Config(pipeline=PipelineSettings(image="example.org/app", timeout_minutes=7), app=AppSettings(replicas=1))
    [run] = load_manifests(PROJECT / composing.MANIFEST)
    composing.fill(run, config, "http://example.org/app.git", "f" * 40)
    made = rendered(config, "TriggerTemplate")["spec"]["resourcetemplates"][0]["spec"]
    event = {"REPO": "$(tt.params.repository)", "REVISION": "$(tt.params.commit)"}
    params = [{**each, "value": event.get(each["name"], each["value"])} for each in run["spec"]["params"]]
    assert made == {**run["spec"], "params": params}
    assert made["timeouts"]["pipeline"] == "7m"


def test_every_parameter_of_the_template_is_bound_and_used() -> None:
    template, binding = rendered(Config(), "TriggerTemplate"), rendered(Config(), "TriggerBinding")
    declared = {each["name"] for each in template["spec"]["params"]}
    [trigger] = rendered(Config(), "EventListener")["spec"]["triggers"]
    inline = {each["name"] for each in trigger["bindings"] if "name" in each}
    assert {each["name"] for each in binding["spec"]["params"]} | inline == declared
    text = str(template["spec"]["resourcetemplates"])
    assert declared == {name for name in declared if f"$(tt.params.{name})" in text}
    assert text.count("$(tt.params.") == len(declared)


def test_a_run_again_is_of_the_repository_that_was_pushed_to() -> None:
    world = cast(World, SimpleNamespace(project=PROJECT, config=Config()))
    for given, wanted in (("http://example.org/app.git", "http://example.org/app.git"), ("", names.GIT_URL)):
        run = following.compose(world, "main", "f" * 40, repository=given)
        assert {each["name"]: each["value"] for each in run["spec"]["params"]}["REPO"] == wanted


class Kube:
    """An API server that knows one Deployment at most."""

    def __init__(self, deployment: Object | None) -> None:
        self.deployment = deployment

    def get(self, api_version: str, kind: str, name: str, namespace: str) -> Object | None:
        assert (api_version, kind, name, namespace) == ("apps/v1", "Deployment", "el-demo-listener", "cicd")
        return self.deployment


def proof(deployment: Object | None, config: Config) -> Verdict:
    step = listener.listener()
    assert isinstance(step, ManifestStep)
    return step.prove(cast(World, SimpleNamespace(kube=Kube(deployment), config=config)))


def test_it_is_ready_when_its_pod_is() -> None:
    status: dict[str, Any] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 0}
    meta = {"name": names.LISTENER, "namespace": names.RUNS, "generation": 1}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {}, "status": status}
    config = Config(webhook=replace(WebhookSettings(), branch="next"))
    assert isinstance(proof(None, config), Pending)
    assert isinstance(proof(deployment, config), Pending)
    status["availableReplicas"] = 1
    assert proof(deployment, config) == Ready("pushes to next start a run")
