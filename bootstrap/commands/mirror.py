"""`invoke mirror`: every image into a registry of the user's, from which `up --supply mirror` comes up."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bootstrap.commands import mirror_manifests
from bootstrap.commands.bundle import describe, provide
from bootstrap.core.errors import NotFound, UsageError
from bootstrap.core.text import format_duration
from bootstrap.supply import oci_layout
from bootstrap.supply.bundle_file import DESCRIPTION, TEKTON
from bootstrap.supply.mirror import (
    DIGESTS,
    load_description,
    make_engine_name,
    make_environment_name,
    make_seed_name,
    make_tag,
    run_side_by_side,
)
from bootstrap.supply.source import Source
from bootstrap.supply.versions import read_versions
from bootstrap.world import World
from bootstrap.world.file_locks import hold_engine_while_needed
from bootstrap.world.registry.user import MirrorRegistry


@dataclass(frozen=True)
class MirrorItem:
    """One image that the mirror needs.

    name: NAME:TAG below the folder. layout: None for an image that is saved from the engine first. digest: "" where it
    is not known before it is pushed. there: the mirror has it already.
    """

    name: str
    size: int
    layout: Path | None = None
    engine_image: str = ""
    digest: str = ""
    there: bool = False


@dataclass(frozen=True)
class MirrorRequest:
    """The flags of `invoke mirror`. platforms: "linux/amd64", those to be kept of an index."""

    source: str = ""
    destination: str = ""
    platforms: tuple[str, ...] = ()
    download: bool = False
    sync: bool = False
    pull: bool = False
    plan: bool = False
    check: bool = False
    as_json: bool = False

    @property
    def is_copy(self) -> bool:
        """Whether images are copied, or a plan of it shown."""
        return self.sync or self.plan or not (self.download or self.pull or self.check)


def mirror(
    world: World,
    *,
    source: str = "",
    destination: str = "",
    platform: str = "",
    download: bool = False,
    sync: bool = False,
    pull: bool = False,
    plan: bool = False,
    check: bool = False,
    as_json: bool = False,
) -> int:
    """Copy what is missing: all that `up` needs, or with `source` what its manifests name. plan: only say what that
    would be. check: compare the mirror with what it, or `destination`, says.

    Raises UsageError for flags that do not fit, PreconditionError where the registry does not serve.
    """
    platforms = tuple(word.strip() for word in platform.split(",") if word.strip())
    wish = MirrorRequest(source, destination, platforms, download, sync, pull, plan, check, as_json)
    _check_wish(world, wish)
    with hold_engine_while_needed(world):
        _provide_images(world, wish)
        if download:
            mirror_manifests.download(world, Path(source))
        return 0 if download and not (sync or pull) else _act_at_registry(world, wish)


def _check_wish(world: World, wish: MirrorRequest) -> None:
    """Raises UsageError for flags that contradict each other or the settings."""
    if not world.config.mirror.registry and (not wish.download or wish.sync or wish.pull):
        raise UsageError("mirror.registry is not set", hint="invoke mirror --registry HOST[:PORT]")
    if world.config.supply == "mirror":
        raise UsageError("a mirror is filled from another supply", hint="invoke mirror --set supply=source")
    if wish.download and not wish.source:
        raise UsageError("--download needs a folder to write to", hint="invoke mirror --download --source FOLDER")
    if wish.platforms and not wish.source:
        raise UsageError("--platform is for images that --source names; ours have one", hint="invoke mirror")
    wrong = [each for each in wish.platforms if not mirror_manifests.PLATFORM.fullmatch(each)]
    if wrong:
        raise UsageError(f"--platform: {wrong[0][:40]!r} is not like linux/amd64", hint="--platform linux/amd64")
    if wish.source and wish.is_copy and not wish.plan and not wish.destination:
        raise UsageError("--source needs a folder for what is rewritten", hint="--destination FOLDER")
    if wish.destination and not (wish.source or wish.check):
        raise UsageError("--destination needs --source, whose manifests are rewritten", hint="--source FOLDER")
    if wish.source and wish.destination and Path(wish.source).resolve() == Path(wish.destination).resolve():
        raise UsageError("--destination is the same folder as --source", hint="--destination another one")


def _provide_images(world: World, wish: MirrorRequest) -> None:
    """Build or fetch all images, or only the programs that copy other people's images."""
    foreign = (wish.source or wish.destination) and not wish.download
    if foreign and isinstance(world.images, Source):
        needs = not wish.check and mirror_manifests.has_own_images(Path(wish.source))
        if not needs and not wish.pull:
            line = world.report.step("tools")
            world.images.build(["go-tools"], line)
            line.end_ready("crane", changed=False)
            return
    provide(world)


