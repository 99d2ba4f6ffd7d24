"""What an Application becomes: Triggers that fit the listener and its template, an account, a kubeconfig."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.trigger_template import FILLED, TEMPLATE
from bootstrap.manager import derived_objects
from bootstrap.manager.derived_objects import (
    list_namespaces,
    make_deployer,
    make_namespace,
    make_target_secret,
    make_trigger_name,
    make_triggers,
)
from bootstrap.settings.config import Config
from bootstrap.steps import listener
from tests.golden.rendered import LOCK

REGISTRY = "registry.tekton.internal:5000"


def declare(name: str = "orders", **spec: Any) -> Application:
    return read_application({"metadata": {"name": name, "uid": "u-1"}, "spec": spec}, REGISTRY)


SEVERAL = [
    {"name": "staging", "namespace": "sales-staging", "branches": ["main", "release/*"], "rollout": "5m"},
    {"name": "stable", "namespace": "sales", "branches": ["stable"], "deployment": "web"},
    {"name": "production", "namespace": "sales", "promote": True},
]
URL = "HTTPS://Git.Example.com:443/Sales/orders.git"


def get_interceptor(trigger: dict[str, Any]) -> dict[str, Any]:
    [found] = trigger["spec"]["interceptors"]
    assert found["ref"] == {"kind": "ClusterInterceptor", "name": "cel"}
    return {each["name"]: each["value"] for each in found["params"]}


def list_given(trigger: dict[str, Any]) -> dict[str, str]:
    """The parameters that a Trigger's own bindings give."""
    return {each["name"]: each["value"] for each in trigger["spec"]["bindings"] if "name" in each}


# -- Triggers ----------------------------------------------------------------------------------------


def test_each_environment_that_pushes_go_to_has_a_trigger() -> None:
    triggers = make_triggers(declare(environments=SEVERAL), "cicd")
    assert [each["metadata"] for each in triggers] == [
        {
            "name": f"orders.{name}",
            "namespace": "cicd",
            "labels": {
                "app.kubernetes.io/managed-by": "tekton-bootstrap-manager",
                "tekton-bootstrap.dev/application": "orders",
                "tekton-bootstrap.dev/environment": name,
            },
            "ownerReferences": [
                {
                    "apiVersion": "tekton-bootstrap.dev/v1alpha1",
                    "kind": "Application",
                    "name": "orders",
                    "uid": "u-1",
                }
            ],
        }
        for name in ("staging", "stable")
    ]
    assert {each["spec"]["serviceAccountName"] for each in triggers} == {"starter"}
    assert {json.dumps(each["spec"]["template"]) for each in triggers} == {'{"ref": "application"}'}
    assert make_trigger_name("orders", "stable") == "orders.stable"


def test_where_pushes_start_nothing_there_is_none() -> None:
    assert make_triggers(declare(arrive={"webhook": False}, environments=SEVERAL), "cicd") == []
    assert make_triggers(declare(environments=[SEVERAL[2]]), "cicd") == []


def test_the_condition_is_of_address_and_branch() -> None:
    [trigger, _] = make_triggers(declare(repository={"url": URL}, environments=SEVERAL), "cicd")
    assert get_interceptor(trigger)["filter"] == (
        'extensions.address == "https://git.example.com/Sales/orders" && '
        r'extensions.event.ref.matches("^refs/heads/(?:main|release/[^/]*)$")'
    )


@pytest.mark.parametrize(
    "url",
    [
        "git@Git.Example.com:Sales/orders.git",
        "ssh://git@git.example.com:22/Sales/orders",
        "ssh://git@git.example.com/Sales/orders.git/",
    ],
)
def test_by_ssh_it_is_the_events_address_for_ssh_that_counts_and_its_own_that_is_cloned(url: str) -> None:
    [trigger] = make_triggers(declare(repository={"url": url, "login": "sales-git"}), "cicd")
    assert get_interceptor(trigger)["filter"].startswith(
        'extensions.ssh_address == "ssh://git.example.com/Sales/orders" && '
    )
    given = list_given(trigger)
    assert given["repository"].startswith("ssh://git@")
    assert (given["login"], given["login-secret"]) == ("sales-git", "sales-git")


