"""The Deployment and the Service of an application that has none of its own. Pure.

Nothing is known of the image but the port that it listens on. So whether a pod is ready is whether that port takes
connections, and no user is asked for: an image that names none runs as root, with no capability and no way to more.
"""

from __future__ import annotations

from bootstrap.incluster.json_object import Object

LABEL = "app.kubernetes.io/name"
"""What the Service and the Deployment find their pods by."""
SERVICE_PORT = 80
LOOK_SECONDS = 2
"""Between two looks at the port: a rollout waits for them."""


def make_service(name: str, port: int) -> Object:
    """The Service of that name: port 80, handed on to `port` of the pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {LABEL: name}},
        "spec": {"selector": {LABEL: name}, "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": port}]},
    }


def make_deployment(name: str, container: str, port: int) -> Object:
    """The Deployment of that name, one pod with one container, which still lacks its image."""
    labels = {LABEL: name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [_make_container(container, port)],
                },
            },
        },
    }


def _make_container(name: str, port: int) -> Object:
    return {
        "name": name,
        "env": [{"name": "PORT", "value": str(port)}],
        "ports": [{"name": "http", "containerPort": port}],
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": LOOK_SECONDS},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
