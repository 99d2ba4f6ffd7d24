"""The kind cluster: made, repaired, refused, and never somebody else's. And the images its nodes lack."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, CommandError, Interrupted, PreconditionError, StepError, UsageError
from bootstrap.core.model import Failed, LockedImage, Object, Pending, Ready, Secret, Verdict
from bootstrap.settings.config import AppSettings, ClusterSettings, Config
from bootstrap.steps.kind_cluster import ROLE_LABEL, KindCluster, compute_fixed_digest, make_configuration
from bootstrap.steps.node_trust import CERTS, KIND_LABEL, LOOK, MARK, VOLUMES, make_hosts_toml
from bootstrap.steps.preload import PreloadStep, _make_tag
from tests.unit.step_world import NODE_IMAGE, PAUSE, TOOLBOX, Box, StepWorld, make

STEP, PRELOAD = KindCluster(), PreloadStep()
NODES = ("demo-control-plane", "demo-worker")
NETWORK = frozenset({"tekton-bootstrap-demo"})


def kubeconfig(server: str = "https://127.0.0.1:6443", context: str = "kind-demo") -> str:
    entry = {"name": context}
    return yaml.safe_dump(
        {
            "clusters": [entry | {"cluster": {"server": server}}],
            "contexts": [entry | {"context": {"cluster": context, "user": context}}],
            "users": [entry | {"user": {}}],
        }
    )


@dataclass
class FakeKind:
    """Makes nodes in the engine, and the user's kubeconfig in `file`. error: raised by create, its nodes stay."""

    world: StepWorld
    file: Path
    created: list[Object] = field(default_factory=list)
    deleted: int = 0
    error: BaseException | None = None
    gone: bool = False

    def create_cluster(self, name: str, config: str, node_image: str, on_phase: Callable[[str], None]) -> None:
        document = yaml.safe_load(config)
        self.created.append(document)
        for node in document["nodes"]:
            self._node(f"{name}-{node['role']}", node["image"], node["role"])
        on_phase("starting control-plane")
        unpacked = any("unpack" in command for command in self.world.engine.commands)
        assert not unpacked or len(self.created) > 1, "the machine has enough to do"
        on_phase("installing CNI")
        if self.error:
            raise self.error
        self.export_kubeconfig(name)

    def _node(self, name: str, image: str, role: str) -> None:
        assert name not in self.world.engine.boxes, f"{name} is in the way"
        cluster = self.world.config.name
        self.world.engine.add(
            Box(name, image, {KIND_LABEL: cluster, ROLE_LABEL: role}, frozenset({constants.network(cluster)}))
        )
        ready = {"type": "Ready", "status": "True"}
        self.world.kube.put({"kind": "Node", "metadata": {"name": name}, "status": {"conditions": [ready]}})

    def delete_cluster(self, name: str, kubeconfig: str = "") -> None:
        if self.gone:
            raise PreconditionError("the program kind was not found")
        self.deleted += 1
        boxes = self.world.engine.boxes
        for box in [box for box in boxes.values() if box.labels.get(KIND_LABEL) == name]:
            del boxes[box.name]
        assert kubeconfig in ("", str(self.file))
        Path(kubeconfig or os.environ["KUBECONFIG"]).unlink(missing_ok=True)

    def read_kubeconfig(self, name: str) -> str:
        return kubeconfig()

    def export_kubeconfig(self, name: str) -> None:
        self.file.write_text(kubeconfig())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepWorld:
    world = make(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "user.kubeconfig"))
    world.kind = FakeKind(world, tmp_path / "user.kubeconfig")
    return world


@pytest.fixture
def running(world: StepWorld) -> StepWorld:
    """The cluster as `up` leaves it."""
    STEP.apply(world.open())
    return world


def check(world: StepWorld) -> Verdict:
    return STEP.check(world.open())


def repaired(world: StepWorld) -> Verdict:
    STEP.apply(world.open())
    return check(world)


