"""`invoke doctor`: what the machine and its network lack for an environment, and what to type."""

from __future__ import annotations

from dataclasses import asdict

from bootstrap.commands import connectivity_checks, machine_checks
from bootstrap.commands.check_results import Finding
from bootstrap.world import World


def doctor(world: World, *, as_json: bool = False) -> int:
    """Print all findings; answers 1 if one of them would stop `up`."""
    world = world.for_looking()
    findings = [
        Finding("ok", "supply", f"{world.config.supply} ({world.supply_why})"),
        *machine_checks.examine(
            world.shell, world.engine, world.config, world.paths, cold=machine_checks.is_cold(world)
        ),
        *connectivity_checks.examine(world),
    ]
    bad = any(finding.level == "fail" for finding in findings)
    if as_json:
        world.report.json([asdict(finding) for finding in findings])
    else:
        world.report.table(["", "what", "found"], [row for finding in findings for row in _make_rows(finding)])
    return 3 if bad else 0


def _make_rows(finding: Finding) -> list[list[str]]:
    """The row of a finding, and below it what to do: side by side they would not fit 80 columns."""
    found = [finding.level, finding.name, finding.what]
    return [found, ["", "", f"-> {finding.fix}"]] if finding.fix else [found]
