"""The renewal of the pipeline's token against a real API server, with the rights of its own Roles and nothing more."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bootstrap.incluster.token_claims import CRON_JOB, KEY, read_claims
from bootstrap.incluster.token_renewal import TokenRenewal, open_target
from bootstrap.objects.kubeconfig import make_with_token
from bootstrap.world.kube.client import Kube
from tests.integration.agent_door import agent_door
from tests.integration.control_plane import ControlPlane

ACCOUNT, SECRET = "pipeline-deployer", "target-kubeconfig"
LIFE = 600
"""Seconds: the shortest that an API server grants."""

Renew = Callable[[float], tuple[int, list[str]]]


@pytest.fixture
def renew(kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path) -> Renew:
    """Run the program so many seconds after now. Its Secret has a token of LIFE seconds."""
    for folder in ("deployer", "renewal", "target"):
        (tmp_path / folder).mkdir()
    deployer = agent_door(kube, plane, ACCOUNT, namespace, tmp_path / "deployer", manifest="demo")
    deployer.close()
    token = kube.request_token(namespace, ACCOUNT, LIFE)
    document = make_with_token(plane.server, plane.ca, token, namespace=namespace)
    metadata = {"name": SECRET, "namespace": namespace}
    kube.apply(
        [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {KEY: json.dumps(document)}}]
    )

    def run(later: float) -> tuple[int, list[str]]:
        said: list[str] = []
        door = agent_door(
            kube, plane, CRON_JOB, namespace, tmp_path / "renewal", manifest="pipeline/token-renewal.yaml"
        )
        with closing(door) as api:
            renewal = TokenRenewal(
                api,
                namespace,
                SECRET,
                said.append,
                lambda found: open_target(found, tmp_path / "target"),
                lambda: time.time() + later,
            )
            return renewal.run(), said

    return run


def kept(kube: Kube, namespace: str) -> dict[str, Any]:
    found = kube.get("v1", "Secret", SECRET, namespace)
    assert found
    document: dict[str, Any] = json.loads(base64.b64decode(found["data"][KEY]))
    return document


def test_a_token_that_is_due_gets_a_successor_by_its_own_rights(kube: Kube, namespace: str, renew: Renew) -> None:
    first = kept(kube, namespace)
    assert renew(0) == (0, ["the token is good for 0.0 days more"])
    assert kept(kube, namespace) == first
    time.sleep(1.1)  # its issue is counted in whole seconds
    code, said = renew(LIFE / 2)
    assert code == 0, said
    second = kept(kube, namespace)
    before, after = (read_claims(each["users"][0]["user"]["token"]) for each in (first, second))
    assert (after.account, after.uid, after.life) == (before.account, before.uid, LIFE)
    assert after.expires > before.expires
    assert first["clusters"] == second["clusters"]


def test_an_account_that_is_gone_is_told_and_the_secret_stays(kube: Kube, namespace: str, renew: Renew) -> None:
    first = kept(kube, namespace)
    kube.delete("v1", "ServiceAccount", ACCOUNT, namespace)
    code, said = renew(LIFE / 2)
    assert code == 1
    assert "invoke up" in said[0]
    assert kept(kube, namespace) == first
    [event] = kube.list("v1", "Event", namespace)
    assert (event["reason"], event["involvedObject"]["name"]) == ("TokenRenewalFailed", CRON_JOB)
