"""What every manifest of ours must keep to, whoever adds one."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from bootstrap.core.constants import PIPELINE
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import (
    IMAGE_PIPELINE,
    LOGIN_WORKSPACE,
    make_image_run,
    make_run,
    read_application,
)
from bootstrap.incluster.git_login import NO_LOGIN
from bootstrap.objects import image_refs
from bootstrap.objects.drift import parse_quantity
from tests.golden.rendered import LOCK, Container, containers, everything, workloads

ALL = pytest.mark.parametrize("container", containers(), ids=lambda each: each.where)
BUILDER = "cicd-build"
WITH_TOKEN = {("cicd", "notify"), ("cicd", "listener")}
"""ServiceAccounts whose token is mounted, because their program talks to the API."""
OF_APPLICATIONS = {"PORT", "NOTIFY", "LOGIN", "TARGET", "BUILD_ARGS"}
"""Parameters that the demo's run goes without: the settings have no such thing, or say it in another way."""
DESTINATION = "registry.tekton.internal:5000/demo/go-echo"
"""The one image name that is written out: where the pipeline pushes to."""


def test_there_is_something_to_check() -> None:
    assert len(containers()) >= 8


@ALL
def test_requests_and_limits(container: Container) -> None:
    for kind in ("requests", "limits"):
        assert set(container.resources[kind]) >= {"cpu", "memory"}
    requests, limits = container.resources["requests"], container.resources["limits"]
    for name in ("cpu", "memory"):
        wanted, allowed = parse_quantity(requests[name]), parse_quantity(limits[name])
        assert wanted is not None
        assert allowed is not None
        assert wanted <= allowed
    assert (parse_quantity(requests["cpu"]) or 0) <= (parse_quantity("50m") or 0)


@ALL
def test_unprivileged(container: Container) -> None:
    security = container.security
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == (1000 if container.namespace == BUILDER else 65532)
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["readOnlyRootFilesystem"] is True
    assert not security.get("privileged")
    if container.namespace != BUILDER:
        assert security["allowPrivilegeEscalation"] is False
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "add" not in security["capabilities"]


@ALL
def test_image_comes_from_the_lock(container: Container) -> None:
    assert container.spec["image"] in {image.reference for image in LOCK.images.values()}
    assert container.spec["imagePullPolicy"] == "IfNotPresent"


def test_every_reference_is_in_the_lock() -> None:
    assert image_refs.list_unlocked(everything(), LOCK) == []


def test_no_floating_tag_and_no_foreign_registry() -> None:
    text = "\n".join(file.read_text() for file in (PROJECT / "manifests").rglob("*.yaml"))
    assert not re.search(r"(?<!-version): latest\b|:latest\b", text)
    hosts = re.findall(r"^\s*(?:- )?image: *(\S+)", text, re.MULTILINE)
    assert hosts
    assert all(host.startswith(image_refs.LOCAL) for host in hosts)
    assert set(re.findall(r"\S+:5000/\S+", text)) == {DESTINATION}


def test_only_the_builders_namespace_is_laxer() -> None:
    levels = {
        each["metadata"]["name"]: each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for each in everything()
        if each["kind"] == "Namespace"
    }
    assert {name for name, level in levels.items() if level != "restricted"} == {BUILDER}
    assert {each["metadata"]["namespace"] for each in workloads()} <= set(levels)


def _accounts() -> dict[tuple[str, str], dict[str, Any]]:
    found = [each for each in everything() if each["kind"] == "ServiceAccount"]
    return {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in found}


def test_accounts_exist_and_mount_tokens_only_where_used() -> None:
    accounts = _accounts()
    mounted = {name for name, each in accounts.items() if each["automountServiceAccountToken"] is not False}
    assert mounted == WITH_TOKEN
    for each in workloads():
        pod, namespace = each["spec"]["template"]["spec"], each["metadata"]["namespace"]
        assert pod["automountServiceAccountToken"] is (pod.get("serviceAccountName") == "manager")
        assert pod["enableServiceLinks"] is False
        assert "serviceAccountName" not in pod or (namespace, pod["serviceAccountName"]) in accounts


def test_accounts_of_runs_and_bindings_exist() -> None:
    accounts = _accounts()
    for each in everything():
        if each["kind"] == "PipelineRun":
            spec = each["spec"]
            named = [spec["taskRunTemplate"], *spec["taskRunSpecs"]]
            assert {("cicd", one["serviceAccountName"]) for one in named if "serviceAccountName" in one} <= set(
                accounts
            )
        for subject in each.get("subjects", ()):
            assert (subject["namespace"], subject["name"]) in accounts


