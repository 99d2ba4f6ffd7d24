"""Commands that only look: doctor, config, images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bootstrap import doctor as examination
from bootstrap import hops, locking
from bootstrap.config import describe
from bootstrap.findings import Finding
from bootstrap.flows import is_cold
from bootstrap.supply import published
from bootstrap.world import World


def doctor(world: World, *, as_json: bool = False) -> int:
    """0 unless a finding would stop `up`."""
    findings = [
        Finding("ok", "supply", f"{world.config.supply} ({world.supply_why})"),
        *examination.examine(world.shell, world.engine, world.config, world.paths, cold=is_cold(world)),
        *hops.examine(world),
    ]
    bad = any(finding.level == "fail" for finding in findings)
    if as_json:
        world.report.json([asdict(finding) for finding in findings])
    else:
        world.report.table(["", "what", "found"], [row for finding in findings for row in _rows(finding)])
    return 3 if bad else 0


def _rows(finding: Finding) -> list[list[str]]:
    """What to do stands below what was found: side by side they would not fit 80 columns."""
    found = [finding.level, finding.name, finding.what]
    return [found, ["", "", f"-> {finding.fix}"]] if finding.fix else [found]


def config(world: World, *, as_json: bool = False) -> int:
    """Every setting, its value and where it came from; secrets masked."""
    rows = describe(world.config)
    if as_json:
        world.report.json([asdict(row) for row in rows])
    else:
        world.report.table(["setting", "value", "from"], [[row.key, row.value, row.origin] for row in rows])
    return 0


def images(world: World, *, lock: bool = False, as_json: bool = False) -> int:
    """Every image: what it is here, what others call it, by digest. lock: first write anew what upstream takes.

    Raises PreconditionError where the images are not there yet, and, with `lock`, for hosts that do not serve.
    """
    if lock:
        return locking.lock(world, as_json=as_json)
    rows = described(world)
    if as_json:
        world.report.json(rows)
        return 0
    table = [
        [row["name"], row["digest"][:19], f"{row['size'] / 1e6:.1f} MB", row["platform"], row["supply"], _called(row)]
        for row in rows
    ]
    world.report.table(["image", "digest", "size", "platform", "supply", "also known as"], table)
    return 0


def described(world: World) -> list[dict[str, Any]]:
    """The lock, image by image; of supply upstream also what other images are made from."""
    config = world.config
    common = {"platform": f"linux/{config.architecture}", "supply": config.supply}
    rows = [asdict(each) | {"reference": each.reference} | common for each in world.images.lock().images.values()]
    if config.supply == "upstream":
        known = {row["name"] for row in rows}
        file = world.project / Path(config.upstream.lock).expanduser()
        for name, image in published.read(file).images.items():
            held = image.platforms.get(config.architecture)
            if held and name not in known:
                row = {"name": name, "digest": held.digest, "size": held.size, "aliases": (), "public": image.reference}
                rows.append(row | {"reference": f"{image.parsed.repository}@{held.digest}"} | common)
    return sorted(rows, key=lambda row: str(row["name"]))


def _called(row: dict[str, Any]) -> str:
    return ", ".join([row["public"]] * bool(row["public"]) + [*row["aliases"]])
