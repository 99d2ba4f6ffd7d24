"""The cleanup of images on a real API server and a real registry, and the registry that frees the room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from bootstrap.core.model import Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.image_cleanup import ImageCleanup
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.registry_api import Manifest, RegistryApi, RegistryFailure
from bootstrap.objects import manifests
from bootstrap.steps.registry import find_free_port
from bootstrap.world.kube.client import Kube
from tests.integration import registries
from tests.integration.agent_door import agent_door, definition
from tests.integration.conftest import find_binary
from tests.integration.control_plane import ControlPlane
from tests.integration.patience import await_kind
from tests.integration.registries import PASSWORD, USER, Secured

MANIFEST = "cleanup/image-cleanup.yaml"
COMMITS = {name: format(number, "x") * 40 for number, name in enumerate(("run", "record", "gone", "hand", "index"), 1)}


class Pusher:
    """crane, logged in to a registry."""

    def __init__(self, address: str, folder: Path, ca: Path | None) -> None:
        self.address = address
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_CONFIG": str(folder)}
        if ca:
            self._environ["SSL_CERT_FILE"] = str(ca)
            self.log_in()

    def log_in(self) -> None:
        self.run("auth", "login", self.address, "--username", USER, "--password-stdin", stdin=PASSWORD)

    def run(self, *words: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(find_binary("crane")), *words],
            input=stdin,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pull(self, name: str) -> None:
        """Read an image in full, with every layer. name: PATH:TAG."""
        self.run("pull", "--format=oci", f"{self.address}/{name}", str(self._folder / "pulled"))
        shutil.rmtree(self._folder / "pulled")

    def exists(self, name: str) -> bool:
        """Whether there is a manifest. name: PATH@DIGEST."""
        words = [str(find_binary("crane")), "manifest", f"{self.address}/{name}"]
        return subprocess.run(words, env=self._environ, capture_output=True, check=False).returncode == 0

    def push(self, *names: str, content: str) -> str:
        """Push one image under these names, PATH:TAG; answers its digest."""
        layer = self._folder / "layer.tar"
        with tarfile.open(layer, "w") as tar:
            told = tarfile.TarInfo("content")
            told.size = len(content)
            tar.addfile(told, BytesIO(content.encode()))
        first, *more = (f"{self.address}/{name}" for name in names)
        pushed = self.run("append", f"--new_layer={layer}", f"--new_tag={first}")
        for name in more:
            self.run("tag", first, name.rpartition(":")[2])
        return pushed.rpartition("@")[2]

    def push_index(self, name: str, *contents: str) -> list[str]:
        """Push an index, PATH:TAG, of manifests that have no tags there; answers their digests."""
        children = [self.push(f"parts/x:{each}", content=each) for each in contents]
        words = [f"--manifest={self.address}/parts/x@{each}" for each in children]
        self.run("index", "append", *words, f"--tag={self.address}/{name}")
        return children


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Secured]:
    with registries.secured(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def images(registry: Secured, tmp_path: Path) -> Iterator[RegistryApi]:
    """As the CronJob's pod reaches it, its Secret mounted."""
    folder = tmp_path / "login"
    folder.mkdir()
    (folder / "username").write_text(USER)
    (folder / "password").write_text(PASSWORD)
    with closing(RegistryApi(registry.address, registry.ca, folder, sleep=lambda _: None)) as client:
        yield client


@pytest.fixture
def pusher(registry: Secured, tmp_path: Path) -> Pusher:
    return Pusher(registry.address, tmp_path / "docker", registry.ca)


@pytest.fixture
def api(kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Api]:
    """As the ServiceAccount of the manifest. Its ClusterRole is bound to the account in the test's namespace."""
    kube.apply([definition("PipelineRun"), definition("TaskRun")])
    for kind in ("PipelineRun", "TaskRun"):
        await_kind(kube, "tekton.dev/v1", kind)
    wide = [each for each in manifests.load(PROJECT / "manifests" / MANIFEST) if each["kind"].startswith("ClusterRole")]
    for subject in wide[1]["subjects"]:
        subject["namespace"] = namespace
    kube.apply(wide)
    with closing(agent_door(kube, plane, "image-cleanup", namespace, tmp_path, manifest=MANIFEST)) as door:
        end = time.monotonic() + 30
        while True:  # granted a moment after it was bound
            try:
                door.request("GET", "/apis/batch/v1/cronjobs?limit=1")
                break
            except ApiFailure:
                assert time.monotonic() < end
                time.sleep(0.05)
        yield door


Clean = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def clean(api: Api, images: RegistryApi, namespace: str) -> Clean:
    def cleaned(*kept: str, dry_run: bool = False) -> tuple[int, list[str]]:
        said: list[str] = []
        return ImageCleanup(api, images, namespace, said.append).run(kept, dry_run=dry_run), said

    return cleaned


