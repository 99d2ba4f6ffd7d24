"""Supply `mirror`: everything from a registry of the user that `invoke mirror` has filled.

Only kind and crane are compiled, from Go modules, because something has to fetch the first image.
"""

from __future__ import annotations

import functools
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap.core.clock import Clock
from bootstrap.core.errors import CommandError, PreconditionError, UsageError
from bootstrap.core.model import Lock, Object, Pending, Ready, Verdict
from bootstrap.core.workers import Workers
from bootstrap.supply import bundle_file, oci_layout
from bootstrap.supply.build_cache import Store, compute_key
from bootstrap.supply.bundle_file import DESCRIPTION, TEKTON, Description
from bootstrap.supply.source import Source
from bootstrap.world.engine.protocol import Engine
from bootstrap.world.registry.http import RegistryAnswer
from bootstrap.world.registry.user import MirrorRegistry
from bootstrap.world.terminal import StepLine

ENVIRONMENT = "environment"
"""The image whose files say what the others are. It is pushed last, so half a mirror is never taken for a whole one."""
DIGESTS = "engine.json"
"""Of its files the one that says by which digest the engine's two images were pushed: {"node:KEY": "sha256:..."}."""


def make_tag(digest: str) -> str:
    """ "sha256:1234..." -> "123456789abc"."""
    return digest.partition(":")[2][:12]


def make_environment_tag(arch: str, versions: Mapping[str, str]) -> str:
    """The tag of the environment image for a checkout, such as "amd64-v1.36.3-v1.9.0-v0.35.0"."""
    return "-".join([arch, *versions.values()])


def make_environment_name(arch: str, versions: Mapping[str, str]) -> str:
    """The name in the mirror of the environment image for a checkout: "environment:TAG"."""
    return f"{ENVIRONMENT}:{make_environment_tag(arch, versions)}"


def make_engine_name(image: str) -> str:
    """The name in the mirror of an image of the engine: "tekton-bootstrap/node:KEY" -> "node:KEY"."""
    return image.rpartition("/")[2]


def make_seed_name(seed: str, digest: str) -> str:
    """The name of a seed in the mirror: "library/golang:1.26" -> "golang:123456789abc".

    Two tags of one image are one.
    """
    return f"{seed.rpartition('/')[2].partition(':')[0]}:{make_tag(digest)}"


def load_description(data: bytes, address: str) -> Description:
    """The description that the mirror at `address` has. Raises UsageError if this version cannot read it."""
    try:
        return Description.load(data)
    except (LookupError, ValueError):
        raise UsageError(
            f"{address} was filled by another version, in a form that this one does not read",
            hint="invoke mirror, with this checkout",
        ) from None


def explain_answer(address: str, answer: RegistryAnswer) -> str:
    """Why a mirror does not tell what it has for this checkout. address: what it is called."""
    causes = {
        0: f"{address} does not answer ({answer.cause})",
        401: f"{address} wants a login, or another one",
        403: f"{address} does not let us in",
        404: f"{address} has no environment for this checkout",
    }
    return causes.get(answer.status, f"{address} answers {answer.status}")


@dataclass(frozen=True)
class Known:
    """What an environment image says, read at once. Its folder may go while a command still works with it.

    tag: of its digest. tekton: Tekton's objects, as JSON. digests: those of the engine's images, by name.
    """

    tag: str
    description: Description
    tekton: bytes
    digests: Mapping[str, str]

    @staticmethod
    def read(folder: Path) -> Known:
        """That of the image whose files are in a folder of the cache."""
        description, tekton, digests = ((folder / name).read_bytes() for name in (DESCRIPTION, TEKTON, DIGESTS))
        return Known(folder.name, Description.load(description), tekton, json.loads(digests))


