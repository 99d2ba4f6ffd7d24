"""`invoke bundle`: everything that `up` needs from outside, in one file."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bootstrap.core.errors import UsageError
from bootstrap.core.text import format_duration
from bootstrap.steps.engine import EngineStep
from bootstrap.steps.images import ImagesStep
from bootstrap.steps.reconcile import converge
from bootstrap.supply import oci_layout, sbom
from bootstrap.supply.build_cache import Store, compute_key
from bootstrap.supply.bundle_file import (
    ARCHIVES,
    BILLS,
    DESCRIPTION,
    ENGINE,
    PROGRAMS,
    TEKTON,
    TOOLS,
    UNPROVED,
    Description,
    Writer,
)
from bootstrap.supply.compiler import Compiler
from bootstrap.supply.sbom import Component, ImageReader
from bootstrap.supply.versions import read_versions
from bootstrap.world import World
from bootstrap.world.file_locks import hold_engine_while_needed
from bootstrap.world.terminal import StepLine


def bundle(world: World, *, output: str = "") -> int:
    """Write a bundle of the supply's images, which are provided first; answers the exit code.

    output: a file, or a folder for a file of the usual name. The file appears when it is complete. Raises UsageError.
    """
    start = world.clock.now()
    target = resolve_target(output, world.config.architecture)
    with hold_engine_while_needed(world):
        provide(world)
        with tempfile.TemporaryDirectory(prefix=".tekton-bootstrap-", dir=target.parent) as folder:
            unfinished = Path(folder) / "bundle"
            _write_bundle(world, unfinished, Path(folder))
            unfinished.rename(target)
    size = target.stat().st_size / 1e9
    world.report.line(f"{target}: {size:.1f} GB in {format_duration(world.clock.now() - start)}")
    world.report.line(f"next, on another machine with this checkout: invoke up --bundle {target.name}")
    return 0


def provide(world: World) -> None:
    """Start the engine and provide every image, for commands that make no environment."""
    converge([EngineStep(network=False), ImagesStep()], world, world.clock, world.report, world.cancel)


def resolve_target(output: str, arch: str) -> Path:
    """The file to write. Raises UsageError where nothing can be written."""
    target = Path(output or ".").expanduser()
    if target.is_dir():
        target /= f"tekton-bootstrap-{arch}.tar"
    if not target.parent.is_dir():
        raise UsageError(f"--output: there is no folder {target.parent}", hint=f"mkdir -p {target.parent}")
    return target


def describe(world: World) -> Description:
    """The description of the supply's images, as the bundle holds it."""
    lock = world.images.read_lock()
    return Description(
        arch=world.config.architecture,
        versions=read_versions(world.project),
        node_image=lock.node_image,
        registry_image=lock.registry_image,
        images=tuple(lock.images.values()),
        seeds={name: oci_layout.read_digest(layout) for name, layout in world.images.list_seeds().items()},
    )


def _name_seeds(seeds: Mapping[str, Path]) -> dict[str, Path]:
    """Name for the bill of materials of a seed -> its layout; several tags of one image are one."""
    return {seed.rpartition("/")[2].partition(":")[0]: layout for seed, layout in seeds.items()}


def _put_bill(
    world: World, writer: Writer, line: StepLine, name: str, digest: str, read: Callable[[], list[Component]]
) -> None:
    """Write the bill of materials of an image: the one that came with it, or a new one.

    New ones are kept by digest, because to read a whole image takes seconds. digest: that of the image, or another
    name of its content.
    """
    line.show_cause(f"what is in {name}")

    def make(folder: Path) -> None:
        (folder / "bill").write_bytes(sbom.make_document(name, digest, read()))

    bill = world.images.find_bill(name)
    if bill is None:
        store = Store(world.paths.cache, world.clock)
        key = compute_key(sbom.FORMAT, digest)
        bill = store.put(f"sbom-{name}", key, make, lambda: line.show_cause("waiting")) / "bill"
    writer.add(f"{BILLS}{name}.cdx.json", bill)


def _read_programs(world: World, line: StepLine, folder: Path) -> str:
    """The build information of the Go programs in `folder`, by the toolchain that everything is built with.

    Where images are made it is there; only supply bundle needs none, and its file has the bills.
    """
    store = Store(world.paths.cache, world.clock)
    compiler = Compiler(world.shell, store, project=world.project, arch=world.config.architecture)
    return compiler.provide_go(line.show_cause).read_build_information(folder)


def _write_bundle(world: World, file: Path, folder: Path) -> None:
    images, line = world.images, world.report.step("bundle")
    lock, seeds = images.read_lock(), images.list_seeds()
    with file.open("wb") as target:
        writer = Writer(target)
        writer.put(DESCRIPTION, describe(world).dump())
        line.show_cause("writing the images")
        writer.add_layouts({**images.list_layouts(), **seeds})
        writer.put(TEKTON, json.dumps(images.list_tekton_objects()).encode())
        bill = functools.partial(_put_bill, world, writer, line)
        reader = ImageReader(functools.partial(_read_programs, world, line), folder)
        for name, layout in {**images.list_layouts(), **_name_seeds(seeds)}.items():
            bill(
                name,
                oci_layout.read_digest(layout),
                functools.partial(reader.read_layout, layout),
            )
        for name in PROGRAMS:
            writer.add(TOOLS + name, images.find_tool(name), 0o755)
        for name, image in zip(ARCHIVES, (lock.node_image, lock.registry_image), strict=True):
            line.show_cause(f"saving {name}")
            archive = folder / f"{name}.tar"
            unproved = image + UNPROVED
            world.engine.tag_image(image, unproved)
            try:
                world.engine.save_image(unproved, archive)
            finally:
                world.engine.remove_images(unproved)
            writer.add(f"{ENGINE}{name}.tar", archive)
            bill(name, image.rpartition(":")[2], functools.partial(reader.read_archive, archive))
            archive.unlink()
        writer.close()
    line.end_ready(f"{len(lock.images)} images, {len(seeds)} seeds, 2 for the engine", changed=True)