READY = Ready("kind demo, 2 nodes, Kubernetes 1.36.3")


def test_nothing_is_there(world: StepWorld) -> None:
    assert check(world) == Pending("there is no cluster yet")


def test_it_is_made_as_the_file_says_with_what_we_need(world: StepWorld) -> None:
    assert repaired(world) == READY
    [document] = world.kind.created
    assert [node["image"] for node in document["nodes"]] == [NODE_IMAGE] * 2
    ports = {each["containerPort"] for each in document["nodes"][0]["extraPortMappings"]}
    assert ports == {constants.GIT_NODE_PORT, constants.APP_NODE_PORT}
    assert world.kubeconfig.read_text() == kubeconfig()
    assert world.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_every_node_trusts_the_registry_and_knows_its_password(running: StepWorld) -> None:
    pull = running.identity.ensure_password("registry-pull", Secret("")).reveal()
    login = base64.b64encode(f"nodes:{pull}".encode()).decode()
    for name in NODES:
        files = running.engine.boxes[name].files
        assert files[f"{CERTS}/hosts.toml"] == make_hosts_toml(running.open())
        assert files[f"{CERTS}/ca.crt"] == running.identity.ensure_ca().certificate.decode()
        assert f'[host."https://{constants.PULL_REGISTRY}"]' in files[f"{CERTS}/hosts.toml"]
        assert f"Basic {login}" in files[f"{CERTS}/hosts.toml"]
        assert files[f"{CERTS}/hosts.toml"].count("Basic") == 1
    assert pull not in "\n".join(running.engine.commands)


def test_a_second_apply_makes_nothing(running: StepWorld) -> None:
    boxes = dict(running.engine.boxes)
    assert repaired(running) == READY
    assert running.engine.boxes == boxes
    assert len(running.kind.created) == 1


@pytest.mark.parametrize("error", [Interrupted("stopped"), KeyboardInterrupt()])
def test_an_interrupted_creation_is_done_again(world: StepWorld, error: BaseException) -> None:
    world.kind.error = error
    with pytest.raises(type(error)):
        STEP.apply(world.open())
    world.kube.error = ApiError("the API server does not answer", status=0)
    assert check(world) == Pending("it is half made")
    world.kind.error = world.kube.error = None
    assert repaired(world) == READY
    assert (world.kind.deleted, len(world.kind.created)) == (1, 2)


def test_an_interruption_before_the_mark_counts_as_half_made(running: StepWorld) -> None:
    del running.engine.boxes["demo-control-plane"].files[MARK]
    assert check(running) == Pending("it is half made")
    assert repaired(running) == READY


NO_FORK = CommandError("docker exec failed with code 126", code=126, evidence="cannot fork: resource unavailable")


def mute(box: Box, words: Any) -> str:
    raise NO_FORK


def test_a_node_that_does_not_tell_is_no_licence_to_delete(running: StepWorld) -> None:
    running.engine.executed = mute
    boxes = dict(running.engine.boxes)
    with pytest.raises(CommandError, match="docker exec failed"):
        check(running)
    with pytest.raises(StepError, match="does not tell what it was made from, so nothing is changed") as failure:
        STEP.apply(running.open())
    assert failure.value.evidence == NO_FORK.evidence
    assert "invoke down --name demo" in failure.value.hint
    assert (running.kind.deleted, running.engine.boxes) == (0, boxes)


def test_nor_is_one_that_was_started_and_ended_again(running: StepWorld) -> None:
    running.engine.boxes["demo-worker"].running = False
    running.engine.executed = mute
    with pytest.raises(StepError, match="nothing is changed"):
        STEP.apply(running.open())
    assert running.kind.deleted == 0


def used_volume(world: StepWorld) -> None:
    world.engine.boxes["demo-worker"].files[f"{VOLUMES}/pvc-1_git_repositories/HEAD"] = "ref: refs/heads/main"