class Mirror:
    """The images of a mirror. source: builds kind and crane. versions: those of this checkout's manifests.

    parallel: how many images are fetched at the same time. Whatever is read comes from one build of the mirror: the one
    that `check`, `is_kept` or `provide` saw last, even if another command fetches another one meanwhile.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        source: Source,
        registry: Callable[[Path], MirrorRegistry],
        *,
        cache: Path,
        arch: str,
        versions: Mapping[str, str],
        parallel: int,
    ) -> None:
        self._engine = engine
        self._source = source
        self._registry = registry
        self._store = Store(cache, clock)
        self._arch = arch
        self._versions = versions
        self._parallel = parallel
        self._known: Known | None = None
        self._fetched = ""

    def check(self) -> Verdict:
        """Ready when all images are here and in the engine, unless the mirror says that it holds others by now."""
        if not self.is_kept():
            return Pending("not all of the mirror's images are here yet")
        absent = [name for name in self._in_engine if not self._engine.has_image(name)]
        if absent:
            return Pending(f"{absent[0]} is not in the engine yet")
        return self._compare(f"{len(self._description.images)} images, from {self._address}")

    def is_kept(self) -> bool:
        """Whether all images are here; neither engine nor mirror is asked."""
        if self._look() is None:
            return False
        return all(layout.is_dir() for layout in {**self.list_layouts(), **self.list_seeds()}.values())

    def provide(self, line: StepLine) -> None:
        """Fetch the images that are missing.

        Raises PreconditionError for a registry that does not serve, UsageError for a mirror that is not for this
        checkout.
        """
        self._source.build(["go-tools"], line)
        with self._registry(self.find_tool("crane")).log_in() as registry:
            registry.require_tls()
            line.show_cause(f"asking {registry.address}")
            self._fetch_environment(registry, line)
            for name, archive in self._in_engine.items():
                if not self._engine.has_image(name):
                    line.show_cause(f"fetching {make_engine_name(name)}")
                    self._load(registry, name, archive)

    def read_lock(self) -> Lock:
        """The lock that the mirror describes. Raises PreconditionError if nothing was fetched yet."""
        said = self._description
        return Lock({image.name: image for image in said.images}, said.node_image, said.registry_image)

    def list_tekton_objects(self) -> list[Object]:
        """Tekton's objects, images by logical name. Raises PreconditionError if nothing was fetched yet."""
        loaded: list[Object] = json.loads(self._read_known().tekton)
        return loaded

    def find_tool(self, name: str) -> Path:
        """The program `name`, "kind" or "crane", whether it is built or not."""
        return self._source.find_tool(name)

    def read_kubernetes_version(self) -> str:
        """The version of Kubernetes in the node image, such as "v1.36.3".

        Raises PreconditionError if nothing was fetched yet.
        """
        return self._description.versions["kubernetes"]

    def list_layouts(self) -> dict[str, Path]:
        """The OCI layout folders of the images, by logical name.

        Raises PreconditionError if nothing was fetched yet.
        """
        return {image.name: self._get_layout(image.name, image.digest) for image in self._description.images}

    def list_seeds(self) -> dict[str, Path]:
        """What the registry holds from the start: "library/golang:1" -> OCI layout folder. Raises PreconditionError."""
        return {
            seed: self._get_layout(make_seed_name(seed, digest).partition(":")[0], digest)
            for seed, digest in self._description.seeds.items()
        }

    def find_bill(self, _: str) -> Path | None:
        """None: its images come without bills of materials."""
        return None

    # -- what is here ------------------------------------------------------------------------------

    @functools.cached_property
    def _address(self) -> str:
        return self._registry(Path("crane")).address

    @property
    def _environment(self) -> str:
        return make_environment_name(self._arch, self._versions)

    @property
    def _part(self) -> str:
        """The part of the store for this mirror, checkout and format; what another version of this program keeps has
        another.
        """
        tag = make_environment_tag(self._arch, self._versions)
        return f"mirror-{compute_key(self._address, tag, str(bundle_file.FORMAT))}"

    def _look(self) -> Known | None:
        """What was fetched last, by whichever command; None if nothing was. From now on it is what is read."""
        folders = [path for path in self._store.get_path(self._part, "x").parent.glob("[0-9a-f]*") if path.is_dir()]
        newest = max(folders, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            self._known = None
        elif self._known is None or self._known.tag != newest.name:
            self._known = Known.read(newest)
        return self._known

    def _read_known(self) -> Known:
        known = self._known or self._look()
        if known is None:
            raise PreconditionError(f"nothing was fetched from {self._address} yet", hint="invoke up")
        return known

    @property
    def _description(self) -> Description:
        return self._read_known().description

    def _compare(self, what: str) -> Verdict:
        """Ready with `what`, unless the mirror says that it holds another build than the one that is known.

        A mirror that does not say so takes nothing away: what is here was whole when it was fetched.
        """
        tag = self._read_known().tag
        if tag == self._fetched:
            return Ready(what)
        answer = self._registry(self.find_tool("crane")).find_digest(self._environment)
        if not answer.digest:
            return Ready(f"{what}, as last seen: {explain_answer(self._address, answer)}")
        if make_tag(answer.digest) != tag:
            return Pending("the mirror holds another build than is known here")
        return Ready(what)

    def _get_layout(self, name: str, digest: str) -> Path:
        return self._store.get_path(f"mirrored-{name}", make_tag(digest))

    @property
    def _in_engine(self) -> dict[str, Path]:
        said = self._description
        folder = self._store.root / "tmp"
        return {name: folder / f"{make_engine_name(name)}.tar" for name in (said.node_image, said.registry_image)}

    # -- fetching ----------------------------------------------------------------------------------

    def _fetch_environment(self, registry: MirrorRegistry, line: StepLine) -> None:
        """Fetch what the mirror holds now: what describes it takes the place of the old one when all else is here."""
        digest = registry.read_digest(self._environment)
        if not digest:
            raise UsageError(
                f"{registry.address} has no environment for this checkout ({self._environment.partition(':')[2]})",
                hint="invoke mirror, with this checkout, where images can be built",
            )
        tag = make_tag(digest)

        def fetch(folder: Path) -> None:
            layer = folder / "files.tar"
            registry.pull_files(f"{ENVIRONMENT}@{digest}", layer)
            with tarfile.open(layer) as tar:
                for member in (DESCRIPTION, TEKTON, DIGESTS):
                    source = tar.extractfile(member)
                    (folder / member).write_bytes(source.read() if source else b"")
            layer.unlink()
            said = load_description((folder / DESCRIPTION).read_bytes(), registry.address)
            self._fetch_layouts(registry, said, line)

        if self._store.has(self._part, tag):  # images of it may have been deleted since, for those of newer builds
            kept = Known.read(self._store.get_path(self._part, tag))
            self._fetch_layouts(registry, kept.description, line)
        folder = self._store.put(self._part, tag, fetch, lambda: line.show_cause("another command fetches it"))
        self._known, self._fetched = Known.read(folder), tag

    def _fetch_layouts(self, registry: MirrorRegistry, said: Description, line: StepLine) -> None:
        wanted = {f"{image.name}:{make_tag(image.digest)}": image.digest for image in said.images}
        wanted |= {make_seed_name(seed, digest): digest for seed, digest in said.seeds.items()}
        todo = [
            name for name, digest in wanted.items() if not self._get_layout(name.partition(":")[0], digest).is_dir()
        ]

        def fetch(name: str) -> None:
            self._store.put(
                f"mirrored-{name.partition(':')[0]}",
                make_tag(wanted[name]),
                lambda folder: _pull_image(registry, name, wanted[name], folder),
                lambda: None,
            )

        for done, _ in enumerate(run_side_by_side(todo, fetch, self._parallel), 1):
            line.show_cause(f"{done} of {len(todo)} images")

    def _load(self, registry: MirrorRegistry, name: str, archive: Path) -> None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        digest = self._read_known().digests[make_engine_name(name)]
        load_image(self._engine, registry, f"{make_engine_name(name).partition(':')[0]}@{digest}", name, archive)


def load_image(
    engine: Engine, registry: MirrorRegistry, source: str, name: str, archive: Path, platform: str = ""
) -> None:
    """Load the image "NAME@DIGEST" of a registry into the engine, as `name`.

    archive: a file to use on the way. platform: "" for that of the engine. Raises CommandError, PreconditionError.
    """
    try:
        reference = registry.pull_archive(source, archive, platform)
        engine.load_images(archive)
        engine.tag_image(reference, name)
        engine.remove_images(reference)
    finally:
        archive.unlink(missing_ok=True)


def _pull_image(registry: MirrorRegistry, name: str, digest: str, folder: Path) -> None:
    """Pull a layout. crane checks every blob by its digest; that it is the wanted image is checked here."""
    registry.pull_layout(f"{name.partition(':')[0]}@{digest}", folder)
    if oci_layout.read_digest(folder) != digest:
        raise CommandError(f"{registry.address} has another image as {name}", code=1, hint="invoke mirror --check")


def run_side_by_side(names: Iterable[str], work: Callable[[str], object], parallel: int) -> Iterator[str]:
    """Call `work` with each name, `parallel` at a time; yields each name when its work has ended.

    Raises what the first failure was.
    """
    workers: Workers[object] = Workers("mirror")
    waiting = list(names)
    while waiting or workers.busy:
        while waiting and len(workers.busy) < parallel:
            name = waiting.pop(0)
            workers.start(name, functools.partial(work, name))
        name, result = workers.take_result()
        if isinstance(result, BaseException):
            raise result
        yield name
