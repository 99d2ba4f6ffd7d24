"""`invoke mirror`: every image into a registry of the user's, from which `up --supply mirror` comes up."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bootstrap.bundling import describe
from bootstrap.converge import converge
from bootstrap.errors import NotFound, UsageError
from bootstrap.locks import engine_in_use
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.images import ImagesStep
from bootstrap.supply import oci
from bootstrap.supply.bundle_file import DESCRIPTION, TEKTON, Description
from bootstrap.supply.mirror import DIGESTS, ENVIRONMENT, engine_name, environment_tag, seed_name, side_by_side, tag_of
from bootstrap.supply.versions import versions
from bootstrap.text import duration
from bootstrap.world import World
from bootstrap.world.mirror import MirrorRegistry

SAVE_LIMIT = 900.0
LINE = 10e6
"""Bytes a second that --plan reckons with."""


@dataclass(frozen=True)
class Item:
    """One image to be there. name: NAME:TAG below the folder. layout: None for what is saved from the engine first.

    digest: "" where it is not known before it is pushed. there: the mirror has it already.
    """

    name: str
    size: int
    layout: Path | None = None
    engine_image: str = ""
    digest: str = ""
    there: bool = False


def mirror(world: World, *, plan: bool = False, check: bool = False, as_json: bool = False) -> int:
    """Copy what is missing. plan: only say what that would be. check: compare a mirror with what it says of itself.

    Raises UsageError without mirror.registry, PreconditionError where the registry does not serve.
    """
    if not world.config.mirror.registry:
        raise UsageError("mirror.registry is not set", hint="invoke mirror --set mirror.registry=HOST[:PORT]")
    if world.config.supply == "mirror":
        raise UsageError("a mirror is filled from another supply", hint="invoke mirror --set supply=source")
    with engine_in_use(world) as alone:
        converge([EngineStep(), ImagesStep()], world, world.clock, world.report, world.cancel)
        door = MirrorRegistry(world.shell, world.clock, world.images.tool("crane"), world.config.mirror)
        with door.login() as registry:
            registry.refuse_plain()
            code = _check(world, registry, as_json) if check else _fill(world, registry, plan, as_json)
        if alone():
            world.engine.stop_if_idle()
    return code


def _fill(world: World, registry: MirrorRegistry, plan: bool, as_json: bool) -> int:
    start = world.clock.now()
    items = _looked(world, registry, wanted(world))
    todo = [item for item in items if not item.there]
    total = sum(item.size for item in todo)
    if plan:
        _show_plan(world, items, as_json)
        return 0
    line = world.report.step("mirror")
    by_name, moved = {item.name: item for item in todo}, 0
    # The largest first: it decides when all is over.
    order = sorted(by_name, key=lambda name: by_name[name].size, reverse=True)
    pushed = side_by_side(order, lambda name: _push(world, registry, by_name[name]), world.config.mirror.parallel)
    for done, name in enumerate(pushed, 1):
        moved += by_name[name].size
        line.cause(f"{done} of {len(todo)} images, {moved / 1e6:.0f} of {total / 1e6:.0f} MB")
    renewed = _put_environment(world, registry)
    line.ready(f"{len(items)} images at {registry.address}", changed=bool(todo) or renewed)
    seconds = world.clock.now() - start
    if as_json:
        world.report.json({"images": len(items), "pushed": len(todo), "bytes": total, "seconds": round(seconds, 2)})
        return 0
    world.report.line(f"{len(todo)} of {len(items)} images pushed, {total / 1e9:.2f} GB in {duration(seconds)}")
    settings = f"mirror.registry={world.config.mirror.registry}"
    world.report.line(f"next, anywhere with this checkout: invoke up --supply mirror --set {settings}")
    return 0


def wanted(world: World) -> list[Item]:
    """Every image, each once."""
    lock, layouts = world.images.lock(), world.images.layouts()
    found = [
        Item(f"{image.name}:{tag_of(image.digest)}", image.size, layouts[image.name], digest=image.digest)
        for image in lock.images.values()
    ]
    for seed, layout in world.images.seeds().items():
        digest = str(oci.manifest_of(layout)["digest"])
        found.append(Item(seed_name(seed, digest), oci.size_of(layout), layout, digest=digest))
    for image in (lock.node_image, lock.registry_image):
        size = int((world.engine.inspect("image", image) or {}).get("Size", 0))
        found.append(Item(engine_name(image), size, engine_image=image))
    return list({item.name: item for item in found}.values())


def _looked(world: World, registry: MirrorRegistry, items: list[Item]) -> list[Item]:
    """With what the mirror has already; a tag that leads to something else does not count."""
    there = _digests(world, registry, [item.name for item in items])
    return [replace(item, there=bool(there[item.name]) and item.digest in ("", there[item.name])) for item in items]


def _digests(world: World, registry: MirrorRegistry, names: Iterable[str]) -> dict[str, str]:
    """Name -> digest, "" for what the mirror does not have; in the order of `names`."""
    asked = list(names)
    found = dict.fromkeys(asked, "")

    def look(name: str) -> None:
        found[name] = registry.digest(name)

    for _ in side_by_side(asked, look, world.config.mirror.parallel):
        pass
    return found


def _push(world: World, registry: MirrorRegistry, item: Item) -> None:
    if item.layout:
        registry.push(item.layout, item.name)
        return
    with tempfile.TemporaryDirectory(prefix=".tekton-bootstrap-", dir=world.paths.cache) as folder:
        archive = Path(folder) / "image.tar"
        world.engine.docker("save", "--output", str(archive), item.engine_image, limit=SAVE_LIMIT)
        oci.from_engine_archive(archive, Path(folder) / "layout", packed=False)
        archive.unlink()
        registry.push(Path(folder) / "layout", item.name)


def _name(world: World) -> str:
    return f"{ENVIRONMENT}:{environment_tag(world.config.architecture, versions(world.project))}"


def _put_environment(world: World, registry: MirrorRegistry) -> bool:
    """Push what says what the rest is, the last of all; False if it is there as it is to be."""
    lock = world.images.lock()
    digests = _digests(world, registry, map(engine_name, (lock.node_image, lock.registry_image)))
    files = {
        DESCRIPTION: describe(world).dump(),
        TEKTON: json.dumps(world.images.tekton()).encode(),
        DIGESTS: json.dumps(digests).encode(),
    }
    with tempfile.TemporaryDirectory(prefix=".tekton-bootstrap-", dir=world.paths.cache) as folder:
        layer = Path(folder) / "files.tar"
        layer.write_bytes(_tar(files.items()))
        current = _read(registry, _name(world), Path(folder) / "current.tar")
        if current == files:
            return False
        registry.put_files(layer, _name(world))
    return True


def _read(registry: MirrorRegistry, name: str, file: Path) -> dict[str, bytes]:
    """The files of the environment's image; {} if there is none."""
    try:
        registry.get_files(name, file)
    except NotFound:
        return {}
    with tarfile.open(file) as tar:
        found = {each.name: tar.extractfile(each) for each in tar.getmembers() if each.isfile()}
        return {name: source.read() for name, source in found.items() if source}


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    """The same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _check(world: World, registry: MirrorRegistry, as_json: bool) -> int:
    """0 if the mirror holds all that it says of itself, each by its digest."""
    with tempfile.TemporaryDirectory() as folder:
        files = _read(registry, _name(world), Path(folder) / "current.tar")
    if not files:
        raise NotFound(f"{registry.address} has no {_name(world)}", hint="invoke mirror")
    said = Description.load(files[DESCRIPTION])
    expected = {f"{image.name}:{tag_of(image.digest)}": image.digest for image in said.images}
    expected |= {seed_name(seed, digest): digest for seed, digest in said.seeds.items()}
    expected |= json.loads(files[DIGESTS])
    found = _digests(world, registry, expected)
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


def _show_plan(world: World, items: list[Item], as_json: bool) -> None:
    total = sum(item.size for item in items if not item.there)
    if as_json:
        world.report.json([{"name": item.name, "bytes": item.size, "there": item.there} for item in items])
        return
    rows = [[item.name, f"{item.size / 1e6:.1f} MB", "there" if item.there else "to push"] for item in items]
    world.report.table(["image", "size", ""], rows)
    missing = sum(not item.there for item in items)
    world.report.line(f"{missing} of {len(items)} to push, {total / 1e9:.2f} GB: {duration(total / LINE)} at 10 MB/s")