def used_api(world: StepWorld) -> None:
    world.kube.put(
        {"kind": "Namespace", "metadata": {"name": "git", "labels": {constants.MANAGED_BY: "tekton-bootstrap"}}}
    )


def removed_mark(world: StepWorld) -> None:
    del world.engine.boxes["demo-control-plane"].files[MARK]


def removed_control_plane(world: StepWorld) -> None:
    del world.engine.boxes["demo-control-plane"]


def worker_never_ran(world: StepWorld) -> None:
    worker = world.engine.boxes["demo-worker"]
    worker.running = worker.born = False
    world.engine.boxes["demo-control-plane"].files[f"{VOLUMES}/pvc-2/x"] = "x"


@pytest.mark.parametrize("use", [used_volume, used_api])
@pytest.mark.parametrize("damage", [removed_mark, removed_control_plane, worker_never_ran])
def test_what_has_been_used_is_never_taken_for_half_made(
    running: StepWorld, use: Callable[[StepWorld], None], damage: Callable[[StepWorld], None]
) -> None:
    use(running)
    damage(running)
    boxes = dict(running.engine.boxes)
    if damage is not worker_never_ran:
        verdict = check(running)
        assert isinstance(verdict, Failed)
        assert "invoke down --name demo" in verdict.hint
    with pytest.raises(StepError, match=r"it is in use: .*; nothing is deleted"):
        STEP.apply(running.open())
    assert (running.kind.deleted, running.engine.boxes) == (0, boxes)


def test_nodes_that_a_look_missed_are_not_deleted_when_kind_meets_them(running: StepWorld) -> None:
    """The engine answered with no container once; kind then finds the cluster."""
    used_volume(running)
    seen = running.engine.list_containers
    answers = [list[Any]()]
    running.engine.list_containers = lambda **words: answers.pop() if answers else seen(**words)  # type: ignore[method-assign]
    exist = 'node(s) already exist for a cluster with the name "demo"'
    running.kind.error = CommandError("kind create failed with code 1", code=1, evidence=exist)
    running.kind.create_cluster = lambda *words: _raise(running.kind.error)
    with pytest.raises(StepError, match="nothing is deleted"):
        STEP.apply(running.open())
    assert running.kind.deleted == 0


def _raise(error: BaseException) -> None:
    raise error


def test_the_look_at_a_node_tells_absence_from_failure(tmp_path: Path) -> None:
    mark, volumes, hosts = tmp_path / "mark", tmp_path / "volumes", tmp_path / "hosts.toml"

    def look() -> subprocess.CompletedProcess[str]:
        words = ["sh", "-c", LOOK, "sh", str(mark), str(volumes), str(hosts), str(tmp_path / "absent")]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=10)

    assert (look().returncode, look().stdout) == (0, "\n\n")
    mark.write_text("digest")
    volumes.mkdir()
    hosts.write_text("a\nb\n")
    assert (look().returncode, look().stdout) == (0, "digest\n\na\nb\n")
    (volumes / "pvc").mkdir()
    assert look().stdout == "digest\nvolumes\na\nb\n"
    mark.unlink()
    mark.mkdir()  # what cannot be read is not absent
    assert look().returncode != 0


def test_what_kind_does_is_told_and_workers_unpack_meanwhile(world: StepWorld) -> None:
    STEP.apply(world.open())
    assert ("cause", "installing CNI") in world.report.steps["cluster"].said
    unpacked = [thread.name for thread in threading.enumerate() if thread.name.startswith("unpack")]
    assert unpacked in ([], ["unpack demo-worker"]), "never on a control plane"


def test_kinds_own_words_are_shown_when_it_fails(world: StepWorld) -> None:
    world.kind.error = CommandError("kind create failed with code 1", code=1, evidence="kubeadm init: timed out")
    with pytest.raises(CommandError, match="could not create") as failure:
        STEP.apply(world.open())
    assert failure.value.evidence == "kubeadm init: timed out"
    assert "invoke doctor" in failure.value.hint


