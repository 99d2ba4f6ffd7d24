"""`invoke images`: every image, its digest, and what others call it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bootstrap.supply import lock_upstream, upstream_lock
from bootstrap.world import World


def images(world: World, *, lock: bool = False, as_json: bool = False) -> int:
    """Every image: what it is here, what others call it, by digest. lock: first write anew what upstream takes.

    Raises PreconditionError where the images are not there yet, and, with `lock`, for hosts that do not serve.
    """
    if lock:
        return lock_upstream.lock_images(world, as_json=as_json)
    rows = describe_images(world)
    if as_json:
        world.report.json(rows)
        return 0
    table = [
        [
            row["name"],
            row["digest"][:19],
            f"{row['size'] / 1e6:.1f} MB",
            row["platform"],
            row["supply"],
            _join_names(row),
        ]
        for row in rows
    ]
    world.report.table(["image", "digest", "size", "platform", "supply", "also known as"], table)
    return 0


def describe_images(world: World) -> list[dict[str, Any]]:
    """The lock as rows; of supply upstream also the images that others are made from."""
    config = world.config
    common = {"platform": f"linux/{config.architecture}", "supply": config.supply}
    rows = [asdict(each) | {"reference": each.reference} | common for each in world.images.read_lock().images.values()]
    if config.supply == "upstream":
        known = {row["name"] for row in rows}
        file = world.project / Path(config.upstream.lock).expanduser()
        for name, image in upstream_lock.read(file).images.items():
            held = image.platforms.get(config.architecture)
            if held and name not in known:
                row = {"name": name, "digest": held.digest, "size": held.size, "aliases": (), "public": image.reference}
                rows.append(row | {"reference": f"{image.parsed.repository}@{held.digest}"} | common)
    return sorted(rows, key=lambda row: str(row["name"]))


def _join_names(row: dict[str, Any]) -> str:
    return ", ".join(name for name in (row["public"], *row["aliases"]) if name)
