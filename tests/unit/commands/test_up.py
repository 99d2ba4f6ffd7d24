"""What the commands do as a whole: up, status, down."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands import down, machine_checks, status, up
from bootstrap.core import constants
from bootstrap.core.errors import (
    ApiError,
    BootstrapError,
    CommandError,
    Interrupted,
    LockedError,
    PreconditionError,
    StepError,
    TimedOut,
    UsageError,
)
from bootstrap.core.model import Failed, Pending, Ready, Secret, Unknown, Verdict
from bootstrap.core.paths import PRODUCT
from bootstrap.core.text import format_duration
from bootstrap.objects.apply_plan import Change, Plan
from bootstrap.settings.config import ClusterSettings, Config, TargetSettings
from bootstrap.steps import graph as step_graph
from bootstrap.steps.reconcile import find_needed_steps, sort_steps
from bootstrap.world import World, file_locks
from tests.unit.api_server import write_kubeconfig
from tests.unit.step_world import Box, FakeKube, StepWorld, make


@dataclass
class Part:
    """A step that is Ready once applied. error: raised by undo. log: what happened, over all parts."""

    name: str
    log: list[str]
    needs: tuple[str, ...] = ()
    limit: float = 10
    verdict: Verdict = field(default_factory=lambda: Pending("missing"))
    error: BaseException | None = None

    def check(self, world: World) -> Verdict:
        return self.verdict

    def apply(self, world: World) -> None:
        self.log.append(f"apply {self.name}")
        self.verdict = Ready("done")

    def undo(self, world: World) -> None:
        self.log.append(f"undo {self.name}")
        if self.error:
            raise self.error


@dataclass
class Graph:
    parts: dict[str, Part]
    log: list[str]
    asked: list[bool]


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    return make(tmp_path)


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Graph:
    """A graph of four parts in place of the real one, and a machine that is in order."""
    log: list[str] = []
    needs = {"engine": (), "registry": ("engine",), "cluster": ("engine",), "demo": ("cluster", "registry")}
    parts = {name: Part(name, log, above) for name, above in needs.items()}
    asked: list[bool] = []
    monkeypatch.setattr(step_graph, "list_steps", lambda world: list(parts.values()))
    monkeypatch.setattr(machine_checks, "check_before_up", lambda *_, cold: asked.append(cold))
    return Graph(parts, log, asked)


def printed(world: StepWorld, kind: str = "line") -> list[Any]:
    return [said[1] for said in world.report.printed if said[0] == kind]


# -- the real graph --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [Config(), Config(context="kind-theirs")])
def test_the_graph_is_whole_and_starts_with_the_engine(world: StepWorld, config: Config) -> None:
    world.config = config
    todo = step_graph.list_steps(world.open())
    assert len({step.name for step in todo}) == len(todo)
    ordered = [step.name for step in sort_steps(todo)]
    assert ordered.index("images") > ordered.index("engine")
    assert all(step.limit > 0 for step in todo)


def test_what_does_not_need_each_other_runs_side_by_side(world: StepWorld) -> None:
    needs = {step.name: step.needs for step in step_graph.list_steps(world.open())}
    assert "cluster" not in needs["registry"]
    assert "registry" not in needs["cluster"]
    assert not {"tekton", "builder", "git"} & {*needs["tekton"], *needs["builder"], *needs["git"]}


@pytest.mark.parametrize("config", [Config(), Config(context="kind-theirs"), Config(context="theirs", supply="mirror")])
def test_nothing_is_put_into_a_cluster_before_its_images_are_served(world: StepWorld, config: Config) -> None:
    """A wrong password, or a mirror that lacks an image, was found beside the making of namespaces."""
    world.config = config
    todo, ground = (
        step_graph.list_steps(world.open()),
        {step.name for step in step_graph.list_cluster_steps(world.open())},
    )
    for step in todo:
        assert step.name in ground or "preload" in {each.name for each in find_needed_steps(todo, step.name)}


def test_a_cluster_elsewhere_is_judged_once_the_mirror_has_said_what_it_holds(world: StepWorld) -> None:
    world.config = Config(context="theirs", supply="mirror")
    assert world.config.elsewhere
    needs = {step.name: step.needs for step in step_graph.list_steps(world.open())}
    assert "images" in needs["cluster"]


# -- up --------------------------------------------------------------------------------------------


def test_up_applies_what_is_missing_and_says_what_comes_next(world: StepWorld, graph: Graph) -> None:
    graph.parts["engine"].verdict = Ready()
    assert up.up(world.open()) == 0
    assert set(graph.log) == {"apply registry", "apply cluster", "apply demo"}
    assert "next: invoke test-run" in printed(world)[0]
    assert graph.asked == [False]


def test_the_registry_of_a_new_environment_does_not_wait_for_the_cluster(world: StepWorld, graph: Graph) -> None:
    served, cluster = threading.Event(), graph.parts["cluster"]

    class Watched(Part):
        def apply(self, world: World) -> None:
            super().apply(world)
            served.set()

    class Waiting(Part):
        def apply(self, world: World) -> None:
            assert served.wait(5)
            super().apply(world)

    graph.parts["registry"] = Watched("registry", graph.log, ("engine",))
    graph.parts["cluster"] = Waiting(cluster.name, graph.log, cluster.needs)
    assert up.up(world.open()) == 0


def test_up_again_says_that_nothing_changed(world: StepWorld, graph: Graph) -> None:
    for part in graph.parts.values():
        part.verdict = Ready()
    assert up.up(world.open()) == 0
    assert graph.log == []
    assert printed(world) == ["environment demo is ready (4 steps checked in 0.0 s, nothing changed)"]


def test_a_dry_run_changes_nothing_and_names_what_would(world: StepWorld, graph: Graph) -> None:
    graph.parts["engine"].verdict = Ready("Docker")
    assert up.up(world.open(), dry_run=True) == 0
    assert graph.log == []
    assert printed(world, "table") == [["step", "now", "why"]]
    assert printed(world) == ["would apply: registry, cluster, demo"]
    assert not world.paths.state.exists()


@pytest.mark.parametrize("look", ["status", "dry run"])
def test_a_look_writes_nothing_on_a_machine_that_has_nothing(
    world: StepWorld, graph: Graph, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    def check(opened: World) -> Verdict:
        opened.identity.ensure_certificate("registry", ("localhost",))
        opened.identity.ensure_password("git", Secret(""))
        return Pending("missing")

    for part in graph.parts.values():
        monkeypatch.setattr(part, "check", check)
    if look == "status":
        status.status(world.open())
    else:
        up.up(world.open(), dry_run=True)
    assert not world.paths.env.exists()


def test_a_faulty_kind_config_ends_up_before_anything_is_touched(
    world: StepWorld, graph: Graph, tmp_path: Path
) -> None:
    (tmp_path / "kind-config.yaml").write_text("nodes: []\n")
    world.project = tmp_path
    for dry_run in (False, True):
        with pytest.raises(UsageError):
            up.up(world.open(), dry_run=dry_run)
    assert (graph.log, graph.asked) == ([], [])
    assert not world.paths.state.exists()


def test_a_missing_kind_config_is_a_fault_too(world: StepWorld, graph: Graph) -> None:
    world.config = Config(cluster=ClusterSettings(config="no-such.yaml"))
    with pytest.raises(UsageError):
        up.up(world.open())


def test_the_kind_config_does_not_matter_for_a_cluster_that_exists(
    world: StepWorld, graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.project = tmp_path
    world.config = Config(context="kind-theirs")
    write_kubeconfig(tmp_path, "https://127.0.0.1:6443", "kind-theirs")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert up.up(world.open()) == 0


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Config(target=TargetSettings(kubeconfig="/nonexistent")), "/nonexistent has no context kind-demo"),
        (Config(context="theirs"), "there is no context theirs in your kubeconfig"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_found_before_anything_is_made(
    world: StepWorld,
    graph: Graph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Config,
    said: str,
    dry_run: bool,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    world.config = settings
    world.other = FakeKube(kubeconfig=Path("/nonexistent"))
    with pytest.raises(PreconditionError, match=said):
        up.up(world.open(), dry_run=dry_run)
    assert graph.log == []
    assert not world.paths.state.exists()


def test_a_machine_that_is_not_in_order_ends_up_before_anything_is_touched(
    world: StepWorld, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, cold: bool) -> None:
        raise PreconditionError("this machine is not ready")

    monkeypatch.setattr(machine_checks, "check_before_up", refuse)
    with pytest.raises(PreconditionError):
        up.up(world.open())
    assert graph.log == []
    assert not world.paths.state.exists()


@pytest.mark.parametrize(
    ("verdict", "error", "stored", "cold"),
    [
        (Ready(), None, True, False),
        (Pending("3 of 41 parts to build"), None, True, True),
        (Ready(), PreconditionError("the program docker was not found"), False, True),
        (Ready(), PreconditionError("Docker does not answer"), True, False),
    ],
)
def test_a_stopped_engine_does_not_make_a_machine_cold(
    world: StepWorld, verdict: Verdict, error: BootstrapError | None, stored: bool, cold: bool
) -> None:
    world.images.verdict, world.images.error, world.images.stored = verdict, error, stored
    assert machine_checks.is_cold(world.open()) is cold


def test_a_failing_step_ends_up_with_its_own_error(world: StepWorld, graph: Graph) -> None:
    graph.parts["cluster"].apply = lambda world: None  # type: ignore[method-assign]
    graph.parts["cluster"].verdict = Failed("made from other settings", "invoke down")
    with pytest.raises(StepError, match="made from other settings") as failure:
        up.up(world.open())
    assert failure.value.hint == "invoke down"
    assert "apply demo" not in graph.log


# -- over an environment that is there -------------------------------------------------------------


@dataclass
class Planned(Part):
    said: Plan = field(default_factory=lambda: Plan("demo"))

    def plan(self, world: World) -> Plan:
        return self.said


@pytest.fixture
def upgrade(world: StepWorld, graph: Graph) -> Planned:
    """The environment is there, and `demo` is of another version."""
    for part in graph.parts.values():
        part.verdict = Ready()
    world.kubeconfig.parent.mkdir(parents=True)
    world.kubeconfig.touch()
    metadata = {"name": "cicd", "labels": {constants.MANAGED_BY: PRODUCT}}
    world.kube.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    changes = (Change("change", "Deployment demo/app", ("spec.replicas",)),)
    demo = Planned("demo", graph.log, ("cluster", "registry"), said=Plan("demo", changes, there=True))
    graph.parts["demo"] = demo
    return demo


TABLE = [["", "demo", "change", "Deployment demo/app: spec.replicas"]]


def test_the_plan_is_shown_by_a_dry_run_and_by_up_before_it_acts(
    world: StepWorld, graph: Graph, upgrade: Planned
) -> None:
    graph.parts["cluster"].verdict = Ready()
    assert up.up(world.open(), dry_run=True) == 0
    assert ("table", [""] * 4, TABLE) in world.report.printed
    assert printed(world)[-1] == "would apply: demo"
    assert graph.log == []
    world.report.printed.clear()
    upgrade.apply = lambda world: graph.log.append(f"said {len(_tables(world))}")  # type: ignore[method-assign]
    with pytest.raises(TimedOut):
        up.up(world.open())
    assert graph.log == ["said 1"]


def _tables(world: Any) -> list[Any]:
    return [each for each in world.report.printed if each[0] == "table"]


def test_what_is_refused_is_refused_before_anything_is_touched(
    world: StepWorld, graph: Graph, upgrade: Planned
) -> None:
    graph.parts["registry"].verdict = Pending("stopped")
    upgrade.said = Plan("demo", refusals=(Failed("an older one", "invoke down"),))
    for dry_run in (True, False):
        with pytest.raises(StepError, match="nothing was changed: an older one") as failure:
            up.up(world.open(), dry_run=dry_run)
        assert failure.value.hint == "invoke down"
    assert graph.log == []


def test_a_new_environment_has_no_plan(world: StepWorld, graph: Graph, upgrade: Planned) -> None:
    world.kube.objects.clear()
    assert up.up(world.open()) == 0
    assert _tables(world) == []


def test_nothing_to_do_is_no_plan(world: StepWorld, graph: Graph, upgrade: Planned) -> None:
    upgrade.said, upgrade.verdict = Plan("demo", there=True), Ready()
    assert up.up(world.open()) == 0
    assert _tables(world) == []


def test_no_plan_is_asked_for_where_all_is_ready(world: StepWorld, graph: Graph, upgrade: Planned) -> None:
    upgrade.verdict = Ready()
    upgrade.plan = lambda world: pytest.fail("it asks about every object")  # type: ignore[method-assign]
    assert up.up(world.open()) == 0
    assert "nothing changed" in printed(world)[-1]


# -- status ----------------------------------------------------------------------------------------


def test_status_is_0_only_if_all_is_ready(world: StepWorld, graph: Graph) -> None:
    for part in graph.parts.values():
        part.verdict = Ready("fine")
    assert status.status(world.open()) == 0
    graph.parts["registry"].verdict = Pending("the container is stopped")
    assert status.status(world.open()) == 1
    assert graph.log == []


@pytest.mark.parametrize(
    ("free", "short"), [(40e9, False), (11e9, True), (4e9, True)], ids=["enough", "of a large disk", "few bytes"]
)
def test_status_tells_how_much_room_the_fullest_node_has(
    world: StepWorld, graph: Graph, monkeypatch: pytest.MonkeyPatch, free: float, *, short: bool
) -> None:
    def read_node_summary(node: str) -> dict[str, Any]:
        return {"node": {"fs": {"availableBytes": free if node == "full" else 90e9, "capacityBytes": 250e9}}}

    for name in ("other", "full"):
        world.kube.put({"kind": "Node", "metadata": {"name": name}})
    monkeypatch.setattr(world.kube, "read_node_summary", read_node_summary, raising=False)
    for part in graph.parts.values():
        part.verdict = Ready()
    assert status.status(world.open()) == 0, "it makes nothing less ready"
    assert ("line", f"  disk       {free / 1e9:.0f} of 250 GB free") in world.report.printed
    assert any(each[0] == "warn" and "disk: " in str(each) for each in world.report.printed) == short


def test_status_as_json(world: StepWorld, graph: Graph) -> None:
    graph.parts["engine"].verdict = Ready("Docker 29")
    graph.parts["cluster"].verdict = Failed("foreign")
    world.engine.add(Box("demo-registry", "r", ports={5000: 45000}))
    world.engine.add(Box("demo-control-plane", "n", ports={30300: 40300, 30880: 40880}))
    assert status.status(world.open(), as_json=True) == 1
    [document] = printed(world, "json")
    told = ["appsRepository", "endpoints", "disk", "expires", "steps"]
    assert list(document) == ["name", "context", "kubeconfig", "supply", *told]
    assert (document["disk"], document["expires"]) == (None, None)
    assert document["endpoints"] == {
        "git": "http://127.0.0.1:40300/go-echo.git",
        "app": "http://127.0.0.1:40880",
        "registry": "127.0.0.1:45000 (registry.tekton.internal:5000 in the cluster)",
    }
    assert {step["name"]: step["verdict"] for step in document["steps"]} == {
        "engine": "ready",
        "registry": "pending",
        "cluster": "failed",
        "demo": "unknown",
    }
    assert document["steps"][3]["why"] == "needs cluster"


def test_what_does_not_run_has_no_endpoint(world: StepWorld, graph: Graph) -> None:
    status.status(world.open(), as_json=True)
    assert printed(world, "json")[0]["endpoints"] == {}


def test_every_verdict_has_a_word() -> None:
    words = [status.name_verdict(each) for each in (Ready(), Pending(""), Failed(""), Unknown(""))]
    assert words == ["ready", "pending", "failed", "unknown"]


# -- down ------------------------------------------------------------------------------------------


def test_down_undoes_what_is_outside_the_cluster_last_first(world: StepWorld, graph: Graph) -> None:
    world.identity.ensure_ca()
    assert down.down(world.open()) == 0
    assert graph.log[-1] == "undo engine"
    assert set(graph.log) == {"undo engine", "undo registry", "undo cluster"}
    assert world.engine.calls == ["revive", "stop_if_idle"]
    assert not world.paths.env.exists()
    assert not world.paths.state.exists()
    assert "caches stay: invoke down --purge" in printed(world)[0]


def test_down_on_a_cluster_that_exists_takes_each_part(world: StepWorld, graph: Graph) -> None:
    world.config = Config(context="kind-theirs")
    assert down.down(world.open()) == 0
    assert graph.log[0] == "undo demo"
    assert len(graph.log) == 4


def test_down_on_nothing_is_fine(world: StepWorld, graph: Graph) -> None:
    world.engine.verdict = Pending("Docker is not installed")
    assert down.down(world.open()) == 0
    assert graph.log == []
    world.engine.verdict = Failed("no Docker answers")
    assert down.down(world.open(), purge=True) == 0
    assert not world.paths.state.exists()


def test_down_works_with_the_real_steps_on_nothing(world: StepWorld) -> None:
    assert down.down(world.open()) == 0
    assert world.engine.commands == []


@pytest.mark.parametrize(
    "error", [ApiError("down", status=0), CommandError("docker rm failed", code=1), PreconditionError("gone")]
)
def test_one_part_that_cannot_be_removed_does_not_keep_the_others(
    world: StepWorld, graph: Graph, error: BootstrapError
) -> None:
    graph.parts["cluster"].error = error
    world.identity.ensure_ca()
    with pytest.raises(type(error)):
        down.down(world.open(), purge=True)
    assert graph.log[-1] == "undo engine"
    assert printed(world, "warn") == [f"cluster: {error.message}"]
    assert not world.paths.env.exists()
    assert "purge" not in world.engine.calls


def test_an_interrupted_down_goes_no_further(world: StepWorld, graph: Graph) -> None:
    graph.parts["cluster"].error = Interrupted("stopped")
    world.identity.ensure_ca()
    with pytest.raises(Interrupted):
        down.down(world.open())
    assert world.paths.env.exists()
    assert "undo engine" not in graph.log


def caches(world: StepWorld) -> Path:
    module = world.paths.cache / "go/mod/example.com@v1"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module example.com\n")
    module.chmod(0o555)
    return module


def test_purge_takes_caches_and_the_private_engine(world: StepWorld, graph: Graph) -> None:
    caches(world)
    world.engine.is_managed = True
    assert down.down(world.open(), purge=True) == 0
    assert world.engine.calls[-1] == "purge"
    assert "remove_own_images" not in world.engine.calls, "they go with the engine"
    assert not world.paths.cache.exists()
    assert not world.paths.state.exists()
    assert printed(world)[0].startswith("environment demo is gone, and so are the caches (")


def test_purge_takes_our_images_out_of_the_users_docker(world: StepWorld, graph: Graph) -> None:
    assert down.down(world.open(), purge=True) == 0
    assert "remove_own_images" in world.engine.calls


def test_purge_leaves_what_another_environment_lives_on(world: StepWorld, graph: Graph) -> None:
    module = caches(world)
    other = world.paths.env.parent / "staging"
    other.mkdir(parents=True)
    assert down.down(world.open(), purge=True) == 0
    assert world.engine.calls == ["revive", "stop_if_idle"]
    assert module.exists()
    assert other.exists()
    assert printed(world, "warn") == ["caches and engine stay, for they are also those of staging"]


def test_down_waits_for_an_up_that_runs(world: StepWorld, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "_take", lambda path: None)
    with pytest.raises(LockedError):
        down.down(world.open())
    assert graph.log == []


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1m00s"), (1017, "16m57s")])
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
