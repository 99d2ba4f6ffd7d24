"""Commands that only look: doctor, config, images."""

from __future__ import annotations

from dataclasses import asdict

from bootstrap import doctor as examination
from bootstrap.config import describe
from bootstrap.flows import is_cold
from bootstrap.world import World


def doctor(world: World, *, as_json: bool = False) -> int:
    """0 unless a finding would stop `up`."""
    findings = examination.examine(world.shell, world.engine, world.config, world.paths, cold=is_cold(world))
    bad = any(finding.level == "fail" for finding in findings)
    if as_json:
        world.report.json([asdict(finding) for finding in findings])
    else:
        world.report.table(["", "what", "found", "fix"], [[f.level, f.name, f.what, f.fix] for f in findings])
    return 3 if bad else 0


def config(world: World, *, as_json: bool = False) -> int:
    """Every setting, its value and where it came from; secrets masked."""
    rows = describe(world.config)
    if as_json:
        world.report.json([asdict(row) for row in rows])
    else:
        world.report.table(["setting", "value", "from"], [[row.key, row.value, row.origin] for row in rows])
    return 0


def images(world: World, *, as_json: bool = False) -> int:
    """The lock, image by image."""
    lock = world.images.lock()
    rows = sorted(lock.images.values(), key=lambda image: image.name)
    if as_json:
        world.report.json([asdict(image) | {"reference": image.reference} for image in rows])
        return 0
    table = [[image.name, image.digest[:19], f"{image.size / 1e6:.1f} MB", ", ".join(image.aliases)] for image in rows]
    world.report.table(["image", "digest", "size", "also known as"], table)
    return 0