CONFLICT = 'The container name "/demo-worker" is already in use by container "abc".'


def late(world: StepWorld, evidence: str, networks: frozenset[str] = NETWORK) -> list[str]:
    """The first creation meets a node that an engine has made meanwhile. Answers the names of the calls."""
    kind, calls = world.kind, list[str]()
    create = kind.create_cluster

    def creates(*words: Any) -> None:
        calls.append("create")
        if len(calls) == 1:
            world.engine.add(Box("demo-worker", NODE_IMAGE, {KIND_LABEL: "demo", ROLE_LABEL: "worker"}, networks))
            raise CommandError("kind create failed with code 1", code=1, evidence=evidence)
        create(*words)

    kind.create_cluster = creates
    return calls


@pytest.mark.parametrize("evidence", [CONFLICT, 'node(s) already exist for a cluster with the name "demo"'])
def test_a_node_that_came_late_for_a_killed_command_is_replaced(world: StepWorld, evidence: str) -> None:
    calls = late(world, evidence)
    assert repaired(world) == READY
    assert (len(calls), world.kind.deleted) == (2, 1)


@pytest.mark.parametrize(
    ("evidence", "networks"), [("kubeadm init: timed out", NETWORK), (CONFLICT, frozenset({"bridge"}))]
)
def test_other_failures_and_nodes_of_others_are_not(world: StepWorld, evidence: str, networks: frozenset[str]) -> None:
    calls = late(world, evidence, networks)
    with pytest.raises(CommandError, match="could not create") as failure:
        STEP.apply(world.open())
    assert failure.value.evidence == evidence
    assert (len(calls), world.kind.deleted) == (1, 0)


@pytest.fixture
def being_made(world: StepWorld) -> StepWorld:
    """A killed command's nodes, of which the engine has made none yet."""
    for name, role in (("demo-control-plane", "control-plane"), ("demo-worker", "worker")):
        labels = {KIND_LABEL: "demo", ROLE_LABEL: role}
        world.engine.births.append(Box(name, NODE_IMAGE, labels, NETWORK, running=False, born=False))
    return world


def test_nodes_that_the_engine_still_makes_are_waited_for_and_replaced(being_made: StepWorld) -> None:
    assert repaired(being_made) == READY
    assert being_made.kind.deleted == 1
    said = being_made.report.steps["cluster"].said
    assert ("cause", "Docker still makes 2 nodes for a command that was ended") in said


def test_undo_waits_for_them_too(being_made: StepWorld) -> None:
    STEP.undo(being_made.open())
    assert (being_made.engine.boxes, being_made.engine.births) == ({}, [])


def test_a_stopped_node_is_started_and_nothing_is_lost(running: StepWorld) -> None:
    running.engine.boxes["demo-worker"].running = False
    assert check(running) == Pending("demo-worker is stopped")
    assert repaired(running) == READY
    assert running.kind.deleted == 0


def test_a_node_that_never_ran_is_not_started_but_replaced(running: StepWorld) -> None:
    worker = running.engine.boxes["demo-worker"]
    worker.running = worker.born = False
    assert repaired(running) == READY
    assert running.kind.deleted == 1
    assert not [command for command in running.engine.commands if command.startswith("start")]


def test_a_removed_worker_is_told_and_not_made_up_for(running: StepWorld) -> None:
    del running.engine.boxes["demo-worker"]
    verdict = check(running)
    assert isinstance(verdict, Failed)
    assert verdict.why == "1 of its 2 nodes were removed"
    assert "invoke down --name demo" in verdict.hint
    STEP.apply(running.open())
    assert running.kind.deleted == 0


def test_without_its_control_plane_it_is_made_again(running: StepWorld) -> None:
    del running.engine.boxes["demo-control-plane"]
    assert check(running) == Pending("it is half made")
    assert repaired(running) == READY