def _act_at_registry(world: World, wish: MirrorRequest) -> int:
    door = MirrorRegistry(world.shell, world.clock, world.images.find_tool("crane"), world.config.mirror)
    with door.log_in() as registry:
        registry.require_tls()
        if wish.check and wish.destination:
            return mirror_manifests.check(world, registry, Path(wish.destination), wish.as_json)
        if wish.check:
            return _check_mirror(world, registry, wish.as_json)
        if wish.source:
            folders = Path(wish.source), Path(wish.destination) if wish.destination else None
            return mirror_manifests.sync(
                world, registry, *folders, wish.platforms, plan=wish.plan, pull=wish.pull, as_json=wish.as_json
            )
        code = _fill_mirror(world, registry, wish.plan, wish.as_json) if wish.is_copy else 0
        if wish.pull:
            _pull_images(world, registry)
    return code


def _pull_images(world: World, registry: MirrorRegistry) -> None:
    """Pull all images into this machine's engine, by their names at the mirror. Raises NotFound for a missing one."""
    line = world.report.step("pull")
    items = _mark_existing(world, registry, list_wanted(world))
    missing = [item.name for item in items if not item.there]
    if missing:
        raise NotFound(f"{registry.address} does not have {missing[0]}", hint="invoke mirror")
    for done, item in enumerate(items, 1):
        line.show_cause(f"{done} of {len(items)}: {item.name}")
        path = item.name.rpartition(":")[0]
        mirror_manifests.load(
            world, registry, f"{path}@{registry.read_digest(item.name)}", f"{registry.address}/{item.name}"
        )
    line.end_ready(f"{len(items)} images in the engine, as {registry.address}/...", changed=True)


def _fill_mirror(world: World, registry: MirrorRegistry, plan: bool, as_json: bool) -> int:
    start = world.clock.now()
    items = _mark_existing(world, registry, list_wanted(world))
    todo = [item for item in items if not item.there]
    total = sum(item.size for item in todo)
    if plan:
        _show_plan(world, items, registry.measure_push_rate(mirror_manifests.MOMENT) if todo else 0.0, as_json)
        return 0
    line = world.report.step("mirror")
    by_name, moved = {item.name: item for item in todo}, 0
    # The largest first: it decides when all is over.
    order = sorted(by_name, key=lambda name: by_name[name].size, reverse=True)
    pushed = run_side_by_side(
        order, lambda name: _push_image(world, registry, by_name[name]), world.config.mirror.parallel
    )
    for done, name in enumerate(pushed, 1):
        moved += by_name[name].size
        line.show_cause(f"{done} of {len(todo)} images, {moved / 1e6:.0f} of {total / 1e6:.0f} MB")
    renewed = _put_environment(world, registry)
    line.end_ready(f"{len(items)} images at {registry.address}", changed=bool(todo) or renewed)
    seconds = world.clock.now() - start
    if as_json:
        world.report.json({"images": len(items), "pushed": len(todo), "bytes": total, "seconds": round(seconds, 2)})
        return 0
    world.report.line(f"{len(todo)} of {len(items)} images pushed, {total / 1e9:.2f} GB in {format_duration(seconds)}")
    settings = f"mirror.registry={world.config.mirror.registry}"
    world.report.line(f"next, anywhere with this checkout: invoke up --supply mirror --set {settings}")
    return 0


def list_wanted(world: World) -> list[MirrorItem]:
    """Every image that the mirror needs, each once."""
    lock, layouts = world.images.read_lock(), world.images.list_layouts()
    found = [
        MirrorItem(f"{image.name}:{make_tag(image.digest)}", image.size, layouts[image.name], digest=image.digest)
        for image in lock.images.values()
    ]
    for seed, layout in world.images.list_seeds().items():
        digest = str(oci_layout.read_descriptor(layout)["digest"])
        found.append(MirrorItem(make_seed_name(seed, digest), oci_layout.compute_size(layout), layout, digest=digest))
    for image in (lock.node_image, lock.registry_image):
        found.append(MirrorItem(make_engine_name(image), world.engine.read_image_size(image), engine_image=image))
    return list({item.name: item for item in found}.values())


def _mark_existing(world: World, registry: MirrorRegistry, items: list[MirrorItem]) -> list[MirrorItem]:
    """The items, each marked whether the mirror has it; a tag with another digest does not count."""
    there = _read_digests(world, registry, [item.name for item in items])
    return [replace(item, there=bool(there[item.name]) and item.digest in ("", there[item.name])) for item in items]


