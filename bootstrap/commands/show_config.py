"""`invoke config`: every setting, its value and where it came from."""

from __future__ import annotations

from dataclasses import asdict

from bootstrap.settings.config import describe
from bootstrap.world import World


def config(world: World, *, as_json: bool = False) -> int:
    """Every setting, its value and where it came from; secrets masked."""
    rows = describe(world.config)
    if as_json:
        world.report.json([asdict(row) for row in rows])
    else:
        world.report.table(["setting", "value", "from"], [[row.key, row.value, row.origin] for row in rows])
    return 0
