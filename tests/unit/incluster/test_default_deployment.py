"""The Deployment and the Service that the deploy task makes."""

from __future__ import annotations

from bootstrap.incluster.default_deployment import make_deployment, make_service

DEPLOYMENT, SERVICE = make_deployment("shop", "app", 3000), make_service("shop", 3000)
POD = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


def test_service_and_deployment_find_the_same_pods() -> None:
    labels = {"app.kubernetes.io/name": "shop"}
    assert DEPLOYMENT["spec"]["selector"] == {"matchLabels": labels}
    assert DEPLOYMENT["spec"]["template"]["metadata"]["labels"] == SERVICE["spec"]["selector"] == labels
    assert DEPLOYMENT["metadata"] == SERVICE["metadata"] == {"name": "shop", "labels": labels}


def test_the_port_is_where_the_program_listens_and_80_where_it_is_asked() -> None:
    assert SERVICE["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 3000}]
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": 3000}]
    assert CONTAINER["env"] == [{"name": "PORT", "value": "3000"}]
    assert CONTAINER["readinessProbe"]["tcpSocket"] == {"port": 3000}


def test_a_rollout_takes_no_pod_away_before_the_next_one_is_ready() -> None:
    spec = DEPLOYMENT["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"]) == (1, 2)
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}


def test_any_image_may_run_and_none_may_do_more_than_it_needs() -> None:
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert (POD["automountServiceAccountToken"], POD["enableServiceLinks"]) == (False, False)
    assert CONTAINER["resources"] == {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}


def test_its_image_is_still_to_come() -> None:
    assert (CONTAINER["name"], "image" in CONTAINER) == ("app", False)
