"""A world for steps: an engine and a cluster of dictionaries, strict in what they take."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bootstrap.core import constants
from bootstrap.core.cancel import Cancel
from bootstrap.core.errors import ApiError, BootstrapError, CommandError, PreconditionError
from bootstrap.core.model import Lock, LockedImage, Object, Ready, Secret, Verdict
from bootstrap.core.paths import Paths
from bootstrap.settings.config import Config
from bootstrap.steps.image_pins import PIN
from bootstrap.steps.image_unpack import UNPACK
from bootstrap.steps.node_trust import LOOK
from bootstrap.world import World
from bootstrap.world.engine.protocol import Container, ContainerSpec, EngineMachine
from bootstrap.world.environment_store import Identity
from tests.unit.fakes import FakeClock, FakeReport

LABELS = {constants.MANAGED_BY: "tekton-bootstrap"}
NODE_IMAGE, REGISTRY_IMAGE = "tekton-bootstrap/node:1", "tekton-bootstrap/registry:1"
PAUSE = LockedImage("pause", f"{constants.REPOSITORY}/pause", "sha256:" + "a" * 64)
TOOLBOX = LockedImage("toolbox", f"{constants.REPOSITORY}/toolbox", "sha256:" + "b" * 64)
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Box:
    """A container. files: path -> text. taken: its port is taken by somebody else, so it does not start.

    born: it has run at some time.
    """

    name: str
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: frozenset[str] = frozenset()
    ports: dict[int, int] = field(default_factory=dict)
    running: bool = True
    born: bool = True
    files: dict[str, str] = field(default_factory=dict)
    taken: bool = False
    starts: int = 0

    @property
    def seen(self) -> Container:
        """As the engine tells it."""
        state = "running" if self.running else "exited" if self.born else "created"
        networks = dict.fromkeys(self.networks, "")
        return Container("id", self.name, self.image, state, 0, self.labels, networks, self.ports)


@dataclass
class FakeEngine:
    """boxes: by name. commands: what it was told to do with containers, a line each. verdict: of `check`.

    executed: answers of `exec`. births: containers that it is still making; each look finds one more made.
    specs: what containers were made from.
    """

    boxes: dict[str, Box] = field(default_factory=dict)
    births: list[Box] = field(default_factory=list)
    networks: set[str] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)
    commands: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Ready("Docker 29"))
    executed: Callable[[Box, Sequence[str]], str] = lambda box, words: _cat(box, words)
    is_managed: bool = False
    calls: list[str] = field(default_factory=list)
    specs: list[ContainerSpec] = field(default_factory=list)

    def add(self, box: Box) -> Box:
        self.boxes[box.name] = box
        return box

    def check(self) -> Verdict:
        return self.verdict

    def read_machine(self) -> EngineMachine:
        return EngineMachine("Debian GNU/Linux 12", 2, 15.0, rootless=False, cgroups=2)

    def ensure(self, on_cause: Callable[[str], None]) -> None:
        self.calls.append("ensure")

    def revive(self, on_cause: Callable[[str], None]) -> bool:
        self.calls.append("revive")
        return isinstance(self.verdict, Ready)

    def stop_if_idle(self) -> None:
        self.calls.append("stop_if_idle")

    def purge(self) -> None:
        self.calls.append("purge")

    def remove_own_images(self) -> None:
        self.calls.append("remove_own_images")

    def find_container(self, name: str) -> Container | None:
        return self.boxes[name].seen if name in self.boxes else None

    def list_containers(self, *, label: str = "", name: str = "", running: bool = False) -> list[Container]:
        assert label
        assert not name
        key, _, value = label.partition("=")
        return [
            box.seen for box in self.boxes.values() if box.labels.get(key) == value and (box.running or not running)
        ]

    def count_unfinished_containers(self, label: str) -> int:
        count = sum("=".join(each) == label for box in self.births for each in box.labels.items())
        if self.births:
            self.add(self.births.pop())
        return count

    def find_port(self, name: str, container_port: int) -> int | None:
        box = self.boxes.get(name)
        return box.ports.get(container_port) if box and box.running else None

    def create_network(self, name: str) -> None:
        self.networks.add(name)

    def remove_network(self, name: str) -> None:
        self.networks.discard(name)

    def has_network(self, name: str) -> bool:
        return name in self.networks

    def remove_container(self, name: str) -> None:
        if name in self.boxes and self.boxes[name].labels.get(constants.MANAGED_BY):
            del self.boxes[name]

    def remove_volume(self, name: str) -> None:
        self.volumes.discard(name)

    def create_container(self, spec: ContainerSpec) -> None:
        self.commands.append(f"create {spec}")
        assert spec.name not in self.boxes, "the name is in use"
        labels = {**LABELS, **spec.labels}
        networks = frozenset({spec.network})
        self.add(Box(spec.name, spec.image, labels, networks, dict(spec.ports), running=False))
        self.specs.append(spec)

    def start_containers(self, *containers: str, limit: float = 60) -> None:
        self.commands.append(" ".join(("start", *containers)))
        for name in containers:
            if self.boxes[name].taken:
                raise CommandError("docker start failed", code=1, evidence="port is already allocated")
            self.boxes[name].running = True
            self.boxes[name].starts += 1

    def restart_container(self, container: str, *, grace: int) -> None:
        self.start_containers(container)

    def copy_into(self, container: str, folder: str, archive: bytes) -> None:
        self.commands.append(f"copy into {container}:{folder}")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                if member.isfile():
                    path = str(Path(folder) / member.name)
                    self.boxes[container].files[path] = cast(Any, tar.extractfile(member)).read().decode()

    def exec(self, container: str, *command: str, limit: float = 60) -> str:
        self.commands.append(" ".join(("exec", container, *command)))
        return self.executed(self.boxes[container], command)

    def remove_nodes(self, names: Sequence[str]) -> None:
        self.commands.append(" ".join(("remove", *names)))
        for name in names:
            del self.boxes[name]

    def create_volume(self, name: str) -> None:
        self.volumes.add(name)


def _cat(box: Box, words: Sequence[str]) -> str:
    """`cat FILE`, and `sh -c LOOK sh MARK VOLUMES FILE...` as nodes answer it; unpacking and pinning say nothing."""
    if tuple(words[:3]) in (("sh", "-c", UNPACK), ("sh", "-c", PIN)):
        return ""
    if words[0] == "cat":
        if words[1] not in box.files:
            raise CommandError("docker exec failed", code=1)
        return box.files[words[1]]
    shell, mark, volumes, *files = words[:3], *words[4:]
    assert tuple(shell) == ("sh", "-c", LOOK), words
    data = any(path.startswith(f"{volumes}/") for path in box.files)
    trust = "".join(box.files.get(path, "") for path in files)
    return f"{box.files.get(mark, '')}\n{'volumes' if data else ''}\n{trust}"


@dataclass
class FakeImages:
    images: dict[str, LockedImage] = field(default_factory=lambda: {"pause": PAUSE, "toolbox": TOOLBOX})
    node_image: str = NODE_IMAGE
    registry_image: str = REGISTRY_IMAGE
    verdict: Verdict = field(default_factory=lambda: Ready("2 images"))
    version: str = "v1.36.3"
    stored: bool = True
    error: BootstrapError | None = None
    pull_secret: str = ""
    copied: dict[str, str] = field(default_factory=dict)

    def check(self) -> Verdict:
        if self.error:
            raise self.error
        return self.verdict

    def is_kept(self) -> bool:
        return self.stored

    def read_lock(self) -> Lock:
        return Lock(self.images, self.node_image, self.registry_image, self.pull_secret, self.copied)

    def read_kubernetes_version(self) -> str:
        return self.version

    def list_seeds(self) -> dict[str, Path]:
        return {"library/golang:1": Path("/layouts/golang"), "library/golang:1.26": Path("/layouts/golang")}

    def list_layouts(self) -> dict[str, Path]:
        return {name: Path(f"/layouts/{name}") for name in self.images}

    def find_bill(self, _: str) -> Path | None:
        return None


@dataclass
class FakeRegistry:
    """held: "path:tag" -> digest. why_not: answered by `find_fault`, one after the other, then ""."""

    held: dict[str, str] = field(default_factory=dict)
    why_not: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    lies: bool = False

    def find_fault(self, certificate: bytes) -> str:
        assert certificate.startswith(b"\x30"), "DER"
        return self.why_not.pop(0) if self.why_not else ""

    def read_digests(self, repositories: Iterable[str]) -> dict[str, str]:
        return {each: self.held[each] for each in repositories if each in self.held}

    def read_digest(self, repository: str) -> str:
        return "sha256:other" if self.lies else self.held.get(repository, "")

    def push(self, layout: Path, repository: str) -> str:
        self.held[repository] = f"sha256:{layout.name}"
        return self.held[repository]

    def pull(self, repository: str, layout: Path) -> None:
        self.pulled.append(repository)


@dataclass
class FakeKube:
    """objects: (kind, namespace, name) -> object. error: raised by every call. refuse: kind -> raised by `create`."""

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    error: Exception | None = None
    refuse: dict[str, ApiError] = field(default_factory=dict)
    tokens: list[tuple[str, str, int]] = field(default_factory=list)
    token_text: str = "token"
    created: list[Object] = field(default_factory=list)
    kubeconfig: Path = Path("/kubeconfig")
    context: str = "kind-demo"
    patched: list[tuple[str, Object]] = field(default_factory=list)
    groups: frozenset[str] = frozenset()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.kubeconfig,)

    def put(self, *objects: Object) -> None:
        for each in objects:
            metadata = each["metadata"]
            self.objects[each["kind"], metadata.get("namespace", ""), metadata["name"]] = each

    def read_version(self) -> str:
        self._ask()
        return "v1.36.3"

    def serves(self, group_version: str) -> bool:
        return group_version in self.groups

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        self._ask()
        return self.objects.get((kind, namespace, name))

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Any:
        self._ask()
        found = [each for key, each in self.objects.items() if key[0] == kind and namespace in ("", key[1])]
        key, _, value = labels.partition("=")
        return [each for each in found if not value or (each["metadata"].get("labels") or {}).get(key, value) == value]

    def apply(self, objects: Iterable[Object], *, dry_run: bool = False) -> Any:
        self._ask()
        given = [*objects]
        if not dry_run:
            self.put(*given)
        return given

    def patch(self, api_version: str, kind: str, name: str, namespace: str = "", *, patch: Object) -> Object:
        """A merge, as far as the tests need one: mappings into mappings."""
        self._ask()
        self.patched.append((name, patch))
        return _merge(self.objects[kind, namespace, name], patch)

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        self._ask()
        if wanted["kind"] in self.refuse:
            raise self.refuse[wanted["kind"]]
        self.created.append(wanted)
        return wanted

    def delete(self, api_version: str, kind: str, name: str, namespace: str = "") -> bool:
        self._ask()
        return self.objects.pop((kind, namespace, name), None) is not None

    def request_token(self, namespace: str, account: str, seconds: int) -> Secret:
        self._ask()
        self.tokens.append((namespace, account, seconds))
        return Secret(self.token_text)

    def _ask(self) -> None:
        if self.error:
            raise self.error


@dataclass
class StepWorld:
    """What steps see of a World. reachable: whether the registry's container can be asked."""

    config: Config
    paths: Paths
    identity: Identity
    project: Path = ROOT
    engine: FakeEngine = field(default_factory=FakeEngine)
    images: FakeImages = field(default_factory=FakeImages)
    kube: FakeKube = field(default_factory=FakeKube)
    report: FakeReport = field(default_factory=FakeReport)
    clock: FakeClock = field(default_factory=FakeClock)
    cancel: Cancel = field(default_factory=Cancel)
    kind: Any = None
    shell: Any = None
    served: FakeRegistry = field(default_factory=FakeRegistry)
    other: FakeKube | None = None
    supply_why: str = "as set"

    @property
    def target(self) -> FakeKube:
        return self.other or self.kube

    @property
    def context(self) -> str:
        return self.config.context or f"kind-{self.config.name}"

    @property
    def cluster(self) -> str:
        return self.context.removeprefix("kind-")

    @property
    def kubeconfig(self) -> Path:
        return self.paths.env / "kubeconfig"

    def for_looking(self, *, renews: bool = False) -> StepWorld:
        return replace(self, identity=self.identity.for_looking(renews=renews))

    def with_kube(self, kube: FakeKube) -> StepWorld:
        return replace(self, kube=kube)

    def open_registry(self) -> FakeRegistry:
        if self.engine.find_port(f"{self.config.name}-registry", 5000) is None:
            raise PreconditionError("the registry does not run")
        return self.served

    def open(self) -> World:
        return cast(World, self)


def make(home: Path, config: Config | None = None) -> StepWorld:
    config = config or Config()
    paths = Paths.of(config.name, {"HOME": str(home)})
    return StepWorld(config, paths, Identity(paths.env, config.name))


def _merge(live: Object, patch: Object) -> Object:
    for key, value in patch.items():
        live[key] = _merge(live.setdefault(key, {}), value) if isinstance(value, dict) else value
    return live
