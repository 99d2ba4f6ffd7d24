"""What is published, locked and fetched: from a real registry and a web server that stand for the public hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.commands import list_images
from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import BootstrapError, NotFound, PreconditionError, UsageError
from bootstrap.core.model import Object, Pending, Ready, Secret
from bootstrap.core.paths import PROJECT
from bootstrap.settings.config import Config, UpstreamSettings
from bootstrap.supply import lock_upstream, tekton_build, upstream_lock
from bootstrap.supply.build_catalog import GoPart, WheelPart, name_archive
from bootstrap.supply.compiler import Compiler
from bootstrap.supply.public_registries import PublicRegistries
from bootstrap.supply.python_packages import Wheels
from bootstrap.supply.tekton_releases import DASHBOARD, PART_OF
from bootstrap.supply.upstream import Upstream
from bootstrap.world.http_download import DownloadAccess, download
from bootstrap.world.shell import SystemShell
from tests import publishing
from tests.integration.conftest import find_binary
from tests.integration.test_mirror import Engine
from tests.publishing import Host, image
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.step_world import StepWorld, make

PROGRAMS = {"kubectl": {"bin/kubectl": b"kubectl"}, "buildkit": {"usr/bin/buildkitd": b"d", "usr/bin/buildctl": b"ctl"}}
OBJECTS: list[Object] = [
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "controller", "labels": {PART_OF: "tekton-pipelines"}},
        "spec": {"args": ["-entrypoint-image", f"image.local/{name}"], "image": f"image.local/{name}"},
    }
    for name in tekton_build.NAMES
    if "pipelines" in name
]
OBJECTS += [
    {
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {PART_OF: "tekton-triggers"}},
        "spec": {"args": [f"-el-image=image.local/{name}"]},
    }
    for name in tekton_build.NAMES
    if "triggers" in name
]
OBJECTS += [
    {"kind": "ClusterInterceptor", "metadata": {"name": "cel", "labels": {PART_OF: "tekton-triggers"}}},
    {
        "kind": "Deployment",
        "metadata": {"name": DASHBOARD, "labels": {PART_OF: DASHBOARD}},
        "spec": {"image": f"image.local/{DASHBOARD}"},
    },
]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """It has everything that is wanted, for two architectures."""
    folder = tmp_path_factory.mktemp("published")
    with publishing.host(find_binary("crane")) as host:
        wanted = upstream_lock.read_wanted(PROJECT).images
        for name, reference in wanted.items():
            layouts = _layouts(folder, name, PROGRAMS.get(name, {"name": name.encode() * 500}))
            host.publish(reference.domain, reference.path, reference.tag, layouts)
        names = (*tekton_build.NAMES, DASHBOARD)
        host.publish_release(OBJECTS, {name: _layouts(folder, name, {name: b"x" * 1000}) for name in names})
        yield host


def _layouts(folder: Path, name: str, files: publishing.Files) -> dict[str, Path]:
    return {arch: image(folder / f"{name}-{arch}", arch, files) for arch in upstream_lock.PLATFORMS}


@pytest.fixture(scope="module")
def locked(stand_in: Host) -> str:
    """The lock file of what the stand-in has."""
    crane, given = find_binary("crane"), settings(stand_in)
    registries = PublicRegistries(SystemShell(Cancel()), FakeClock(), lambda: crane, given)
    return lock_upstream.resolve_wanted(
        registries, upstream_lock.read_wanted(PROJECT), FakeReport().step("lock")
    ).dump()


@pytest.fixture
def host(stand_in: Host) -> Iterator[Host]:
    documents = dict(stand_in.documents)
    stand_in.heard.clear()
    yield stand_in
    stand_in.documents, stand_in.faults, stand_in.on, stand_in.bend = documents, [], "", False


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The checkout, without a lock."""
    project = tmp_path / "project"
    (project / "images").mkdir(parents=True)
    for path in (PROJECT / "images").iterdir():
        if path.name == "upstream.yaml":
            (project / upstream_lock.WANTED).write_text(path.read_text())
        elif path.name != "upstream.lock.json":
            (project / "images" / path.name).symlink_to(path)
    for name in ("bootstrap", "demo", "manifests"):
        (project / name).symlink_to(PROJECT / name)
    return project


