"""`invoke images --lock`: asks the public hosts what they have, and writes it down as what supply upstream may take."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Object
from bootstrap.core.text import format_count
from bootstrap.supply import tekton_releases, upstream_lock
from bootstrap.supply.mirror import run_side_by_side
from bootstrap.supply.public_registries import PublicRegistries
from bootstrap.supply.upstream import Upstream
from bootstrap.supply.upstream_lock import Document, PublicImage, PublicLock
from bootstrap.world import World
from bootstrap.world.terminal import StepLine

PARALLEL = 4
"""Images that are asked for at the same time."""


def lock_images(world: World, *, as_json: bool = False) -> int:
    """Show what is new or changed, and write the lock file; answers the exit code. as_json: print JSON.

    The file that was there is only compared, not relied on. Raises UsageError for a file that is no lock,
    PreconditionError for hosts that do not serve, BootstrapError for releases that do not name all that is needed.
    """
    supply = Upstream(
        world.shell,
        world.engine,
        world.clock,
        settings=world.config.upstream,
        project=world.project,
        cache=world.paths.cache,
        arch=world.config.architecture,
        cancel=world.cancel,
    )
    before, line = supply.public, world.report.step("lock")
    supply.build(["go-tools"], line)
    after = resolve_wanted(supply.registries, upstream_lock.read_wanted(world.project), line)
    found = upstream_lock.list_changes(before, after)
    _write_file(supply.lock_file, after.dump())
    line.end_ready(
        f"{format_count(len(after.documents), 'document')}, {format_count(len(after.images), 'image')}",
        changed=bool(found),
    )
    other = [name for name, old, new in found if old and new]
    if other:
        world.report.warn(f"not what it was: {', '.join(other)}. What has a version never changes: find out why")
    if as_json:
        world.report.json([{"name": name, "before": old, "after": new} for name, old, new in found])
        return 0
    if found:
        rows = [[name, _name_change(old, new), (new or old)[:19]] for name, old, new in found]
        world.report.table(["", "is", "digest"], rows)
    world.report.line(
        f"{world.config.upstream.lock}: {format_count(len(found), 'change')}.  next: invoke up --supply upstream"
    )
    return 0


def resolve_wanted(registries: PublicRegistries, needs: upstream_lock.Wanted, line: StepLine) -> PublicLock:
    """The lock of what the hosts have now: of all that is wanted, and of the images that the releases name.

    Raises PreconditionError, NotFound, BootstrapError.
    """
    documents: dict[str, Document] = {}
    objects: list[Object] = []
    for name, path in needs.documents.items():
        line.show_cause(f"reading {path}")
        data = registries.fetch_document(path)
        documents[name] = Document(path, hashlib.sha256(data).hexdigest(), len(data))
        objects += tekton_releases.parse(name, data)
    named = tekton_releases.find_images(objects)
    tekton_releases.check_complete(named)
    todo, images = {**needs.images, **named}, dict[str, PublicImage]()

    def ask(name: str) -> None:
        images[name] = registries.resolve(todo[name])

    for done, _ in enumerate(run_side_by_side(todo, ask, PARALLEL), 1):
        line.show_cause(f"{done} of {len(todo)} images")
    return PublicLock(documents, images)


def _write_file(file: Path, text: str) -> None:
    """Write the whole file, or leave the old one. Raises PreconditionError."""
    unfinished = file.with_name(f".{file.name}.new")
    try:
        unfinished.write_text(text)
        unfinished.replace(file)
    except OSError as error:
        raise PreconditionError(f"{file} cannot be written: {error.strerror}", hint="set upstream.lock") from None


def _name_change(old: str, new: str) -> str:
    if old and new:
        return "changed"
    return "new" if new else "gone"
