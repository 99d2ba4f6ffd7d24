"""What a change of a file rebuilds, and what it leaves alone; and when the supply says that all is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import CommandError, PreconditionError
from bootstrap.core.model import Pending, Ready
from bootstrap.supply import build_catalog, rootfs
from bootstrap.supply.build_contexts import place_file
from bootstrap.supply.cache_keys import NOT_COMPILED, list_files
from bootstrap.supply.compiler import make_kubernetes_version_flags
from bootstrap.supply.source import Source
from bootstrap.world.engine import runc_filter
from bootstrap.world.engine.protocol import Engine
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeClock, FakeLine

ROOT = Path(__file__).resolve().parents[3]
NAMES = (
    *(part.name for part in build_catalog.GO_PARTS),
    *(part.name for part in build_catalog.WHEEL_PARTS),
    *(part.name for part in build_catalog.IMAGE_PARTS),
    *("rootfs", "base", "static", "golang", "tekton", "node"),
)


@dataclass
class FakeEngine:
    """images: what it holds. built(folder) looks at a build's context. tags: of every repository.

    builds: folder and name of each image that it was told to build. removed: names that it was told to take away.
    """

    images: set[str] = field(default_factory=set)
    builds: list[tuple[Path, str]] = field(default_factory=list)
    built: Callable[[Path], None] = lambda _: None
    tags: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    fails: bool = False
    stays: bool = False

    def has_image(self, reference: str) -> bool:
        return reference in self.images

    def build_image(
        self, folder: Path, name: str, *, arguments: Sequence[str], on_progress: Callable[[str], None]
    ) -> None:
        self.builds.append((folder, name))
        self.built(folder)
        on_progress("step 1/2")
        if self.fails:
            raise CommandError("docker build failed with code 1", code=1, evidence="apt-get: not found")
        self.images.add(name)

    def list_image_tags(self, repository: str) -> list[str]:
        assert ":" not in repository
        return self.tags

    def remove_images(self, *references: str) -> None:
        self.removed += references
        if self.stays:
            raise CommandError("docker image failed with code 1", code=1, evidence="image is being used")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the supply reads of the checkout, on a machine whose own inputs never change."""
    project = tmp_path / "project"
    for folder in ("images", "demo", "bootstrap/incluster", "bootstrap/manager"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "bootstrap/__init__.py", project / "bootstrap")
    (tmp_path / "ca.crt").write_text("CA")
    monkeypatch.setattr(rootfs, "CA_BUNDLE", tmp_path / "ca.crt")
    monkeypatch.setattr(rootfs, "read_machine_sources", lambda: ("bookworm", ["deb http://mirror bookworm main"]))
    monkeypatch.setattr(runc_filter, "read_missing_capabilities", lambda: frozenset({"CAP_SYS_RESOURCE"}))
    return project


def source(project: Path, *, go: str = "1.26.8", arch: str = "amd64", engine: FakeEngine | None = None) -> Source:
    """A supply as a new command makes it: nothing is remembered."""
    shell = FakeShell({"/go version": f"go version go{go} linux/amd64"}, {"go": "/go"})
    return Source(
        shell, cast(Engine, engine or FakeEngine()), FakeClock(), project=project, cache=project / "cache", arch=arch
    )


def keys(project: Path, **options: Any) -> dict[str, str]:
    made = source(project, **options)
    return {name: made._keys.compute(name) for name in NAMES}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in NAMES if before[name] != after[name]}