@pytest.mark.parametrize(
    "config",
    [
        Config(cluster=ClusterSettings(api_port=16443)),
        Config(app=AppSettings(port=18080)),
    ],
)
def test_what_cannot_change_in_place_is_refused_with_the_way_out(running: StepWorld, config: Config) -> None:
    running.config = config
    verdict = check(running)
    assert isinstance(verdict, Failed)
    assert "kind-config.yaml" in verdict.why
    assert verdict.hint == "invoke down --name demo, then invoke up"
    STEP.apply(running.open())
    assert running.kind.deleted == 0, "and nothing is destroyed"


def test_another_kubernetes_is_refused_and_another_node_image_is_not(running: StepWorld) -> None:
    running.images.node_image = "tekton-bootstrap/node:2"
    assert check(running) == READY
    running.images.version = "v1.37.0"
    assert isinstance(check(running), Failed)


def test_another_kind_config_is_refused(running: StepWorld, tmp_path: Path) -> None:
    before = compute_fixed_digest(running.open())
    file = tmp_path / "kind-config.yaml"
    text = (running.project / "kind-config.yaml").read_text()
    file.write_text(f"# a comment changes nothing\n{text}")
    running.project = tmp_path
    assert compute_fixed_digest(running.open()) == before
    file.write_text(f"{text}- role: worker\n")
    assert isinstance(check(running), Failed)


def test_a_faulty_kind_config_is_told_before_anything_is_built(world: StepWorld, tmp_path: Path) -> None:
    (tmp_path / "kind-config.yaml").write_text("kind: Cluster\nnods: []\n")
    world.project = tmp_path
    with pytest.raises(UsageError) as failure:
        make_configuration(world.config, world.project)
    assert len(failure.value.faults) >= 1


def test_a_changed_password_reaches_the_nodes_if_it_is_theirs(running: StepWorld) -> None:
    registry = replace(running.config.registry, password=Secret("another"))
    running.config = replace(running.config, registry=registry)
    assert check(running) == READY, "they cannot push"
    (running.paths.env / "registry-pull.password").write_text("another")
    assert check(running) == Pending("demo-control-plane does not trust the registry yet")
    assert repaired(running) == READY


def test_a_new_authority_reaches_the_nodes(running: StepWorld) -> None:
    (running.paths.env / "ca.key").unlink()
    assert check(running) == Pending("demo-control-plane does not trust the registry yet")
    assert repaired(running) == READY


def test_a_lost_copy_of_the_kubeconfig_is_written_again(running: StepWorld) -> None:
    running.kubeconfig.unlink()
    running.kube.error = PreconditionError("there is no kubeconfig")
    assert check(running) == Pending("there is no kubeconfig")
    running.kube.error = None
    assert repaired(running) == READY
    assert running.kubeconfig.exists()


@pytest.mark.parametrize("text", ["", kubeconfig("https://127.0.0.1:1"), kubeconfig(context="kind-other"), "{"])
def test_a_context_that_the_user_deleted_or_that_leads_elsewhere_is_written_again(
    running: StepWorld, text: str
) -> None:
    running.kind.file.write_text(text)
    assert check(running) == Pending("your kubeconfig does not lead to kind-demo")
    assert repaired(running) == READY


def test_an_api_that_does_not_answer_is_waited_for(running: StepWorld) -> None:
    running.kube.error = ApiError("the API server does not answer", status=0)
    assert check(running) == Pending("the API server does not answer")


def test_a_node_that_has_not_joined_or_is_not_ready_is_waited_for(running: StepWorld) -> None:
    node = running.kube.objects["Node", "", "demo-worker"]
    node["status"]["conditions"][0] |= {"status": "False", "message": "no network"}
    verdict = check(running)
    assert isinstance(verdict, Pending)
    assert "demo-worker" in verdict.why
    del running.kube.objects["Node", "", "demo-worker"]
    assert check(running) == Pending("1 of 2 nodes have joined")


