"""What is handed down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from tests.unit.page_world import FakeKube, make_world


def test_another_cluster_changes_no_other_door(tmp_path: Path) -> None:
    world = make_world(tmp_path, cast(Any, FakeKube()))
    engine, here, there = world.engine, world.kube, cast(Any, FakeKube())
    other = world.with_kube(there)
    assert other.kube is there
    assert world.kube is here
    assert other.engine is engine
    assert other.target is world.target