@pytest.fixture
def ready(project: Path, locked: str) -> Path:
    """The same, with a lock."""
    (project / "images/upstream.lock.json").write_text(locked)
    return project


class Builder(Engine):
    """Also builds: an image from any context."""

    def __init__(self) -> None:
        super().__init__()
        self.present.clear()

    def build_image(
        self, folder: Path, name: str, *, arguments: Sequence[str], on_progress: Callable[[str], None]
    ) -> None:
        assert (folder / "Dockerfile").is_file()
        self.present.add(name)

    def list_image_tags(self, repository: str) -> list[str]:
        return [name.rpartition(":")[2] for name in self.present if name.rpartition(":")[0] == repository]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be compiled. The tools are those of the tests; Python packages are not asked for."""
    compiled: list[str] = []

    def build(_: Compiler, part: GoPart, folder: Path, say: object) -> None:
        compiled.append(part.name)
        for program in part.packages:
            if program == "crane":
                (folder / program).symlink_to(find_binary(program))
            else:
                (folder / program).write_bytes(b"")

    def fetch(_: Wheels, part: WheelPart, folder: Path, say: object) -> None:
        for python in part.pythons:
            (folder / name_archive(python)).touch()

    monkeypatch.setattr(Compiler, "build", build)
    monkeypatch.setattr(Wheels, "fetch", fetch)
    return compiled


def settings(host: Host, **more: Any) -> UpstreamSettings:
    given = host.settings
    return UpstreamSettings(
        releases=given["releases"],
        registries=tuple(given["registries"].split(", ")),
        username=given["username"],
        password=Secret(given["password"]),
        ca_file=given["ca_file"],
        **more,
    )


def world_of(tmp_path: Path, project: Path, given: UpstreamSettings) -> StepWorld:
    world = make(tmp_path / "home", Config(supply="upstream", arch="amd64", upstream=given))
    world.project = project
    world.clock = FakeClock()
    world.shell = SystemShell(world.cancel)
    world.engine = cast(Any, Builder())
    return world


def supply(world: StepWorld) -> Upstream:
    made = Upstream(
        world.shell,
        cast(Any, world.engine),
        world.clock,
        settings=world.config.upstream,
        project=world.project,
        cache=world.paths.cache,
        arch="amd64",
    )
    world.images = cast(Any, made)
    return made


def lock(world: StepWorld) -> list[dict[str, str]]:
    """`invoke images --lock --json`."""
    cast(Any, world).report = FakeReport()
    assert list_images.images(world.open(), lock=True, as_json=True) == 0
    [document] = [value for kind, *values in world.report.printed if kind == "json" for value in values]
    return cast(list[dict[str, str]], document)


def test_locked_fetched_and_composed(tmp_path: Path, project: Path, host: Host, built: list[str]) -> None:
    world = world_of(tmp_path, project, settings(host))
    changes = lock(world)
    assert {each["before"] for each in changes} == {""}
    assert len(changes) == 4 + 6 + len(tekton_build.NAMES) + 1
    assert lock(world) == [], "the second time nothing is new"
    made, line = supply(world), FakeReport().step("images")
    assert isinstance(made.check(), Pending)
    made.provide(line)
    assert made.check() == Ready("19 images, from public registries, each as locked")
    assert made.is_kept()
    assert set(built) == {"go-tools", "go-git-server", "go-echo-first"}, "nothing else is compiled"
    assert made.read_kubernetes_version() == "v1.37.0"
    assert (made._get_program("go-buildkit", "buildctl")).read_bytes() == b"ctl"
    assert set(made.list_seeds()) == {"library/golang:1", "library/golang:1.26"}
    held = made.read_lock()
    assert {"toolbox", "manager", "git-server", "buildkit", "go-echo", "pause", DASHBOARD} <= set(held.images)
    assert not any(image.in_node for image in held.images.values())
    assert {held.node_image, held.registry_image} <= cast(Any, world.engine).present
    public = upstream_lock.read(made.lock_file)
    for name in ("pause", "tekton-pipelines-controller"):
        assert held.images[name].digest == public.images[name].platforms["amd64"].digest
        assert held.images[name].size > 0
    assert public.images["pause"].platforms["amd64"] != public.images["pause"].platforms["arm64"]

    text = json.dumps(made.list_tekton_objects())
    assert "ghcr.io" not in text
    assert '"-entrypoint-image", "image.local/tekton-pipelines-entrypoint"' in text
    assert "-el-image=image.local/tekton-triggers-eventlistenersink" in text

    host.heard.clear()
    again = supply(world)
    assert isinstance(again.check(), Ready)
    again.provide(line)
    assert host.heard == [], "what is there is not asked for"


def test_images_are_shown_with_all_that_is_known_of_them(
    tmp_path: Path, ready: Path, host: Host, built: list[str]
) -> None:
    world = world_of(tmp_path, ready, settings(host))
    supply(world).provide(FakeReport().step("images"))
    cast(Any, world).report = FakeReport()
    assert list_images.images(world.open(), as_json=True) == 0
    [(_, rows)] = world.report.printed
    by_name = {row["name"]: row for row in rows}
    assert {"node", "debian", "golang", "kubectl", "buildkit", "toolbox", DASHBOARD} <= set(by_name)
    assert by_name["debian"]["public"] == "docker.io/library/debian:bookworm-slim"
    assert {row["platform"] for row in rows} == {"linux/amd64"}
    assert {row["supply"] for row in rows} == {"upstream"}
    assert all(row["digest"].startswith("sha256:") and row["size"] for row in rows)


def test_without_a_lock_nothing_is_taken(tmp_path: Path, project: Path, host: Host, built: list[str]) -> None:
    made = supply(world_of(tmp_path, project, settings(host)))
    assert isinstance(made.check(), Pending)
    with pytest.raises(PreconditionError, match="nothing is taken on trust") as failure:
        made.provide(FakeReport().step("images"))
    assert failure.value.hint == "invoke images --lock"
    assert "pipeline/previous/v1.15.0/release.yaml is not in it" in failure.value.evidence
    assert host.heard == []


def test_a_lock_for_other_versions_is_not_enough(tmp_path: Path, ready: Path, host: Host, built: list[str]) -> None:
    world = world_of(tmp_path, ready, settings(host))
    wanted = ready / "images/upstream.yaml"
    wanted.write_text(wanted.read_text().replace("kubectl:v1.37.2", "kubectl:v1.37.9"))
    with pytest.raises(PreconditionError) as failure:
        supply(world).provide(FakeReport().step("images"))
    assert failure.value.evidence.startswith(
        "registry.k8s.io/kubectl:v1.37.9 is not in it, but registry.k8s.io/kubectl"
    )


def test_a_changed_release_is_refused_and_told(tmp_path: Path, ready: Path, host: Host, built: list[str]) -> None:
    world = world_of(tmp_path, ready, settings(host))
    path = "triggers/previous/v0.37.0/release.yaml"
    host.documents[path] += b"# more\n"
    with pytest.raises(PreconditionError, match=f"{path} is not what the lock says"):
        supply(world).provide(FakeReport().step("images"))
    assert [each["name"] for each in lock(world)] == [path]
    assert any("What has a version never changes" in str(words) for words in world.report.printed)


def test_an_image_that_moved_stays_as_locked(tmp_path: Path, ready: Path, host: Host, built: list[str]) -> None:
    world = world_of(tmp_path, ready, settings(host))
    locked = upstream_lock.read(ready / "images/upstream.lock.json").images["pause"]
    other = image(tmp_path / "other", "amd64", {"pause": b"another"})
    host.publish("registry.k8s.io", "pause", "3.10.2", {"amd64": other})
    try:
        made = supply(world)
        made.provide(FakeReport().step("images"))
        assert made.read_lock().images["pause"].digest == locked.platforms["amd64"].digest
        assert [each["name"] for each in lock(world)] == ["registry.k8s.io/pause:3.10.2"]
        assert upstream_lock.find_gaps(
            upstream_lock.read(made.lock_file), upstream_lock.read_wanted(ready), "arm64"
        ) == ["registry.k8s.io/pause:3.10.2 is not for arm64"]
    finally:
        place = f"127.0.0.1:{host.behind}/k8s/pause"
        host.run("copy", f"{place}@{locked.digest}", f"{place}:3.10.2")


@pytest.mark.parametrize(
    ("status", "on", "said"),
    [
        (401, "/releases/", "wants a login, or another one"),
        (403, "/releases/", "does not let us have"),
        (404, "/releases/", "does not exist"),
        (429, "/releases/", "too many requests"),
        (500, "/releases/", "answers 500"),
        (0, "/releases/", "broke off in the middle"),
        (401, "/hub/", "it wants a login, or another one"),
        (403, "/ghcr/", "that user may not do this"),
        (429, "/ghcr/", "too many requests"),
    ],
)
def test_a_host_that_refuses_is_explained(
    tmp_path: Path, project: Path, host: Host, built: list[str], status: int, on: str, said: str
) -> None:
    world = world_of(tmp_path, project, settings(host))
    host.on, host.faults = on, [status] * 500
    with pytest.raises(PreconditionError, match=said) as failure:
        lock(world)
    assert failure.value.hint
    assert publishing.PASSWORD not in f"{failure.value.message}{failure.value.hint}{failure.value.evidence}"
    assert not (project / "images/upstream.lock.json").exists()


def test_an_image_that_nobody_has_is_named(tmp_path: Path, project: Path, host: Host, built: list[str]) -> None:
    wanted = project / "images/upstream.yaml"
    wanted.write_text(wanted.read_text().replace("pause:3.10.2", "pause:9"))
    with pytest.raises(NotFound, match="does not have pause:9"):
        lock(world_of(tmp_path, project, settings(host)))


@pytest.mark.parametrize(
    ("on", "status"),
    [("/releases/", 429), ("/releases/", 500), ("/releases/", 0), ("/blobs/", 429), ("/blobs/", 503), ("/blobs/", 0)],
)
def test_a_busy_host_is_asked_again(
    tmp_path: Path, ready: Path, host: Host, built: list[str], status: int, on: str
) -> None:
    world = world_of(tmp_path, ready, settings(host))
    host.on, host.faults, host.retry_after = on, [status] * 2, "7"
    supply(world).provide(FakeReport().step("images"))
    assert host.faults == []
    if on == "/releases/":
        assert (world.clock.slept.count(7.0) == 2) == (status != 0), "Retry-After is kept to"


def test_wrong_bytes_never_become_an_image(tmp_path: Path, ready: Path, host: Host, built: list[str]) -> None:
    world = world_of(tmp_path, ready, settings(host))
    host.bend = True
    made = supply(world)
    with pytest.raises(BootstrapError):
        made.provide(FakeReport().step("images"))
    assert not made.is_kept()
    host.bend = False
    made.provide(FakeReport().step("images"))
    assert made.is_kept()


def test_an_unknown_authority_is_explained(tmp_path: Path, project: Path, host: Host, built: list[str]) -> None:
    world = world_of(tmp_path, project, replace(settings(host), ca_file=""))
    with pytest.raises(PreconditionError, match="no CA that we know") as failure:
        lock(world)
    assert failure.value.hint == "set upstream.ca_file"


def test_a_password_goes_to_no_plain_copy(tmp_path: Path, project: Path, host: Host, built: list[str]) -> None:
    given = settings(host)
    plain = replace(given, releases=f"http://127.0.0.1:{host.behind}/releases")
    with pytest.raises(PreconditionError, match="has no TLS"):
        lock(world_of(tmp_path, project, plain))
    copies = tuple(f"{name}=127.0.0.1:{host.behind}/{folder}" for name, folder in publishing.FOLDERS.items())
    with pytest.raises(PreconditionError, match="does not speak TLS"):
        lock(world_of(tmp_path / "other", project, replace(given, registries=copies)))


def test_a_file_that_is_no_lock_is_named(tmp_path: Path, project: Path, host: Host, built: list[str]) -> None:
    (project / "images/upstream.lock.json").write_text('{"format": 1, "documents": {}, "images": {"a": {}}}')
    with pytest.raises(UsageError, match=r"upstream.lock.json is not a lock"):
        supply(world_of(tmp_path, project, settings(host))).check()


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(PreconditionError, match=r"127\.0\.0\.1:9 does not answer"):
        download("http://127.0.0.1:9/x", DownloadAccess(), FakeClock())