@pytest.fixture
def foreign(world: StepWorld) -> Iterator[StepWorld]:
    """A kind cluster of the same name that somebody else made."""
    theirs = Box("demo-control-plane", "kindest/node:v1.34.0", {KIND_LABEL: "demo"}, frozenset({"kind"}))
    world.engine.add(theirs)
    yield world
    assert world.engine.boxes[theirs.name] is theirs
    assert not theirs.files
    assert world.kind.deleted == 0


def test_a_foreign_cluster_is_neither_adopted_nor_deleted(foreign: StepWorld) -> None:
    verdict = check(foreign)
    assert isinstance(verdict, Failed)
    assert "we did not make" in verdict.why
    with pytest.raises(StepError, match="left alone"):
        STEP.apply(foreign.open())
    STEP.undo(foreign.open())
    assert foreign.engine.commands == []


def test_one_foreign_node_among_ours_is_enough(running: StepWorld) -> None:
    running.engine.add(Box("theirs", "kindest/node", {KIND_LABEL: "demo"}, frozenset({"kind"})))
    assert isinstance(check(running), Failed)
    STEP.undo(running.open())
    assert running.kind.deleted == 0


def test_undo_deletes_and_may_be_done_twice(running: StepWorld) -> None:
    STEP.undo(running.open())
    STEP.undo(running.open())
    assert running.kind.deleted == 1


def test_undo_takes_the_context_from_the_file_that_apply_wrote_to(
    running: StepWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "another"))
    STEP.undo(running.open())
    assert not running.kind.file.exists()


def test_undo_works_without_kind(running: StepWorld) -> None:
    running.kind.gone = True
    STEP.undo(running.open())
    assert running.engine.boxes == {}
    assert running.engine.commands[-1] == "remove demo-control-plane demo-worker"
    assert running.report.printed == [("warn", "context kind-demo stays: kubectl config delete-context kind-demo")]


# -- the images that nodes lack --------------------------------------------------------------------


def listed(*images: LockedImage) -> Any:
    def execute(box: Box, words: Any) -> str:
        assert list(words) == ["ctr", "--namespace=k8s.io", "images", "list", "--quiet"]
        return "".join(f"{image.reference}\n" for image in images)

    return execute


@pytest.fixture
def older(running: StepWorld) -> StepWorld:
    """Nodes made from an earlier image, which lacks the toolbox of today."""
    running.images.node_image = "tekton-bootstrap/node:2"
    running.engine.executed = listed(PAUSE)
    running.engine.add(Box("demo-registry", "r", ports={5000: 1}))
    return running


def test_nodes_of_today_hold_everything(running: StepWorld) -> None:
    assert PRELOAD.check(running.open()) == Ready("2 images in the nodes from the start")


def test_nodes_of_others_hold_nothing_of_ours(running: StepWorld) -> None:
    running.images.images = {image.name: replace(image, in_node=False) for image in (PAUSE, TOOLBOX)}
    running.engine.executed = listed()
    running.engine.add(Box("demo-registry", "r", ports={5000: 1}))
    assert PRELOAD.check(running.open()) == Pending("2 images are not in the nodes")


def test_what_older_nodes_lack_is_pushed_to_the_registry(older: StepWorld) -> None:
    assert PRELOAD.check(older.open()) == Pending("1 images are not in the nodes")
    PRELOAD.apply(older.open())
    assert set(older.served.held) == {"bootstrap/toolbox:bbbbbbbbbbbb"}
    older.served.held[_make_tag(TOOLBOX)] = TOOLBOX.digest
    assert PRELOAD.check(older.open()) == Ready("2 images in the registry")


def test_older_nodes_that_hold_the_same_images_need_no_registry(older: StepWorld) -> None:
    older.engine.executed = listed(PAUSE, TOOLBOX)
    del older.engine.boxes["demo-registry"]
    assert PRELOAD.check(older.open()) == Ready("2 images in the registry")
