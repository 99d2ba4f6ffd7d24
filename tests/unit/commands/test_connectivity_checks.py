"""Each hop of the network: what is tried, from where, and what is said when it does not hold."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bootstrap.commands import connectivity_checks
from bootstrap.commands.check_results import Finding
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, CommandError
from bootstrap.core.model import Object
from bootstrap.settings.config import Config, MirrorSettings, ProxySettings
from bootstrap.steps.node_trust import KIND_LABEL
from bootstrap.world.kube.exec import Executed
from tests.unit.step_world import Box, FakeKube, StepWorld, make

X509 = "x509: certificate signed by unknown authority"


@dataclass
class Kube(FakeKube):
    """refused: words of a command that fail -> what it prints."""

    refused: dict[str, str] = field(default_factory=dict)
    ran: list[tuple[str, str]] = field(default_factory=list)

    def execute(self, namespace: str, pod: str, command: Sequence[str], *, container: str, seconds: float) -> Executed:
        assert command[:2] == ["sh", "-c"]
        text = " ".join(command[2:])
        self.ran.append((pod, text))
        if "broken" in self.refused:
            raise ApiError(self.refused["broken"], status=0)
        wrong = next((said for word, said in self.refused.items() if word in text), None)
        return Executed(0, "", "") if wrong is None else Executed(1, "", f"noise\n{wrong}\n")


def pod(namespace: str, name: str, phase: str = "Running") -> Object:
    meta = {"name": f"{name}-1", "namespace": namespace, "labels": {"app.kubernetes.io/name": name}}
    return {"kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": name}]}, "status": {"phase": phase}}


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    world = make(tmp_path)
    world.kube = Kube()
    world.kube.put(pod("git", "git"), pod(constants.BUILD, "buildkitd"))
    world.engine.add(Box("demo-control-plane", "node", {KIND_LABEL: "demo"}))
    world.engine.executed = lambda _, words: ""
    return world


def found(world: StepWorld) -> dict[str, Finding]:
    return {finding.name: finding for finding in connectivity_checks.examine(world.open())}


def kube(world: StepWorld) -> Kube:
    assert isinstance(world.kube, Kube)
    return world.kube


def test_without_an_environment_nothing_in_a_cluster_is_tried(tmp_path: Path) -> None:
    world = make(tmp_path)
    assert found(world) == {}
    world.kube.error = ApiError("no such host", status=0)
    assert found(world) == {}


def test_every_hop_of_one_that_works(world: StepWorld) -> None:
    said = found(world)
    assert {finding.level for finding in said.values()} == {"ok"}
    assert set(said) == {
        "pods pull",
        "demo-control-plane -> registry",
        "pod -> DNS, kubernetes.default.svc",
        f"pod -> DNS, {constants.REGISTRY_HOST}",
        "pod -> API server",
        "pod -> registry",
        "BuildKit -> registry",
    }
    assert {name for name, _ in kube(world).ran} == {"git-1", "buildkitd-1"}


def test_one_that_does_not_hold_says_why_and_what_to_do(world: StepWorld) -> None:
    kube(world).refused = {"KUBERNETES_SERVICE_HOST": "Connection refused"}
    said = found(world)
    assert said["pod -> API server"].level == "warn"
    assert said["pod -> API server"].what == "Connection refused"
    assert "invoke up" in said["pod -> API server"].fix
    assert said["pod -> DNS, kubernetes.default.svc"].level == "ok"


@pytest.mark.parametrize(
    ("answers", "own", "said"),
    [
        ({"a.test": "10.0.0.1", "a.test.": "10.0.0.1"}, "", ""),
        ({"a.test": "10.0.0.1"}, "", ""),
        ({"a.test": "10.0.0.1"}, "10.0.0.1 fd00::1", ""),
        ({"a.test": "fd00::1"}, "10.0.0.1 fd00::1", ""),
        ({}, "", "no address for a.test"),
        (
            {"a.test": "203.0.113.9", "a.test.": "10.0.0.1"},
            "",
            "it is 203.0.113.9, not 10.0.0.1; a search domain answers any name",
        ),
        ({"a.test": "203.0.113.9"}, "10.0.0.1", "it is 203.0.113.9, not 10.0.0.1; a search domain answers any name"),
    ],
)
def test_a_name_that_a_search_domain_answers_is_not_known(
    tmp_path: Path, answers: dict[str, str], own: str, said: str
) -> None:
    """The script itself, with a stand-in for getent."""
    cases = "".join(f"{name}) echo '{address}  {name}' ;;\n" for name, address in answers.items())
    getent = tmp_path / "getent"
    getent.write_text(f'#!/bin/sh\ncase "$2" in\n{cases}*) exit 2 ;;\nesac\n')
    getent.chmod(0o755)
    argv = ["sh", "-c", connectivity_checks.KNOWN, "a.test", own]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": path})
    assert (done.stdout.strip(), done.returncode) == (said, 1 if said else 0)
    assert done.stderr == ""


def test_a_pod_that_cannot_be_entered_is_told(world: StepWorld) -> None:
    kube(world).refused = {"broken": "the pod is gone"}
    assert found(world)["pod -> registry"].what == "the pod is gone"


def test_a_node_that_cannot_pull(world: StepWorld) -> None:
    def refuse(*_: object) -> str:
        raise CommandError("docker exec failed", code=1, evidence=f"ctr: {X509}\nDEPRECATION: cgroup v1")

    world.engine.executed = refuse
    finding = found(world)["demo-control-plane -> registry"]
    assert (finding.level, finding.what) == ("warn", X509)


def test_a_pod_that_waits_for_its_image(world: StepWorld) -> None:
    waiting = pod("git", "git2", "Pending")
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "401 Unauthorized"}}
    waiting["status"]["containerStatuses"] = [{"name": "git", "state": state}]
    world.kube.put(waiting)
    assert found(world)["pods pull"].what == "git/git2-1: 401 Unauthorized"


def test_the_proxy_is_tried_from_here_and_from_a_pod(world: StepWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        world.config = replace(world.config, proxy=ProxySettings(http=url, https="http://127.0.0.1:9"))
        kube(world).refused = {"127.0.0.1 9": "Connection refused"}
        said = found(world)
    assert said["here -> proxy.http"].level == said["pod -> proxy.http"].level == "ok"
    assert said["here -> proxy.https"].what == "127.0.0.1:9 does not answer"
    assert said["pod -> proxy.https"].level == "warn"


def test_elsewhere_the_mirror_is_what_has_to_be_reached(world: StepWorld) -> None:
    world.config = Config(context="far", supply="mirror", mirror=MirrorSettings(registry="127.0.0.1:9"))
    world.engine.boxes.clear()
    said = found(world)
    assert said["here -> registry"].level == "warn"
    assert not [name for name in said if name.startswith("pod -> DNS, 127")]
    assert any(text.endswith("127.0.0.1 9") for _, text in kube(world).ran)
    assert world.engine.commands == []