def run(namespace: str, commit: str) -> Object:
    metadata = {"name": "run", "namespace": namespace}
    return {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": metadata, "spec": {"commit": commit}}


def deployment(namespace: str, record: str) -> Object:
    labels = {"app": "x"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "elsewhere.test/x"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "namespace": namespace, "annotations": {"record": record}},
        "spec": {"selector": {"matchLabels": labels}, "template": pod},
    }


def test_what_nothing_names_goes_and_all_else_stays(
    kube: Kube, namespace: str, images: RegistryApi, pusher: Pusher, clean: Clean
) -> None:
    kube.create(run(namespace, COMMITS["run"]))
    pusher.push(f"apps/x:{COMMITS['run']}", content="run")
    recorded = pusher.push(f"apps/x:{COMMITS['record']}", content="record")
    kube.create(deployment(namespace, json.dumps([{"image": f"r.test/apps/x@{recorded}"}])))
    pusher.push(f"team/deep/x:{COMMITS['gone']}", content="gone")
    pusher.push(f"apps/x:{COMMITS['hand']}", "apps/x:v1", content="hand")
    pusher.push("apps/x:latest", content="latest")
    pusher.push(f"library/x:{COMMITS['gone']}", content="base")
    pusher.push(f"demo/x:{COMMITS['gone']}", content="far")
    shared, own = pusher.push_index(f"apps/y:{COMMITS['index']}", "shared", "own")
    pusher.push_index("apps/y:v1", "shared")
    before = read_all(images)

    assert clean("demo/x", dry_run=True)[1][-1] == "images of builds: 4, needed: 2, to delete: 2"
    assert read_all(images) == before
    code, said = clean("demo/x")
    assert code == 0
    assert sorted(said) == [
        f"deleted apps/y:{COMMITS['index']}",
        f"deleted team/deep/x:{COMMITS['gone']}",
        "images of builds: 4, needed: 2, deleted: 2",
    ]
    left = read_all(images)
    deleted = {("team/deep/x", COMMITS["gone"]), ("apps/y", COMMITS["index"])}
    assert left == {name: found for name, found in before.items() if name not in deleted}
    for repository, tag in left:
        pusher.pull(f"{repository}:{tag}")
    assert pusher.exists(f"apps/y@{shared}")
    assert not pusher.exists(f"apps/y@{own}")
    assert clean("demo/x")[1] == ["images of builds: 2, needed: 2, deleted: 0"]


def test_a_registry_that_refuses_the_login_loses_nothing(
    kube: Kube, namespace: str, images: RegistryApi, pusher: Pusher, clean: Clean, tmp_path: Path
) -> None:
    pusher.push(f"apps/x:{COMMITS['gone']}", content="gone")
    (tmp_path / "login/password").write_text("another")
    code, said = clean()
    assert (code, said) == (
        1,
        ["the images could not be compared with what needs them: HTTP 401 from the registry"],
    )
    [event] = [each for each in kube.list("v1", "Event", namespace) if each["reason"] == "CleanupFailed"]
    assert event["message"] == said[0]
    assert PASSWORD not in event["message"]
    (tmp_path / "login/password").write_text(PASSWORD)
    assert images.list_tags("apps/x") == [COMMITS["gone"]]


def test_its_rights_end_there(api: Api, namespace: str) -> None:
    for path in ("/api/v1/secrets", f"/api/v1/namespaces/{namespace}/configmaps", "/apis/apps/v1/deployments/x"):
        with pytest.raises(ApiFailure, match="HTTP 403"):
            api.request("GET", path)
    with pytest.raises(ApiFailure, match="HTTP 403"):
        api.request("DELETE", f"/apis/tekton.dev/v1/namespaces/{namespace}/pipelineruns/run")
    with pytest.raises(ApiFailure, match="HTTP 403"):
        api.request("GET", "/apis/tekton.dev/v1/pipelineruns")


def read_all(images: RegistryApi) -> dict[tuple[str, str], Manifest | None]:
    """(repository, tag) -> what it leads to."""
    return {
        (repository, tag): images.read_manifest(repository, tag)
        for repository in images.list_repositories()
        for tag in images.list_tags(repository)
    }