READS = {"get", "list", "watch"}
MORE = {
    ("starter", "pipelineruns"): "create",
    ("starter", "taskruns"): "create",  # with webhook.debug only
    ("listener", "serviceaccounts"): "impersonate",
    ("deployer", "deployments"): "patch",
    ("deployer", "serviceaccounts/token"): "create",  # of itself
    ("deployer", "leases"): "create update",
    ("token-renewal", "secrets"): "patch",  # of one by its name
    ("token-renewal", "events"): "create",
    ("notify", "configmaps"): "patch",  # of one by its name
    ("poller", "pipelineruns"): "create",
    ("poller", "configmaps"): "patch",  # of one by its name
    ("poller", "events"): "create",
    ("cleanup", "pipelineruns"): "delete",
    ("cleanup", "taskruns"): "delete",  # of those that the listener made by themselves
    ("cleanup", "events"): "create",
    ("image-cleanup", "events"): "create",
    ("manager", "applications"): "create patch delete",  # of the central repository
    ("manager", "configmaps"): "patch",  # of one by its name
    ("manager", "applications/status"): "patch",
    ("manager", "pipelineruns"): "create patch",
    ("manager", "triggers"): "create patch delete",
    ("manager", "secrets"): "create patch",
    ("manager", "events"): "create",
    ("manager", "leases"): "create update",
    # Where applications are deployed to, whose namespaces are not known beforehand: one account, bound to one role.
    ("tekton-bootstrap-manager", "namespaces"): "create",
    ("tekton-bootstrap-manager", "serviceaccounts"): "create patch",
    ("tekton-bootstrap-manager", "serviceaccounts/token"): "create",
    ("tekton-bootstrap-manager", "rolebindings"): "create patch",
    ("tekton-bootstrap-manager", "clusterroles"): "bind",
    ("tekton-bootstrap-deployer", "deployments"): "create patch",
    ("tekton-bootstrap-deployer", "services"): "create",
    ("tekton-bootstrap-deployer", "leases"): "create update",
}
"""(Role, resource) -> what it may do beside reading."""
CLUSTER_WIDE = {
    "clusterinterceptors",
    "clustertriggerbindings",
    "customresourcedefinitions",
    "namespaces",
    "clusterroles",
}
"""Kinds without a namespace."""
ANYWHERE = {"tekton-bootstrap-manager", "tekton-bootstrap-deployer", "tekton-bootstrap-image-cleanup"}
"""ClusterRoles for namespaces that are not known beforehand; the second is bound in each of them."""


def test_no_role_reaches_further_than_its_job() -> None:
    roles = [each for each in everything() if each["kind"] in ("Role", "ClusterRole")]
    assert len(roles) >= 4
    for role in roles:
        for rule in role["rules"]:
            assert not set(rule["resources"]) & {"pods/exec", "*"}
            if not rule.get("resourceNames"):
                assert not set(rule["resources"]) & {"secrets", "serviceaccounts/token"} or not READS & set(
                    rule["verbs"]
                )
                assert "serviceaccounts/token" not in rule["resources"]
            for resource in rule["resources"]:
                more = MORE.get((role["metadata"]["name"], resource), "")
                assert set(rule["verbs"]) <= READS | {*more.split()}
                assert "bind" not in more or rule["resourceNames"] == ["tekton-bootstrap-deployer"]
                assert more != "impersonate" or rule["resourceNames"] == ["starter"]
                of_manager = (role["metadata"]["name"], resource) == ("manager", "leases")
                assert not of_manager or rule["verbs"] == ["create"] or rule["resourceNames"] == ["manager"]
                assert role["kind"] == "Role" or resource in CLUSTER_WIDE or role["metadata"]["name"] in ANYWHERE


def _scripts() -> list[tuple[str, str]]:
    found = [(each.where, text) for each in containers() for text in each.spec.get("args", []) if "\n" in text]
    return found + [(each.where, each.spec["script"]) for each in containers() if "script" in each.spec]


def test_parameters_never_become_code() -> None:
    scripts = _scripts()
    assert len(scripts) >= 3
    for where, text in scripts:
        found = re.findall(r"\$\((?:params|workspaces|results|context|tasks)\b", text)
        assert not found, f"{where}: parameters enter a script as environment variables"
        assert "$$" not in text, f"{where}: Kubernetes makes one $ of two in arguments"


@ALL
def test_every_step_says_what_it_runs(container: Container) -> None:
    """Else Tekton's controller asks the registry for the image's entrypoint."""
    if container.where.startswith("Task"):
        assert container.spec.get("command") or container.spec.get("script")
    else:
        assert "script" not in container.spec


def _pipeline(name: str = PIPELINE) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    objects = everything()
    [pipeline] = [each["spec"] for each in objects if each["kind"] == "Pipeline" and each["metadata"]["name"] == name]
    return pipeline, {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "Task"}


