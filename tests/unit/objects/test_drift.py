from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from bootstrap.core.model import Object
from bootstrap.objects.drift import find_drift, is_superset, list_changes, parse_quantity
from bootstrap.objects.manifests import DIGEST, stamp
from bootstrap.objects.patches import set_at

DEPLOYMENT: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "app", "namespace": "demo", "labels": {"a": "b"}},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "app",
                        "image": "x@sha256:1",
                        "args": ["--one", "--two"],
                        "ports": [{"containerPort": 80}],
                        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
                        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
                        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": False}],
                    }
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
            }
        },
    },
}


def live_deployment() -> Object:
    """As an API server gives it back: defaults filled in, quantities in its own spelling, empty fields left out."""
    live = copy.deepcopy(DEPLOYMENT)
    live["status"] = {"replicas": 2}
    live["metadata"] |= {"uid": "1", "annotations": {"deployment.kubernetes.io/revision": "1"}}
    spec = live["spec"]["template"]["spec"]
    spec["restartPolicy"] = "Always"
    app = spec["containers"][0]
    app["ports"] = [{"containerPort": 80, "protocol": "TCP"}]
    app["env"] = [{"name": "INJECTED", "value": "x"}, {"name": "A", "value": "1"}, {"name": "EMPTY"}]
    app["resources"] = {"limits": {"cpu": "500m", "memory": "1Gi"}}
    app["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    return live


APP = ("spec", "template", "spec", "containers", "app")


def test_what_the_api_server_adds_is_no_drift() -> None:
    assert find_drift(DEPLOYMENT, live_deployment()) == ""


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("spec", "replicas"), 5, "spec.replicas"),
        ((*APP, "image"), "y", "spec.template.spec.containers[app].image"),
        ((*APP, "args"), ["--one"], "spec.template.spec.containers[app].args"),
        ((*APP, "args"), ["--two", "--one"], "spec.template.spec.containers[app].args[0]"),
        ((*APP, "env", "A", "value"), "2", "spec.template.spec.containers[app].env[A].value"),
        ((*APP, "env"), [], "spec.template.spec.containers[app].env[A]"),
        ((*APP, "resources", "limits", "cpu"), "501m", "spec.template.spec.containers[app].resources.limits.cpu"),
        ((*APP, "ports", 0, "protocol"), "UDP", "spec.template.spec.containers[app].ports[80]"),
        (("spec", "template", "spec", "automountServiceAccountToken"), None, None),
        (("metadata", "labels", "a"), "c", "metadata.labels.a"),
        (("spec", "template", "spec", "volumes"), None, "spec.template.spec.volumes"),
    ],
)
def test_an_edit_by_hand_is_told_by_its_path(path: tuple[str | int, ...], value: Any, told: str | None) -> None:
    live = live_deployment()
    set_at(live, path, value)
    assert find_drift(DEPLOYMENT, live) == (told or ".".join(map(str, path)))


def test_the_object_is_told_before_its_digest() -> None:
    live = stamp(live_deployment())
    live["metadata"]["annotations"][DIGEST] = "sha256:0"
    assert find_drift(stamp(DEPLOYMENT), live) == f"metadata.annotations.{DIGEST}"
    live["spec"]["replicas"] = 1
    assert find_drift(stamp(DEPLOYMENT), live) == "spec.replicas"


def one(kind: str, api_version: str = "v1", **content: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, **content}


