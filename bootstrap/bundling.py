"""`invoke bundle`: everything that `up` needs from outside, in one file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bootstrap.converge import converge
from bootstrap.errors import UsageError
from bootstrap.locks import engine_in_use
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.images import ImagesStep
from bootstrap.supply import oci
from bootstrap.supply.bundle_file import ARCHIVES, DESCRIPTION, ENGINE, PROGRAMS, TEKTON, TOOLS, Description, Writer
from bootstrap.supply.versions import versions
from bootstrap.text import duration
from bootstrap.world import World

SAVE_LIMIT = 900.0


def bundle(world: World, *, output: str = "") -> int:
    """Write it from the supply of the settings, which provides first what is missing.

    output: a file, or a folder for one of the usual name. It appears when it is complete. Raises UsageError.
    """
    start = world.clock.now()
    target = target_of(output, world.config.architecture)
    with engine_in_use(world) as alone:
        converge([EngineStep(), ImagesStep()], world, world.clock, world.report, world.cancel)
        with tempfile.TemporaryDirectory(prefix=".tekton-bootstrap-", dir=target.parent) as folder:
            unfinished = Path(folder) / "bundle"
            _write(world, unfinished, Path(folder))
            unfinished.rename(target)
        if alone():
            world.engine.stop_if_idle()
    size = target.stat().st_size / 1e9
    world.report.line(f"{target}: {size:.1f} GB in {duration(world.clock.now() - start)}")
    world.report.line(f"next, on another machine with this checkout: invoke up --bundle {target.name}")
    return 0


def target_of(output: str, arch: str) -> Path:
    """Raises UsageError where nothing can be written."""
    target = Path(output or ".").expanduser()
    if target.is_dir():
        target /= f"tekton-bootstrap-{arch}.tar"
    if not target.parent.is_dir():
        raise UsageError(f"--output: there is no folder {target.parent}", hint=f"mkdir -p {target.parent}")
    return target


def describe(world: World) -> Description:
    """What the supply of the settings holds."""
    lock = world.images.lock()
    return Description(
        arch=world.config.architecture,
        versions=versions(world.project),
        node_image=lock.node_image,
        registry_image=lock.registry_image,
        images=tuple(lock.images.values()),
        seeds={name: str(oci.manifest_of(layout)["digest"]) for name, layout in world.images.seeds().items()},
    )


def _write(world: World, file: Path, folder: Path) -> None:
    images, line = world.images, world.report.step("bundle")
    lock, seeds = images.lock(), images.seeds()
    with file.open("wb") as target:
        writer = Writer(target)
        writer.put(DESCRIPTION, describe(world).dump())
        line.cause("writing the images")
        writer.layouts({**images.layouts(), **seeds})
        writer.put(TEKTON, json.dumps(images.tekton()).encode())
        for name in PROGRAMS:
            writer.add(TOOLS + name, images.tool(name), 0o755)
        for name, image in zip(ARCHIVES, (lock.node_image, lock.registry_image), strict=True):
            line.cause(f"saving {name}")
            archive = folder / f"{name}.tar"
            world.engine.docker("save", "--output", str(archive), image, limit=SAVE_LIMIT)
            writer.add(f"{ENGINE}{name}.tar", archive)
            archive.unlink()
        writer.close()
    line.ready(f"{len(lock.images)} images, {len(seeds)} seeds, 2 for the engine", changed=True)