@pytest.mark.parametrize("name", [PIPELINE, IMAGE_PIPELINE])
def test_pipeline_and_tasks_fit_together(name: str) -> None:
    pipeline, tasks = _pipeline(name)
    params = {each["name"] for each in pipeline["params"]}
    workspaces = {each["name"] for each in pipeline["workspaces"]}
    for one in pipeline["tasks"] + pipeline["finally"]:
        task = tasks[one["taskRef"]["name"]]
        given = {each["name"] for each in one["params"]}
        required = {each["name"] for each in task["params"] if "default" not in each}
        assert required <= given <= {each["name"] for each in task["params"]}
        used = one.get("workspaces", [])
        needed = {each["name"] for each in task["workspaces"] if not each.get("optional")}
        assert needed <= {each["name"] for each in used} <= {each["name"] for each in task["workspaces"]}
        assert {each["workspace"] for each in used} <= workspaces
    told = {"REPO"} if name == IMAGE_PIPELINE else set()  # in notifications, which read the run
    assert set(re.findall(r"\$\(params\.(\w+)\)", yaml.safe_dump(pipeline))) == params - told


def test_results_that_are_used_are_results_that_are_made() -> None:
    pipeline, tasks = _pipeline()
    used = re.findall(r"\$\(tasks\.([\w-]+)\.results\.([\w-]+)\)", yaml.safe_dump(pipeline))
    assert {("git-clone", "commit"), ("build-image", "image-digest")} <= set(used)
    for task, result in used:
        assert result in {each["name"] for each in tasks[task]["results"]}


@pytest.mark.parametrize("name", [PIPELINE, IMAGE_PIPELINE])
def test_finally_takes_no_result_that_may_be_missing(name: str) -> None:
    pipeline, _ = _pipeline(name)
    assert ".results." not in yaml.safe_dump(pipeline["finally"])


def test_run_gives_what_the_pipeline_asks_for() -> None:
    pipeline, _ = _pipeline()
    [run] = [each["spec"] for each in everything() if each["kind"] == "PipelineRun"]
    assert {each["name"] for each in run["params"]} == {each["name"] for each in pipeline["params"]} - OF_APPLICATIONS
    needed = {each["name"] for each in pipeline["workspaces"] if not each.get("optional")}
    assert {each["name"] for each in run["workspaces"]} == needed
    tasks = {each["name"] for each in pipeline["tasks"] + pipeline["finally"]}
    assert {each["pipelineTaskName"] for each in run["taskRunSpecs"]} <= tasks


def test_the_login_of_an_application_is_seen_by_the_task_that_clones_alone() -> None:
    pipeline, tasks = _pipeline()
    bound = {
        each["name"]: one
        for each in pipeline["tasks"] + pipeline["finally"]
        for one in each.get("workspaces", ())
        if one["workspace"] == LOGIN_WORKSPACE
    }
    assert [*bound] == ["git-clone"]
    for each in [*pipeline["workspaces"], *tasks["git-clone"]["workspaces"]]:
        if each["name"] == LOGIN_WORKSPACE:
            assert each["optional"] is True, "Tekton wants both to be optional, or neither"
    [plain] = [each for each in everything() if each["kind"] == "PipelineRun"]
    for login, secret in (("sales-git", "sales-git"), ("", NO_LOGIN)):
        repository = {"url": "ssh://git@git.example.com/a/b", "login": login}
        found = read_application({"metadata": {"name": "orders"}, "spec": {"repository": repository}}, "registry:5000")
        run = make_run(plain, found, found.get_environment(), name="x", branch="main", commit="c" * 40, by="poll")
        assert run["spec"]["workspaces"][-1] == {
            "name": LOGIN_WORKSPACE,
            "secret": {"secretName": secret, "optional": True},
        }


def test_run_of_an_image_gives_what_its_pipeline_asks_for() -> None:
    pipeline, _ = _pipeline(IMAGE_PIPELINE)
    [plain] = [each for each in everything() if each["kind"] == "PipelineRun"]
    application = read_application({"metadata": {"name": "orders"}}, "registry:5000")
    place = application.get_environment()
    image = f"{application.image}@sha256:{'a' * 64}"
    commit = "c" * 40
    made = make_image_run(
        plain, application, place, name="orders-1", branch="main", commit=commit, image=image, source="staging"
    )
    run = made["spec"]
    assert {each["name"] for each in run["params"]} == {each["name"] for each in pipeline["params"]}
    assert {each["name"] for each in run["workspaces"]} == {each["name"] for each in pipeline["workspaces"]}
    tasks = {each["name"] for each in pipeline["tasks"] + pipeline["finally"]}
    assert {each["pipelineTaskName"] for each in run["taskRunSpecs"]} == tasks, "Tekton refuses a run with others"
    assert (run["status"], run["pipelineRef"]) == ("PipelineRunPending", {"name": IMAGE_PIPELINE})