@pytest.mark.parametrize(
    ("branch", "let_pass", "dropped"),
    [
        ("v1.x", ["v1.x"], ["v1ax", "v1.x/a", "a-v1.x"]),
        ("release/*", ["release/1", "release/"], ["release/1/2", "release"]),
        ("a+b(c)|d$", ["a+b(c)|d$"], ["d$", "aab(c)"]),
        ('say"hello"', ['say"hello"'], ["say"]),
        ("größe", ["größe"], ["groesse"]),
    ],
)
def test_a_branch_is_nothing_but_text_in_it(branch: str, let_pass: list[str], dropped: list[str]) -> None:
    [trigger] = make_triggers(declare(environments=[{"name": "a", "branches": [branch]}]), "cicd")
    literal = get_interceptor(trigger)["filter"].partition(".matches(")[2][:-1]
    pattern = json.loads(literal)  # the escapes of CEL's strings that are used are JSON's
    assert [each for each in let_pass if not re.fullmatch(pattern, f"refs/heads/{each}")] == []
    assert [each for each in dropped if re.search(pattern, f"refs/heads/{each}")] == []


def test_paths_are_text_and_the_condition_of_what_has_none_is_as_before() -> None:
    """What the whole condition makes of events: images/tekton/listener_test.go."""
    [plain] = make_triggers(declare(), "cicd")
    [narrow] = make_triggers(declare(paths=['a"b/**', "größe"]), "cicd")
    condition = get_interceptor(narrow)["filter"]
    assert condition.startswith(get_interceptor(plain)["filter"] + " && (header.match(")
    literal = condition.rpartition(".matches(")[2].rstrip(")")
    assert json.loads(literal) == '^(?s:a"b/.*|größe(?:/.*)?)$'


def test_the_run_is_named_by_commit_and_delivery() -> None:
    [trigger, _] = make_triggers(declare(environments=SEVERAL), "cicd")
    overlays = {each["key"]: each["expression"] for each in get_interceptor(trigger)["overlays"]}
    assert overlays["run"] == (
        "\"orders--staging-\" + extensions.event.commit.truncate(12) + '-' + "
        "extensions.delivery.lowerAscii().translate('[^a-z0-9]+', '').truncate(8)"
    )


def test_the_other_overlays_are_those_of_the_listeners_own_triggers() -> None:
    [trigger] = make_triggers(declare(), "cicd")
    mine = {each["key"]: each["expression"] for each in get_interceptor(trigger)["overlays"]}
    for own in yaml.safe_load_all((PROJECT / "manifests/listener/listener.yaml").read_text()):
        if own["kind"] == "EventListener":
            [watched] = [each for each in own["spec"]["triggers"][0]["interceptors"] if each["name"] == "watched"]
    [overlays] = [each["value"] for each in watched["params"] if each["name"] == "overlays"]
    theirs = {each["key"]: each["expression"] for each in overlays}
    assert mine.keys() == theirs.keys()
    for key in ("branch", "branch_label", "commit_label"):
        assert mine[key].replace(" ", "") == re.sub(r"\s", "", theirs[key]), key


def list_names(params: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in params]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"environments": SEVERAL[:1]},
        {"environments": SEVERAL[1:2]},
        {"repository": {"url": "git@git.example.com:a/b", "login": "a-git"}},
        {"repository": {"url": URL}, "port": 9000, "build": {"context": "a", "dockerfile": "b", "image": "c.test/d"}},
    ],
)
def test_each_parameter_of_the_template_is_given_once(spec: dict[str, Any]) -> None:
    """Triggers would leave $(tt.params.NAME) in the run for one that is not, and run with it."""
    rendered = {
        (each["kind"], each["metadata"]["name"]): each for each in listener.render_objects(LOCK, PROJECT, Config())
    }
    template = rendered["TriggerTemplate", TEMPLATE]["spec"]["params"]
    event = {each["name"]: each["value"] for each in rendered["TriggerBinding", "event"]["spec"]["params"]}
    [trigger] = make_triggers(declare(**spec), "cicd")
    given = list_names(trigger["spec"]["bindings"])
    assert list_given(trigger) | event == list_given(trigger) | {"repository": event["repository"]}
    assert sorted({*given}) == sorted(given)
    assert {*given} <= {*list_names(template)}
    needed = {each["name"] for each in template if "default" not in each}
    assert needed - {*given} == set()


def test_the_rollout_of_an_environment_that_names_none_is_that_of_the_settings() -> None:
    [template] = [
        each
        for each in listener.render_objects(LOCK, PROJECT, Config())
        if (each["kind"], each["metadata"]["name"]) == ("TriggerTemplate", TEMPLATE)
    ]
    defaults = {each["name"]: each["default"] for each in template["spec"]["params"] if "default" in each}
    others = {"login": "", "login-secret": "no-git-login", "stage": "", "build-args": ""}
    assert defaults == {"delivery": "", "rollout-seconds": "225", "notify": "notify"} | others


