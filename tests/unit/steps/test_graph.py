"""The steps of `up` as docs/architecture.md shows them, held against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.settings.config import Config
from bootstrap.steps import graph
from bootstrap.steps.reconcile import sort_steps
from tests.unit import step_world


def documented_steps() -> dict[str, tuple[str, ...]]:
    """Step -> what it needs, as in the table of the page."""
    page = (PROJECT / "docs/architecture.md").read_text()
    table = page.partition("| step | needs | in |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| `bootstrap/steps/\w+\.py` \|$", table, re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", needs)) or (needs,) for name, needs in rows}


def test_the_page_shows_every_step_with_its_needs(tmp_path: Path) -> None:
    """Of supply upstream, which has one step more than source."""
    *steps, last = graph.list_steps(step_world.make(tmp_path, Config(supply="upstream")).open())
    expected = {step.name: tuple(step.needs) or ("",) for step in steps} | {last.name: ("all others",)}
    assert documented_steps() == expected
    assert list(documented_steps()) == list(expected)
    assert set(last.needs) == {step.name for step in steps}


@pytest.mark.parametrize(
    "config", [Config(), Config(supply="upstream"), Config(context="x"), Config(context="x", supply="mirror")]
)
def test_the_list_can_be_run_as_it_is_read(tmp_path: Path, config: Config) -> None:
    """Each step is listed after all that it needs, so the list is an order in which they can run."""
    steps = graph.list_steps(step_world.make(tmp_path, config).open())
    assert len(sort_steps(steps)) == len(steps)
    if not config.context:
        seen: set[str] = set()
        for step in steps:
            assert set(step.needs) <= seen
            seen.add(step.name)