def test_service_keeps_what_the_cluster_chose() -> None:
    wanted = one("Service", spec={"type": "NodePort", "ports": [{"port": 80, "targetPort": "http"}]})
    port = {"port": 80, "targetPort": "http", "nodePort": 30123, "protocol": "TCP"}
    live = one("Service", spec={"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [port]})
    assert find_drift(wanted, live) == ""
    assert (
        find_drift(one("Service", spec={"ports": [{"port": 80, "nodePort": 30300}]}), live) == "spec.ports[80].nodePort"
    )


def test_ports_may_be_numbers_or_text() -> None:
    wanted = one("Service", spec={"ports": [{"port": 80, "targetPort": "8080"}]})
    assert find_drift(wanted, one("Service", spec={"ports": [{"port": 80, "targetPort": 8080}]})) == ""


def test_same_port_of_two_protocols_is_two_ports() -> None:
    dns = [{"port": 53, "protocol": "UDP", "name": "u"}, {"port": 53, "name": "t"}]
    live = one("Service", spec={"ports": [{"port": 53, "protocol": "TCP", "name": "t"}, dns[0]]})
    assert find_drift(one("Service", spec={"ports": dns}), live) == ""


def test_secret_in_the_clear_equals_its_encoded_form() -> None:
    wanted = one("Secret", stringData={"password": "hunter2"})
    assert find_drift(wanted, one("Secret", data={"password": "aHVudGVyMg==", "other": "eA=="})) == ""
    found = find_drift(wanted, one("Secret", data={"password": "eA=="}))
    assert found == "stringData.password"
    assert "hunter2" not in found


def test_rules_of_a_role_are_all_its_rules() -> None:
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    wanted = one("Role", "rbac.authorization.k8s.io/v1", rules=[rule])
    more = one("Role", "rbac.authorization.k8s.io/v1", rules=[rule, {**rule, "resources": ["secrets"]}])
    assert find_drift(wanted, more) == "rules"
    assert find_drift({**wanted, "rules": []}, more) == "rules"


def test_aggregated_rules_are_the_controllers() -> None:
    wanted = one("ClusterRole", "rbac.authorization.k8s.io/v1", aggregationRule={"x": 1}, rules=[])
    assert find_drift(wanted, {**wanted, "rules": [{"verbs": ["get"]}]}) == ""


def test_webhook_keeps_what_its_controller_fills_in() -> None:
    kind = ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1")
    label = {"key": "ours", "operator": "Exists"}
    theirs = {"key": "webhooks.knative.dev/exclude", "operator": "DoesNotExist"}
    wanted = one(*kind, webhooks=[{"name": "w", "objectSelector": {"matchExpressions": [label]}}])
    filled = {"name": "w", "clientConfig": {"caBundle": "x"}, "rules": [{}]}
    live = one(*kind, webhooks=[{**filled, "objectSelector": {"matchExpressions": [theirs, label]}}])
    assert find_drift(wanted, live) == ""
    assert find_drift(wanted, one(*kind, webhooks=[filled])) != ""


def test_claim_keeps_its_volume_and_says_when_its_size_differs() -> None:
    wanted = one("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "1Gi"}}})
    live = one("PersistentVolumeClaim", spec={"volumeName": "pv", "resources": {"requests": {"storage": 1073741824}}})
    assert find_drift(wanted, live) == ""
    live["spec"]["resources"]["requests"]["storage"] = "2Gi"
    assert find_drift(wanted, live) == "spec.resources.requests.storage"


def test_lists_of_custom_resources_are_the_same_from_end_to_end() -> None:
    step = {"name": "s", "env": [{"name": "A", "value": "1"}]}
    wanted = one("Task", "tekton.dev/v1", spec={"steps": [step]})
    assert find_drift(wanted, one("Task", "tekton.dev/v1", spec={"steps": [{**step, "extra": "default"}]})) == ""
    more = {"name": "s", "env": [*step["env"], {"name": "B", "value": "2"}]}
    assert find_drift(wanted, one("Task", "tekton.dev/v1", spec={"steps": [more]})) == "spec.steps[0].env"


def test_durations_of_a_run_may_be_spelt_out() -> None:
    wanted = one("PipelineRun", "tekton.dev/v1", spec={"timeouts": {"pipeline": "20m"}})
    assert find_drift(wanted, one("PipelineRun", "tekton.dev/v1", spec={"timeouts": {"pipeline": "20m0s"}})) == ""
    told = find_drift(wanted, one("PipelineRun", "tekton.dev/v1", spec={"timeouts": {"pipeline": "21m0s"}}))
    assert told == "spec.timeouts.pipeline"


def test_text_that_looks_like_a_quantity_is_text_elsewhere() -> None:
    assert find_drift(one("ConfigMap", data={"a": "1"}), one("ConfigMap", data={"a": "1000m"})) == "data.a"
    assert find_drift(one("ConfigMap", data={"on": True}), one("ConfigMap", data={"on": 1})) == "data.on"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("1Gi", "1073741824"),
        ("1G", "1000000000"),
        (2, "2"),
        ("1e3", "1000"),
        ("-1", "-1"),
        ("100n", "0.0000001"),
    ],
)
def test_quantities(text: Any, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "one", "1.2.3", "1Q", None, True, [], "."])
def test_what_is_no_quantity(text: Any) -> None:
    assert parse_quantity(text) is None


# -- two answers of one server -------------------------------------------------------------------------


def state(**more: Any) -> Object:
    metadata = {"name": "x", "resourceVersion": "1", "generation": 1, "managedFields": [{"manager": "a"}]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}, **more}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (state(), state(status={"phase": "x"}), []),
        (state(), state(data={"a": "2"}), ["data.a"]),
        (state(), state(data={}), ["data.a"]),
        (state(), state(data={"a": "1", "b.yaml": ""}), ["data[b.yaml]"]),
        (state(), state(data=None), ["data.a"]),
        (state(), state(immutable=True), ["immutable"]),
        (state(spec={"c": [{"name": "n", "v": 1}]}), state(spec={"c": [{"name": "n", "v": 2}]}), ["spec.c[n].v"]),
        (state(spec={"c": [{"name": "n"}]}), state(spec={"c": [{"name": "m"}]}), ["spec.c[m]", "spec.c[n]"]),
        (state(spec={"c": [{"name": "n"}] * 2}), state(spec={"c": [{"name": "n"}]}), ["spec.c"]),
        (state(spec={"c": ["a"]}), state(spec={"c": ["b"]}), ["spec.c"]),
        (
            state(spec={"openAPIV3Schema": {"x": 1}}),
            state(spec={"openAPIV3Schema": {"y": 1}}),
            ["spec.openAPIV3Schema"],
        ),
    ],
)
def test_what_would_change_is_told_by_its_path(before: Object, after: Object, told: list[str]) -> None:
    assert list_changes(before, after) == told


def test_bookkeeping_and_our_digest_are_no_change() -> None:
    before, after = state(), state()
    before["metadata"] |= {"annotations": {DIGEST: "sha256:0"}}
    after["metadata"] |= {"resourceVersion": "2", "generation": 2, "annotations": {DIGEST: "sha256:1"}}
    assert list_changes(before, after) == []
    after["metadata"] |= {"labels": {"app.kubernetes.io/version": "v2"}}
    assert list_changes(before, after) == ["metadata.labels[app.kubernetes.io/version]"]


@pytest.mark.parametrize(
    ("more", "less", "held"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": [1, {"c": 2, "d": 3}]}}, {"a": {"b": [1, {"c": 2}]}}, True),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ({"a": 1}, {"a": 2}, False),
    ],
)
def test_one_value_holds_another(more: Any, less: Any, held: bool) -> None:
    assert is_superset(more, less) is held
