"""A cluster elsewhere: judged, never touched, and the mirror in place of a registry of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.commands import clone, down, machine_checks, status
from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Failed, LockedImage, Pending, Ready
from bootstrap.objects import cluster_requirements
from bootstrap.settings.config import Config, MirrorSettings
from bootstrap.steps import graph
from bootstrap.steps.remote_cluster import MirrorStep, RemoteCluster, ServedStep
from tests.unit.step_world import PAUSE, FakeKube, StepWorld, make
from tests.unit.steps.test_existing_cluster import Kube

CONFIG = Config(context="far", supply="mirror", mirror=MirrorSettings(registry="mirror.example"))
GOLANG = "sha256:" + "e" * 64
ADDRESS = "mirror.example/tekton-bootstrap"


@dataclass
class FakeMirror:
    """held: "name@digest" and "name:tag" -> digest."""

    held: dict[str, str] = field(default_factory=dict)
    address: str = ADDRESS
    asked_plain: int = 0

    @contextlib.contextmanager
    def log_in(self, *, ambient: bool) -> Iterator[FakeMirror]:
        assert not ambient, "pods know nothing of this machine's logins"
        yield self

    def require_tls(self) -> None:
        self.asked_plain += 1

    def read_digests(self, wanted: Iterable[str]) -> dict[str, str]:
        return {each: self.held.get(each, "") for each in wanted}

    def add_tag(self, name: str, to: str) -> None:
        self.held[to] = self.held[name]


@pytest.fixture
def mirror() -> FakeMirror:
    return FakeMirror({f"golang@{GOLANG}": GOLANG, f"pause@{PAUSE.digest}": PAUSE.digest})


@pytest.fixture
def world(tmp_path: Path, mirror: FakeMirror) -> StepWorld:
    world = make(tmp_path, CONFIG)
    world.kube = Kube()
    annotations = {cluster_requirements.DEFAULT_CLASS: "true"}
    world.kube.put({"kind": "StorageClass", "metadata": {"name": "standard", "annotations": annotations}})
    world.images.images = {"pause": LockedImage("pause", f"{ADDRESS}/pause", PAUSE.digest)}
    world.images.copied = {"library/golang:1": f"golang@{GOLANG}"}
    cast(Any, world).open_mirror = lambda: mirror
    return world


def test_base_images_are_named_as_dockerfiles_name_them(world: StepWorld, mirror: FakeMirror) -> None:
    step = MirrorStep()
    assert step.check(world.open()) == Pending("library/golang:1 is missing")
    step.apply(world.open())
    assert mirror.asked_plain == 1
    assert step.check(world.open()) == Ready(f"{ADDRESS}, for pods and for what is built")
    mirror.held["library/golang:1"] = "sha256:another"
    assert step.check(world.open()) == Pending("library/golang:1 is missing")
    step.undo(world.open())
    assert "library/golang:1" in mirror.held


def test_every_digest_is_served(world: StepWorld, mirror: FakeMirror) -> None:
    step = ServedStep()
    assert step.check(world.open()) == Ready(f"1 images served by {ADDRESS}")
    mirror.held.clear()
    verdict = step.check(world.open())
    assert isinstance(verdict, Failed)
    assert verdict.hint == "invoke mirror"
    assert f"pause@{PAUSE.digest}" in verdict.why


def test_a_cluster_is_judged_without_an_engine(world: StepWorld) -> None:
    step = RemoteCluster()
    assert step.check(world.open()) == Ready("far, Kubernetes 1.36.3")
    cast(Kube, world.kube).forbidden = frozenset({"secrets"})
    assert isinstance(step.check(world.open()), Failed)
    world.kube = FakeKube(error=ApiError("no such host", status=0))
    verdict = step.check(world.open())
    assert isinstance(verdict, Failed)
    assert "no such host" in verdict.why
    assert world.engine.commands == []


def test_openshift_asks_for_more_rights(world: StepWorld) -> None:
    kube = cast(Kube, world.kube)
    kube.forbidden = frozenset({"securitycontextconstraints"})
    assert isinstance(RemoteCluster().check(world.open()), Ready)
    kube.groups = frozenset({"security.openshift.io/v1"})
    verdict = RemoteCluster().check(world.open())
    assert isinstance(verdict, Failed)
    assert "securitycontextconstraints.security.openshift.io" in verdict.why


def test_no_step_is_of_an_engine(world: StepWorld) -> None:
    todo = {step.name: step for step in graph.list_steps(world.open())}
    assert "engine" not in todo
    assert {"registry", "cluster", "preload"} <= set(todo)
    assert "engine" in {step.name for step in graph.list_steps(make(world.paths.state).open())}


def test_addresses_are_those_of_a_node(world: StepWorld) -> None:
    inside = [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.7"}]
    node = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": inside}}
    assert clone.find_node_address(world.open(), constants.GIT_NODE_PORT) == ""
    world.kube.put(node)
    assert clone.find_address(world.open()) == "http://10.0.0.7:30300/go-echo.git"
    inside.append({"type": "ExternalIP", "address": "2001:db8::7"})
    assert clone.find_node_address(world.open(), constants.APP_NODE_PORT) == "[2001:db8::7]:30880"
    assert status.list_endpoints(world.open())["registry"] == ADDRESS


def test_doctor_does_not_ask_for_an_engine(world: StepWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "examine_network", lambda *_, **__: [])
    shell = cast(Any, type("Shell", (), {"which": staticmethod(lambda _: None)}))
    for config, asked in ((CONFIG, False), (replace(CONFIG, context=""), True)):
        found = machine_checks.examine(shell, cast(Any, world.engine), config, world.paths, cold=False)
        assert ("engine" in {finding.name for finding in found}) is asked


def test_down_takes_what_is_in_the_cluster_and_asks_no_engine(
    world: StepWorld, mirror: FakeMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    undone: list[str] = []

    @dataclass(frozen=True)
    class Step:
        name: str
        needs: tuple[str, ...] = ()
        limit: float = 1

        def check(self, _: object) -> Ready:
            return Ready()

        def apply(self, _: object) -> None:
            """Not called."""

        def undo(self, _: object) -> None:
            undone.append(self.name)

    monkeypatch.setattr(graph, "list_steps", lambda _: [Step("images"), Step("registry"), Step("preload"), Step("git")])
    cast(Any, world.images).provide = lambda _: asked.append("provide")
    world.images.verdict = Pending("the mirror holds another build than is known here")
    assert down.down(world.open()) == 0
    assert asked == [], "what was made is taken away as it is known; the mirror need not even be there"
    undone.clear()
    world.images.stored = False
    assert down.down(world.open()) == 0
    assert asked == ["provide"]
    assert sorted(undone) == ["git", "preload"]
    assert world.engine.calls == []
    assert mirror.held
