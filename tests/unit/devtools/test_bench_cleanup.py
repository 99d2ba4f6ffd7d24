"""The benchmark of the cleanup notices a cleanup that does not do its work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object
from bootstrap.devtools import bench_cleanup
from tests.unit.step_world import FakeKube, StepWorld, make


class Kube(FakeKube):
    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        metadata = wanted["metadata"]
        self.put(wanted | {"metadata": {**metadata, "uid": metadata["name"], "resourceVersion": "1"}})
        return wanted

    def patch(self, *words: Any, patch: Object, subresource: str = "") -> Object:
        found: Object = self.objects["PipelineRun", "cicd", words[2]] | patch
        self.put(found)
        return found

    def over(self) -> list[Object]:
        return [each for each in self.objects.values() if "status" in each]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepWorld:
    @contextlib.contextmanager
    def at_rest(_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(bench_cleanup, "stop_controller", at_rest)
    monkeypatch.setattr(bench_cleanup, "OVER", 5)
    monkeypatch.setattr(bench_cleanup, "UNDER_WAY", 2)
    made = make(tmp_path)
    made.kube = Kube()
    return made


def cleaning(kube: Kube, spoil: Callable[[], None] = lambda: None) -> Callable[[], float]:
    def clean() -> float:
        for each in kube.over():
            kube.delete("", "PipelineRun", each["metadata"]["name"], "cicd")
        spoil()
        return 1.5

    return clean


def test_each_time_is_measured_and_nothing_is_left(world: StepWorld) -> None:
    kube = world.kube
    assert isinstance(kube, Kube)
    assert bench_cleanup.measure(world.open(), 2, cleaning(kube)) == [1.5, 1.5]
    assert kube.objects == {}


def test_a_run_that_is_left_or_touched_is_told(world: StepWorld) -> None:
    kube = world.kube
    assert isinstance(kube, Kube)
    with pytest.raises(BootstrapError, match="left 5 of 5 runs, and touched 0"):
        bench_cleanup.measure(world.open(), 1, lambda: 1.0)

    def touch() -> None:
        next(iter(kube.objects.values()))["metadata"]["resourceVersion"] = "2"

    with pytest.raises(BootstrapError, match="left 0 of 5 runs, and touched 1"):
        bench_cleanup.measure(world.open(), 1, cleaning(kube, touch))
    assert kube.objects == {}