def test_lists_are_read_page_by_page(images: RegistryApi, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.incluster.registry_api.PAGE", 2)
    names = {f"apps/{letter}/x" for letter in "abcde"}
    for name in names:
        pusher.push(f"{name}:one", content="x")
    assert {*images.list_repositories()} == names


def test_a_registry_that_does_not_answer_is_asked_again_and_then_given_up(tmp_path: Path, images: RegistryApi) -> None:
    slept: list[float] = []
    nobody = RegistryApi(
        f"127.0.0.1:{find_free_port()}", tmp_path / "registry/ca.crt", tmp_path / "login", sleep=slept.append
    )
    with pytest.raises(RegistryFailure, match=r"does not answer \(ConnectionRefusedError\)"):
        nobody.list_repositories()
    assert sum(slept) > 60


# -- the room --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """serve.sh over a folder. nodes: the address of the server for them. data: the registry's. log: what all say."""

    process: subprocess.Popen[bytes]
    pusher: Pusher
    nodes: str
    data: Path
    log: Path

    def count_blobs(self) -> int:
        return len(list(self.data.glob("docker/registry/v2/blobs/sha256/*/*/data")))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with registries.secured(tmp_path / "first"):
        """Now docker-registry is installed."""
    data, port, log = tmp_path / "data", find_free_port(), tmp_path / "log"
    data.mkdir()
    (tmp_path / "config.yml").write_text(f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
""")
    pull_port, pull = find_free_port(), yaml.safe_load((PROJECT / "images/registry/config-pull.yml").read_text())
    pull["storage"]["filesystem"]["rootdirectory"] = str(data)
    pull["auth"]["htpasswd"]["path"] = str(tmp_path / "first/htpasswd")
    pull["http"] = {"addr": f"127.0.0.1:{pull_port}"}
    (tmp_path / "config-pull.yml").write_text(yaml.safe_dump(pull))
    environ = {
        **os.environ,
        "CONFIG": str(tmp_path / "config.yml"),
        "PULL_CONFIG": str(tmp_path / "config-pull.yml"),
        "DATA": str(data),
        "COLLECT_SECONDS": "1",
        "QUIET_SECONDS": "3",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["/bin/bash", str(PROJECT / "images/registry/serve.sh")], env=environ, stdout=out, stderr=out
        )
    try:
        await_true(lambda: registries.answers(port))
        pusher = Pusher(f"localhost:{port}", tmp_path / "docker", None)
        yield Served(process, pusher, f"localhost:{pull_port}", data, log)
    finally:
        process.terminate()
        process.wait(10)


def await_true(check: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_registry_frees_the_room_of_what_was_deleted(served: Served) -> None:
    stays = served.pusher.push("apps/x:stays", content="stays")
    goes = served.pusher.push("apps/x:goes", content="goes")
    served.pusher.push_index("apps/y:index", "one", "two")
    before = served.count_blobs()
    served.pusher.run("delete", f"{served.pusher.address}/apps/x@{goes}")
    await_true(lambda: served.count_blobs() == before - 3)  # manifest, configuration, layer
    await_true(lambda: served.pusher.exists(f"apps/x@{stays}"))
    for name in ("apps/x:stays", "apps/y:index"):
        served.pusher.pull(name)
    assert served.pusher.push("apps/x:goes", content="goes") == goes, "what was deleted can be pushed again"
    served.pusher.pull("apps/x:goes")
    assert served.log.read_text().count("frees the room") == 1


def test_who_pulls_has_a_login_that_nobody_can_push_with(served: Served, tmp_path: Path) -> None:
    pushed = served.pusher.push("apps/x:one", content="one")
    nodes = Pusher(served.nodes, tmp_path / "nodes", None)
    await_true(lambda: registries.answers(int(served.nodes.rpartition(":")[2]), status=401))
    assert not nodes.exists(f"apps/x@{pushed}"), "without the password"
    nodes.log_in()
    nodes.pull("apps/x:one")
    for words in (("tag", f"{served.nodes}/apps/x:one", "two"), ("delete", f"{served.nodes}/apps/x@{pushed}")):
        with pytest.raises(AssertionError, match="405"):
            nodes.run(*words)
    with pytest.raises(AssertionError, match="405"):
        nodes.push("apps/y:one", content="two")
    assert served.pusher.run("ls", f"{served.pusher.address}/apps/x") == "one"


def test_an_upload_that_is_under_way_holds_it_up(served: Served) -> None:
    goes = served.pusher.push("apps/x:goes", content="goes")
    upload = served.data / "docker/registry/v2/repositories/apps/x/_uploads/one"
    upload.mkdir(parents=True)
    served.pusher.run("delete", f"{served.pusher.address}/apps/x@{goes}")
    time.sleep(6)
    assert served.count_blobs() == 3
    old = time.time() - 2 * 86_400
    os.utime(upload, (old, old))
    await_true(lambda: served.count_blobs() == 0)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_it_is_told(served: Served, ending: signal.Signals) -> None:
    children = list_children(served.process.pid)
    since = time.monotonic()
    served.process.send_signal(ending)
    assert served.process.wait(5) == 0
    assert time.monotonic() - since < 2
    await_true(lambda: not any(Path(f"/proc/{each}").exists() for each in children), 2)


@pytest.mark.parametrize("config", ["/config.yml", "/config-pull.yml"])
def test_it_ends_with_either_server(served: Served, config: str) -> None:
    children = list_children(served.process.pid)
    [server] = [int(each) for each in children if config in " ".join(read_command(each))]
    os.kill(server, signal.SIGKILL)
    assert served.process.wait(5) == 128 + signal.SIGKILL
    await_true(lambda: not any(Path(f"/proc/{each}").exists() for each in children), 2)


def list_children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def read_command(process: str) -> list[str]:
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")
