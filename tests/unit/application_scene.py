"""An application with three environments: its runs and its Deployments, as the API gives them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.rollout import HISTORY

ONE, TWO, THREE = "1a" * 20, "2b" * 20, "3c" * 20
REPOSITORY = "registry.tekton.internal:5000/apps/orders"
PREFIX = "tekton-bootstrap.dev/"
PLAN = {"tasks": [{"name": "deploy"}], "finally": [{"name": "notify"}]}
ENVIRONMENTS: list[Object] = [
    {"name": "staging", "namespace": "sales-staging"},
    {"name": "canary", "namespace": "sales-canary", "branches": ["canary"]},
    {"name": "production", "namespace": "sales", "promote": True},
]


def image(commit: str) -> str:
    return f"{REPOSITORY}@sha256:{commit[:2] * 32}"


def application(environments: Sequence[Object] = ENVIRONMENTS) -> Object:
    metadata = {"name": "orders", "namespace": constants.RUNS}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": {"environments": [*environments]}}


def ended(status: str = "True", reason: str = "") -> Object:
    return {"pipelineSpec": PLAN, "conditions": [{"type": "Succeeded", "status": status, "reason": reason}]}


def run(commit: str, env: str = "staging", minute: int = 0, status: Any = None, **annotations: str) -> Object:
    """A run that built the commit, and succeeded unless something else is said."""
    name = f"orders-{env}-{commit[:12]}-{minute}"
    labels = {f"{PREFIX}application": "orders", f"{PREFIX}environment": env, f"{PREFIX}trigger": "push"}
    marks = {f"{PREFIX}commit": commit, f"{PREFIX}branch": "main"} | {PREFIX + k: v for k, v in annotations.items()}
    built = [{"name": "image-digest", "value": image(commit).partition("@")[2]}]
    return {
        "kind": "PipelineRun",
        "metadata": {
            "name": name,
            "namespace": constants.RUNS,
            "labels": labels,
            "annotations": marks,
            "creationTimestamp": f"2026-01-01T10:{minute:02}:00Z",
        },
        "spec": {"params": [{"name": "IMAGE", "value": REPOSITORY}]},
        "status": {**(ended() if status is None else status), "results": built},
    }


def record(commit: str, how: str = "run", **more: str) -> dict[str, str]:
    return {"when": "2026-01-01T10:00:00+00:00", "image": image(commit), "how": how, "commit": commit} | more


def without_commit(commit: str) -> dict[str, str]:
    return record(commit) | {"commit": ""}


def deployment(commit: str, namespace: str = "sales", records: Sequence[Any] = ()) -> Object:
    containers = [{"name": "orders", "image": image(commit)}]
    return {
        "kind": "Deployment",
        "metadata": {"name": "orders", "namespace": namespace, "annotations": {HISTORY: json.dumps([*records])}},
        "spec": {"selector": {"matchLabels": {"app": "orders"}}, "template": {"spec": {"containers": containers}}},
    }