def test_the_bindings_are_what_the_application_says() -> None:
    build = {"target": "prod", "args": {"NOTE": 'a "b" $(tt.params.x)'}}
    [trigger, other] = make_triggers(declare(port=9000, build=build, environments=SEVERAL), "cicd")
    assert list_given(trigger) == {
        **derived_objects.FROM_EVENT,
        "repository": "http://git.git.svc.cluster.local/orders.git",
        "image": f"{REGISTRY}/apps/orders",
        "namespace": "sales-staging",
        "deployment": "orders",
        "container": "orders",
        "dockerfile": "Dockerfile",
        "context": ".",
        "stage": "prod",
        "build-args": "NOTE=a%20%22b%22%20%24%28tt.params.x%29",
        "port": "9000",
        "notify": "notify",
        "login": "",
        "rollout-seconds": "300",
        "application": "orders",
        "environment": "staging",
        "target": "target-orders.staging",
    }
    assert (list_given(other)["port"], list_given(other)["container"]) == ("", "web")


def test_the_templates_run_uses_nothing_that_it_is_not_given() -> None:
    [template] = [
        each
        for each in listener.render_objects(LOCK, PROJECT, Config())
        if (each["kind"], each["metadata"]["name"]) == ("TriggerTemplate", TEMPLATE)
    ]
    used = set(re.findall(r"\$\(tt\.params\.([a-z-]+)\)", json.dumps(template["spec"]["resourcetemplates"])))
    assert used <= {*list_names(template["spec"]["params"])}
    [run] = template["spec"]["resourcetemplates"]
    assert run["spec"]["status"] == "PipelineRunPending"
    params = {each["name"]: each["value"] for each in run["spec"]["params"]}
    assert params == params | {key: f"$(tt.params.{name})" for key, name in FILLED.items()}


# -- who deploys, and with what ----------------------------------------------------------------------


def test_a_namespace_is_named_once() -> None:
    assert list_namespaces(declare(environments=SEVERAL)) == ["sales-staging", "sales"]


def test_a_namespace_runs_images_of_any_user_and_no_privileged_ones() -> None:
    labels = make_namespace("sales")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert "tekton-bootstrap" not in labels.values(), "`down` leaves it alone"


def test_the_deployer_has_one_role_in_one_namespace() -> None:
    account, binding = make_deployer("sales")
    assert account["automountServiceAccountToken"] is False
    assert {each["metadata"]["namespace"] for each in (account, binding)} == {"sales"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-deployer", "namespace": "sales"}]
    manifests = [*yaml.safe_load_all((PROJECT / "manifests/manager/manager.yaml").read_text())]
    roles = [each["metadata"]["name"] for each in manifests if each["kind"] == "ClusterRole"]
    assert binding["roleRef"]["kind"] == "ClusterRole"
    assert binding["roleRef"]["name"] in roles
    [bound] = [
        rule["resourceNames"]
        for each in manifests
        if each["kind"] == "ClusterRole"
        for rule in each["rules"]
        if "bind" in rule["verbs"]
    ]
    assert bound == [binding["roleRef"]["name"]], "the manager may bind it"


def test_a_targets_kubeconfig_is_for_one_namespace_of_this_cluster() -> None:
    found = declare(environments=SEVERAL)
    secret = make_target_secret(found, found.get_environment("stable"), "t0ken", "Q0E=", "cicd")
    metadata = secret["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("target-orders.stable", "cicd")
    assert metadata["ownerReferences"] == [derived_objects.make_owner(found)]
    kubeconfig = json.loads(secret["stringData"]["kubeconfig"])
    assert kubeconfig["clusters"] == [
        {
            "name": "target",
            "cluster": {"server": "https://kubernetes.default.svc", "certificate-authority-data": "Q0E="},
        }
    ]
    assert kubeconfig["users"] == [{"name": "target", "user": {"token": "t0ken"}}]
    assert kubeconfig["contexts"] == [
        {"name": "target", "context": {"cluster": "target", "user": "target", "namespace": "sales"}}
    ]
    assert kubeconfig["current-context"] == "target"
    assert "t0ken" not in json.dumps({key: value for key, value in secret.items() if key != "stringData"})