def _read_digests(world: World, registry: MirrorRegistry, names: Iterable[str]) -> dict[str, str]:
    """Name -> digest, "" for what the mirror does not have; in the order of `names`."""
    asked = list(names)
    found = dict.fromkeys(asked, "")

    def look(name: str) -> None:
        found[name] = registry.read_digest(name)

    for _ in run_side_by_side(asked, look, world.config.mirror.parallel):
        pass
    return found


def _push_image(world: World, registry: MirrorRegistry, item: MirrorItem) -> None:
    if item.layout:
        registry.push(item.layout, item.name)
        return
    with tempfile.TemporaryDirectory(prefix=".tekton-bootstrap-", dir=world.paths.cache) as folder:
        archive = Path(folder) / "image.tar"
        world.engine.save_image(item.engine_image, archive)
        oci_layout.convert_engine_archive(archive, Path(folder) / "layout", packed=False)
        archive.unlink()
        registry.push(Path(folder) / "layout", item.name)


def _get_name(world: World) -> str:
    return make_environment_name(world.config.architecture, read_versions(world.project))


def _put_environment(world: World, registry: MirrorRegistry) -> bool:
    """Push the list of all images, after the images themselves; False if it is there unchanged."""
    lock = world.images.read_lock()
    digests = _read_digests(world, registry, map(make_engine_name, (lock.node_image, lock.registry_image)))
    files = {
        DESCRIPTION: describe(world).dump(),
        TEKTON: json.dumps(world.images.list_tekton_objects()).encode(),
        DIGESTS: json.dumps(digests).encode(),
    }
    with tempfile.TemporaryDirectory(prefix=".tekton-bootstrap-", dir=world.paths.cache) as folder:
        layer = Path(folder) / "files.tar"
        layer.write_bytes(_make_tar(files.items()))
        current = _read_files(registry, _get_name(world), Path(folder) / "current.tar")
        if current == files:
            return False
        registry.push_files(layer, _get_name(world))
    return True


def _read_files(registry: MirrorRegistry, name: str, file: Path) -> dict[str, bytes]:
    """The files of the environment's image; {} if there is none."""
    try:
        registry.pull_files(name, file)
    except NotFound:
        return {}
    with tarfile.open(file) as tar:
        found = {each.name: tar.extractfile(each) for each in tar.getmembers() if each.isfile()}
        return {name: source.read() for name, source in found.items() if source}


def _make_tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive with the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _check_mirror(world: World, registry: MirrorRegistry, as_json: bool) -> int:
    """Check that the mirror holds all that it lists, each by its digest; answers the exit code. Raises NotFound."""
    with tempfile.TemporaryDirectory() as folder:
        files = _read_files(registry, _get_name(world), Path(folder) / "current.tar")
    if not files:
        raise NotFound(f"{registry.address} has no {_get_name(world)}", hint="invoke mirror")
    said = load_description(files[DESCRIPTION], registry.address)
    expected = {f"{image.name}:{make_tag(image.digest)}": image.digest for image in said.images}
    expected |= {make_seed_name(seed, digest): digest for seed, digest in said.seeds.items()}
    expected |= json.loads(files[DIGESTS])
    found = _read_digests(world, registry, expected)
    wrong = {name: "missing" for name in expected if not found[name]}
    wrong |= {name: "changed" for name, digest in expected.items() if found[name] and found[name] != digest}
    if as_json:
        world.report.json({"images": len(expected), "wrong": wrong})
    elif wrong:
        world.report.table(["image", "is"], [[name, what] for name, what in sorted(wrong.items())])
        world.report.line("next: invoke mirror")
    else:
        world.report.line(f"{len(expected)} images at {registry.address}, each as it was pushed")
    return 1 if wrong else 0


def _show_plan(world: World, items: list[MirrorItem], rate: float, as_json: bool) -> None:
    """rate: bytes a second, 0 if it could not be measured."""
    total = sum(item.size for item in items if not item.there)
    if as_json:
        rows = [{"name": item.name, "bytes": item.size, "there": item.there} for item in items]
        world.report.json({"images": rows, "bytes": total, "bytes_per_second": round(rate)})
        return
    table = [[item.name, f"{item.size / 1e6:.1f} MB", "there" if item.there else "to push"] for item in items]
    world.report.table(["image", "size", ""], table)
    missing = sum(not item.there for item in items)
    world.report.line(f"{missing} of {len(items)} to push, {mirror_manifests.estimate(total, rate)}")
