"""A real registry, filled and read; and one before it that answers as registries do when something is wrong."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap import mirroring
from bootstrap.cancel import Cancel
from bootstrap.config import Config, MirrorSettings
from bootstrap.errors import BootstrapError, NotFound, PreconditionError, UsageError
from bootstrap.model import LockedImage, Secret
from bootstrap.paths import PROJECT
from bootstrap.steps.registry import free_port
from bootstrap.supply import oci
from bootstrap.supply.mirror import Mirror
from bootstrap.supply.versions import versions
from bootstrap.world.mirror import MirrorRegistry
from bootstrap.world.shell import Output, SystemShell
from tests.integration.conftest import find_binary
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.step_world import FakeImages, StepWorld, make
from tests.unit.test_bundle import make_layout

SEED = "library/golang:1"
NODE, REGISTRY = "tekton-bootstrap/node:aaaa", "tekton-bootstrap/registry:bbbb"


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    """The port of a registry of go-containerregistry's, which keeps all in memory."""
    port = free_port()
    program = str(find_binary("crane"))
    server = subprocess.Popen(
        [program, "registry", "serve", f"--address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            if _status(port) == 200:
                break
            time.sleep(0.1)
        yield port
    finally:
        server.kill()
        server.wait()


def _status(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@dataclass
class Front:
    """faults: for the next requests ("GET /v2/...") that hold `on`. bend: changes what is read."""

    port: int = 0
    on: str = ""
    faults: list[int] = field(default_factory=list)
    bend: Callable[[bytes], bytes] | None = None
    heard: list[str] = field(default_factory=list)
    logins: set[str] = field(default_factory=set)


@pytest.fixture
def front(behind: int) -> Iterator[Front]:
    state = Front()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.heard.append(f"{self.command} {self.path}")
            state.logins.add(self.headers.get("Authorization", ""))
            if state.faults and state.on in state.heard[-1] and self.path != "/v2/":
                self._answer(state.faults.pop(0), b'{"errors": []}', {})
                return
            connection = http.client.HTTPConnection("127.0.0.1", behind, timeout=30)
            dropped = ("host", "content-length", "transfer-encoding")
            kept = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            connection.request(self.command, self.path, body, {**kept, "Host": f"127.0.0.1:{state.port}"})
            answer = connection.getresponse()
            data = answer.read()
            bent = state.bend(data) if state.bend and self.command == "GET" and "/blobs/" in self.path else data
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in dropped[1:]}
            if self.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            self._answer(answer.status, bent, headers)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _serve  # noqa: N815  as the library calls them

        def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """The test says what matters."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()


def settings(port: int, folder: str, **more: Any) -> MirrorSettings:
    return MirrorSettings(registry=f"127.0.0.1:{port}", folder=folder, plain_http="on", **more)


class Engine:
    """Two images of its own; what is saved is an archive as docker writes it, what is loaded is there."""

    managed = False

    def __init__(self) -> None:
        self.present = {NODE, REGISTRY}
        self.commands: list[tuple[str, ...]] = []

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        assert kind == "image"
        return {"Size": 1000}

    def image_exists(self, name: str) -> bool:
        return name in self.present

    def docker(self, *words: str, limit: float = 60) -> Output:
        self.commands.append(words)
        if words[0] == "save":
            Path(words[2]).write_bytes(docker_archive(words[3]))
        elif words[0] == "load":
            with tarfile.open(words[-1]) as tar:
                manifest = json.loads(cast(Any, tar.extractfile("manifest.json")).read())
            self.present |= set(manifest[0]["RepoTags"])
        elif words[0] == "tag":
            assert words[1] in self.present
            self.present.add(words[2])
        elif words[0] == "rmi":
            self.present.discard(words[1])
        return Output(0, "", "")


def docker_archive(name: str) -> bytes:
    """An image of one empty layer."""
    layer, buffer = io.BytesIO(), io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    data = layer.getvalue()
    diff = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": diff}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, text in (("config.json", config), ("layer.tar", data), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


class Supply(FakeImages):
    """A supply that has built a few small images."""

    def __init__(self, folder: Path) -> None:
        made = {
            name: make_layout(folder, name, b"shared", name.encode() * 1000) for name in ("pause", "toolbox", "kube")
        }
        images = {
            name: LockedImage(name, f"registry/{name}", str(oci.manifest_of(layout)["digest"]), oci.size_of(layout))
            for name, layout in made.items()
        }
        super().__init__(images=images, node_image=NODE, registry_image=REGISTRY)
        self.made = made | {SEED: make_layout(folder, "golang", b"go")}

    def layouts(self) -> dict[str, Path]:
        return {name: layout for name, layout in self.made.items() if name != SEED}

    def seeds(self) -> dict[str, Path]:
        return {SEED: self.made[SEED], "library/golang:1.26": self.made[SEED]}

    def tekton(self) -> list[Any]:
        return [{"kind": "Deployment"}]

    def tool(self, name: str) -> Path:
        return find_binary(name)


class Source:
    """Of supply source what a mirror needs of it."""

    def build(self, names: Sequence[str], line: object) -> None:
        assert list(names) == ["go-tools"]

    def tool(self, name: str) -> Path:
        return find_binary(name)


def world_of(home: Path, given: MirrorSettings) -> StepWorld:
    world = make(home, Config(mirror=given))
    world.images = Supply(home / "made")
    world.engine = cast(Any, Engine())
    world.clock = FakeClock()
    cast(Any, world).shell = SystemShell(Cancel())
    cast(Any, world).project = PROJECT
    world.paths.cache.mkdir(parents=True, exist_ok=True)
    return world


def door(world: StepWorld, given: MirrorSettings) -> MirrorRegistry:
    return MirrorRegistry(cast(Any, world).shell, world.clock, find_binary("crane"), given)


def fill(world: StepWorld, given: MirrorSettings) -> dict[str, Any]:
    cast(Any, world).report = FakeReport()
    with door(world, given).login() as registry:
        assert mirroring._fill(world.open(), registry, plan=False, as_json=True) == 0
    [(kind, document)] = cast(Any, world).report.printed
    assert kind == "json"
    return cast(dict[str, Any], document)


def check(world: StepWorld, given: MirrorSettings) -> dict[str, str]:
    cast(Any, world).report = FakeReport()
    with door(world, given).login() as registry:
        code = mirroring._check(world.open(), registry, as_json=True)
    [(_, document)] = cast(Any, world).report.printed
    assert code == (1 if document["wrong"] else 0)
    return cast(dict[str, str], document["wrong"])


def supply(world: StepWorld, given: MirrorSettings, cache: Path) -> tuple[Mirror, Engine]:
    engine = Engine()
    engine.present.clear()
    made = Mirror(
        cast(Any, engine),
        world.clock,
        cast(Any, Source()),
        lambda _: door(world, given),
        cache=cache,
        arch=world.config.architecture,
        versions=versions(PROJECT),
        parallel=3,
    )
    return made, engine


def test_filled_once_and_read_back(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "once", username="me", password=Secret("hush"))
    world = world_of(tmp_path, given)
    told = fill(world, given)
    assert (told["images"], told["pushed"]) == (6, 6)
    front.heard.clear()
    assert fill(world, given)["pushed"] == 0
    assert not [each for each in front.heard if each.startswith(("PUT", "POST", "PATCH"))], "nothing is written again"
    assert check(world, given) == {}
    assert {each for each in front.logins if each} <= {"Basic bWU6aHVzaA=="}

    mirrored, engine = supply(world, given, tmp_path / "elsewhere")
    assert not mirrored.kept()
    line = FakeReport().step("images")
    mirrored.provide(line)
    assert mirrored.check().why == f"3 images, from 127.0.0.1:{front.port}/once"
    assert mirrored.lock() == world.images.lock()
    assert mirrored.tekton() == [{"kind": "Deployment"}]
    assert engine.present == {NODE, REGISTRY}
    for name, layout in {**mirrored.layouts(), **mirrored.seeds()}.items():
        original = {**world.images.layouts(), **world.images.seeds()}[name]
        assert oci.manifest_of(layout)["digest"] == oci.manifest_of(original)["digest"]
    front.heard.clear()
    assert mirrored.check().why.startswith("3 images")
    assert front.heard == [], "to look needs no registry"


def test_what_is_missing_or_changed_is_named_and_pushed_again(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "changed")
    world = world_of(tmp_path, given)
    fill(world, given)
    images = world.images.lock().images
    kube = f"kube:{images['kube'].digest.partition(':')[2][:12]}"
    with door(world, given).login() as registry:
        registry.push(world.images.layouts()["pause"], kube)
    assert check(world, given) == {kube: "changed"}
    assert fill(world, given)["pushed"] == 1
    assert check(world, given) == {}


def test_half_a_mirror_is_none(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "half")
    world = world_of(tmp_path, given)
    front.on, front.faults = "PUT /v2/half/kube/manifests", [403] * 20
    with pytest.raises(BootstrapError):
        fill(world, given)
    front.faults.clear()
    mirrored, _ = supply(world, given, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="has no environment for this checkout"):
        mirrored.provide(FakeReport().step("images"))
    assert fill(world, given)["pushed"] < 6, "it goes on where it was"
    mirrored.provide(FakeReport().step("images"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_is_asked_again(tmp_path: Path, front: Front, status: int) -> None:
    given = settings(front.port, f"busy-{status}")
    world = world_of(tmp_path, given)
    front.on, front.faults = "busy", [status] * 2
    assert fill(world, given)["pushed"] == 6
    assert front.faults == []
    assert check(world, given) == {}


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "it wants a login"), (403, "that user may not do this"), (429, "too many requests")],
)
def test_a_registry_that_refuses_is_explained(tmp_path: Path, front: Front, status: int, said: str) -> None:
    given = settings(front.port, f"refuses-{status}")
    world = world_of(tmp_path, given)
    front.on, front.faults = "refuses", [status] * 500
    with pytest.raises(PreconditionError, match=said) as failure:
        fill(world, given)
    assert failure.value.hint


def test_wrong_bytes_never_become_an_image(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "bent")
    world = world_of(tmp_path, given)
    fill(world, given)
    mirrored, engine = supply(world, given, tmp_path / "elsewhere")
    front.bend = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(BootstrapError):
        mirrored.provide(FakeReport().step("images"))
    assert engine.present == set()
    assert not mirrored.kept()
    front.bend = None
    mirrored.provide(FakeReport().step("images"))
    assert mirrored.kept()


def test_plain_http_only_if_said(tmp_path: Path, front: Front) -> None:
    given = replace(settings(front.port, "plain"), plain_http="off")
    world = world_of(tmp_path, given)
    with pytest.raises(PreconditionError, match="does not speak TLS"):
        door(world, given).refuse_plain()


def test_nothing_there(tmp_path: Path) -> None:
    given = settings(free_port(), "nowhere")
    world = world_of(tmp_path, given)
    with door(world, given).login() as registry, pytest.raises(PreconditionError, match="nothing answers there"):
        registry.digest("pause:1")


def test_an_image_that_is_not_there(tmp_path: Path, front: Front) -> None:
    given = settings(front.port, "empty")
    world = world_of(tmp_path, given)
    with door(world, given).login() as registry:
        assert registry.digest("pause:1") == ""
        with pytest.raises(NotFound):
            registry.get_files("environment:x", tmp_path / "x.tar")