def append(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("\n")


@pytest.mark.parametrize(
    ("file", "rebuilt"),
    [
        ("images/git-server/server_test.go", set()),
        ("images/git-server/README.md", set()),
        ("images/git-server/__pycache__/x.pyc", set()),
        ("images/git-server/testdata/answer.txt", {"git-server", "node"}),
        ("images/git-server/Dockerfile", {"git-server", "node"}),
        ("images/git-server/server.go", {"go-git-server", "git-server", "node"}),
        ("images/buildkit/Dockerfile", {"buildkit", "node"}),
        ("demo/go-echo/deploy/deploy.yaml", set()),
        ("demo/go-echo/Dockerfile", set()),
        ("demo/go-echo/main_test.go", set()),
        ("demo/go-echo/main.go", {"go-echo-first", "go-echo", "node"}),
        ("bootstrap/incluster/notify.py", {"toolbox", "manager", "node"}),
        ("bootstrap/manager/__init__.py", {"manager", "node"}),
        ("images/manager/Dockerfile", {"manager", "node"}),
        ("images/manager/requirements.txt", {"manager-wheels", "manager", "node"}),
        ("bootstrap/commands/up.py", set()),
        ("images/nodenet/default-cni.yaml", {"nodenet", "node"}),
        ("images/node/Dockerfile", {"node"}),
        ("images/golang/Dockerfile", {"golang"}),
        ("images/registry/config.yml", {"registry"}),
        ("images/tools/go.sum", {"go-tools", "node"}),
        ("images/tekton/go.sum", {"tekton", "node"}),
        ("images/static/etc/passwd", {"static", "etcd", "coredns", "tekton", "node"}),
        (
            "images/kubernetes/go.sum",
            {
                *("go-kubernetes", "go-storage", "kube", "coredns", "local-path-provisioner", "toolbox"),
                *("manager", "node"),
            },
        ),
        (
            "images/base/Dockerfile",
            {
                *("base", "kube", "git", "toolbox", "manager", "git-server", "buildkit", "registry", "golang"),
                *("tekton", "node"),
            },
        ),
    ],
)
def test_a_changed_file_rebuilds_what_is_made_from_it(project: Path, file: str, rebuilt: set[str]) -> None:
    before = keys(project)
    append(project / file)
    assert changed(before, keys(project)) == rebuilt


AS_EVER = {
    "go-tools": "e1ee312a1a01a0a2",
    "go-kubernetes": "2bc373579117c13f",
    "go-echo-first": "91d375226bb4d471",
    "rootfs": "501dd7d11eb8f9b8",
    "registry": "1a2d6d478163b967",
    "toolbox": "a0249dcdde6e6284",
    "manager-wheels": "44703a90cd3b1c54",
    "manager": "31ebc66f838bb8ed",
    "golang": "708de780ddf1231c",
    "tekton": "14a738957adf5851",
    "node": "3aad6ec6adbf868e",
}
"""Keys of a project that never changes. Whoever changes one of them makes every user build all of it anew."""


def test_keys_stay_as_they_are(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    fixed = tmp_path / "fixed"
    folders = {part.module for part in build_catalog.GO_PARTS} | {part.folder for part in build_catalog.IMAGE_PARTS}
    folders |= {"images/base", "images/static", "images/golang", "images/node", *build_catalog.INCLUSTER}
    folders |= {"bootstrap/manager"}
    for folder in sorted(folders):
        for name, text in (("go.mod", "go 1.26\n"), ("main.go", "package main\n"), ("Dockerfile", "FROM scratch\n")):
            file = fixed / folder if folder.endswith(".py") else fixed / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    for manifest in ("images/nodenet/default-cni.yaml", "images/local-path-provisioner/default-storage.yaml"):
        (fixed / manifest).write_text("kind: List\n")
    (fixed / "images/tekton").mkdir()
    (fixed / "images/tekton/go.mod").write_text("go 1.26\n")
    (fixed / "images/manager/requirements.txt").write_text("kopf==1\n")
    (fixed / "images/versions.yaml").write_text("aliases: {pause: [registry.k8s.io/pause:3]}\n")
    found = keys(fixed)
    assert {name: found[name] for name in AS_EVER} == AS_EVER


def test_the_same_checkout_gives_the_same_keys(project: Path) -> None:
    before = keys(project)
    copy = project.with_name("copy")
    shutil.copytree(project, copy)
    assert keys(copy) == before


def test_the_architecture_is_part_of_every_key_but_those_of_tools(project: Path) -> None:
    assert changed(keys(project), keys(project, arch="arm64")) == set(NAMES) - {"go-tools"}


def test_a_patch_release_of_go_rebuilds_only_the_image_that_holds_it(project: Path) -> None:
    assert changed(keys(project), keys(project, go="1.26.9")) == {"golang"}
    minor = changed(keys(project), keys(project, go="1.27.0"))
    assert {part.name for part in build_catalog.GO_PARTS} | {"golang", "tekton", "node"} <= minor
    assert not {"base", "static", "git", "registry"} & minor


def test_aliases_are_the_nodes_business_and_the_pin_of_go_nobodys(project: Path) -> None:
    before, file = keys(project), project / "images/versions.yaml"
    text = file.read_text()
    file.write_text(text.replace("version: 1.27.3", "version: 1.27.4"))
    assert changed(before, keys(project)) == set()
    file.write_text(text.replace("etcd:3.7.0-0", "etcd:3.7.1-0"))
    assert changed(before, keys(project)) == {"node"}


def test_what_makes_no_difference_to_a_part_is_not_in_its_key() -> None:
    for part in (*build_catalog.GO_PARTS, *build_catalog.WHEEL_PARTS, *build_catalog.IMAGE_PARTS):
        assert repr(replace(part, cost=part.cost + 1)) == repr(part)
    image = build_catalog.IMAGE_PARTS[0]
    assert repr(replace(image, preload=not image.preload)) == repr(image)
    assert repr(replace(image, bases={})) != repr(image)


def test_no_go_program_embeds_what_its_key_leaves_out() -> None:
    """NOT_COMPILED would have to learn of it."""
    for folder in ("images", "demo"):
        for path in (ROOT / folder).rglob("*.go"):
            assert "//go:embed" not in path.read_text(), path
    assert NOT_COMPILED


def test_files_below_a_folder_without_what_is_left_out(tmp_path: Path) -> None:
    for name in ("a.go", "a_test.go", "testdata/x", "b/c.go", "b/README.md"):
        append(tmp_path / name)
    (tmp_path / "link").symlink_to("b")
    found = {str(path.relative_to(tmp_path)) for path in list_files(tmp_path, NOT_COMPILED)}
    assert found == {"a.go", "b/c.go", "link"}


def test_kubernetes_programs_are_told_their_version() -> None:
    flags = make_kubernetes_version_flags("v1.36.3")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=36" in flags


def test_a_program_is_placed_without_a_copy(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("x")
    place_file(tmp_path / "program", tmp_path / "placed")
    assert (tmp_path / "placed").samefile(tmp_path / "program")


# -- what is there ---------------------------------------------------------------------------------


def layout(folder: Path, digest: str) -> None:
    (folder / "blobs/sha256").mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps({"manifests": [{"digest": f"sha256:{digest * 64}"}]}))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def complete(project: Path, engine: FakeEngine) -> Source:
    """Everything is built."""
    made = source(project, engine=engine)
    for folder in (*made.list_layouts().values(), made._factory.get_layout("golang")):
        layout(folder, "a")
    (made._factory.get_folder("tekton") / "objects.json").write_text('[{"kind": "Deployment"}]')
    made._factory.get_folder("go-tools").mkdir(parents=True)
    engine.images = {made._factory.get_tag("node"), made._factory.get_tag("registry")}
    return source(project, engine=engine)


def test_everything_is_built(complete: Source) -> None:
    verdict = complete.check()
    assert isinstance(verdict, Ready)
    assert "images, built from source" in verdict.why
    lock = complete.read_lock()
    assert lock.images["toolbox"].reference.startswith("registry.tekton.internal:5000/bootstrap/toolbox@sha256:aaa")
    assert "registry.k8s.io/pause:3.10.2" in lock.images["pause"].aliases
    assert complete.list_tekton_objects() == [{"kind": "Deployment"}]
    assert set(complete.list_seeds()) == {"library/golang:1", "library/golang:1.26"}


def test_what_was_found_complete_is_not_looked_at_again(complete: Source, engine: FakeEngine) -> None:
    complete.check()
    engine.images.clear()
    assert isinstance(complete.check(), Ready)


def test_nothing_is_built(project: Path) -> None:
    made = source(project)
    assert isinstance(made.check(), Pending)
    with pytest.raises(PreconditionError, match="not built"):
        made.read_lock()


def test_what_is_kept_is_told_without_an_engine(complete: Source, engine: FakeEngine) -> None:
    engine.images.clear()
    assert complete.is_kept()
    shutil.rmtree(complete.list_layouts()["pause"])
    assert not complete.is_kept()


def test_a_layout_deleted_from_the_cache_is_made_again(complete: Source) -> None:
    shutil.rmtree(complete.list_layouts()["pause"])
    assert isinstance(complete.check(), Pending)


def test_a_node_image_that_holds_other_digests_is_another_one(
    project: Path, complete: Source, engine: FakeEngine
) -> None:
    folder = complete.list_layouts()["pause"]
    shutil.rmtree(folder)
    layout(folder, "b")  # built again, and not the same to the bit
    assert isinstance(source(project, engine=engine).check(), Pending)


# -- building in the engine ------------------------------------------------------------------------


def test_a_context_holds_the_folder_and_the_program_and_nothing_else(
    project: Path, complete: Source, engine: FakeEngine
) -> None:
    append(project / "images/pause/README.md")
    made = source(project, engine=engine)
    program = made._factory.get_folder("go-pause") / "pause"
    append(program)
    seen: list[set[str]] = []
    engine.built = lambda folder: seen.append({path.name for path in folder.iterdir()})
    made.tasks["engine:pause"].build(lambda _: None)
    assert seen == [{"Dockerfile", "pause"}]
    [(folder, name)] = engine.builds
    assert name == f"tekton-bootstrap/pause:{made._compute_key('pause')}"
    assert not folder.exists(), "the context is removed"
    made.tasks["engine:pause"].build(lambda _: None)
    assert len(engine.builds) == 1


@pytest.mark.parametrize("stays", [False, True])
def test_older_images_go_and_the_one_just_built_stays(project: Path, engine: FakeEngine, stays: bool) -> None:
    """One that a container is made from stays, which is no failure of the build."""
    engine.stays = stays
    made = source(project, engine=engine)
    append(made._factory.get_folder("go-pause") / "pause")
    current = made._compute_key("pause")
    engine.tags = ["newest", "older", current, "oldest"]  # built from cache it has the age of the others
    made.tasks["engine:pause"].build(lambda _: None)
    assert engine.removed == ["tekton-bootstrap/pause:older", "tekton-bootstrap/pause:oldest"]


def test_a_failed_build_tells_what_the_builder_said(project: Path, engine: FakeEngine) -> None:
    made = source(project, engine=engine)
    append(made._factory.get_folder("go-pause") / "pause")
    engine.fails = True
    said: list[str] = []
    with pytest.raises(CommandError, match="pause could not be built") as failure:
        made.tasks["engine:pause"].build(said.append)
    assert "apt-get: not found" in failure.value.evidence
    assert said == ["step 1/2"]
    assert list((project / "cache/tmp").iterdir()) == []


def test_the_graph_is_whole(project: Path) -> None:
    tasks = source(project).tasks
    for task in tasks.values():
        assert set(task.needs) <= set(tasks), task.name
    compiling = {task.name for task in tasks.values() if task.compiles}
    assert compiling == {"tekton", *(part.name for part in build_catalog.GO_PARTS)}


def test_a_failing_part_is_told_to_the_others(project: Path) -> None:
    cancel = Cancel()
    made = source(project)
    made._cancel = cancel
    made.get_program("go-pause", "pause").parent.mkdir(parents=True)  # without the program in it
    with pytest.raises(FileNotFoundError):
        made.build(["engine:pause"], FakeLine("images"))
    assert cancel.is_requested
