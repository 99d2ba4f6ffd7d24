"""The benchmark's arithmetic, its names, and what its script is given."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import CommandError, UsageError
from bootstrap.core.paths import PROJECT
from bootstrap.devtools import bench, bench_baseline, bench_supplies
from bootstrap.objects import manifests
from bootstrap.supply.source import Source
from bootstrap.world import World
from tests.unit import page_world
from tests.unit.fake_shell import FakeShell
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.page_world import FakeKube, make_world


def world_of(folder: Path) -> tuple[World, FakeShell, FakeReport]:
    clock, report = FakeClock(), FakeReport()
    shell = FakeShell({f"{sys.executable} -m invoke --list": ""}, on_run=lambda _: clock.sleep(0.25))
    return replace(make_world(folder, FakeKube(), report=report, clock=clock), shell=shell), shell, report


def test_list_is_measured_as_a_whole_process(tmp_path: Path) -> None:
    world, shell, report = world_of(tmp_path)
    assert bench.bench(world, only="list", times=3, as_json=True) == 0
    assert len(shell.ran) == 5
    assert report.printed[-1] == ("json", {"list": {"seconds": [0.25] * 5, "median_s": 0.25}})


def test_some_can_be_named_with_commas(tmp_path: Path) -> None:
    world, shell, _ = world_of(tmp_path)
    assert bench.bench(world, only="list, list", times=1) == 0
    assert len(shell.ran) == 3
    with pytest.raises(UsageError, match="no benchmark again2"):
        bench.bench(world, only="list,again2")


def test_another_name_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as wrong:
        bench.bench(world_of(tmp_path)[0], only="agian")
    assert "did you mean again" in wrong.value.message
    assert "test-run" in wrong.value.hint


COMMIT, OLD = "3f9c2e1" + "0" * 33, "1111111" + "0" * 33


def test_push_is_measured_until_the_commit_serves(tmp_path: Path) -> None:
    """A push that takes a second, and a version that serves two seconds later."""
    clock = FakeClock()
    answers = {"git commit": "", "git rev-parse HEAD": COMMIT, "git push": ""}
    shell = FakeShell(answers, on_run=lambda _: clock.sleep(1))
    done = {"type": "Succeeded", "status": "True"}
    metadata = {"name": "go-echo-1", "namespace": "cicd"}

    class Serving(page_world.FakeKube):
        def get_from_service(self, namespace: str, service: str, port: int, path: str) -> str:
            return f'{{"commit": "{COMMIT if clock.now() >= pushed + 3 else OLD}"}}'

    kube = Serving({"PipelineRun": [{"metadata": metadata, "spec": {}, "status": {"conditions": [done]}}]})
    world = replace(make_world(tmp_path, kube, report=FakeReport(), clock=clock), shell=shell)
    world.__dict__["kube"] = world.__dict__["target"] = kube
    pushed = clock.now() + 2  # after `commit` and `rev-parse`
    measured = bench.Bench(world, tmp_path, {"push"}, 1)._measure_push(bench.Clone(world, tmp_path), world)
    assert measured == pytest.approx(3, abs=0.11)
    assert shell.ran[-1] == "git push --quiet"


def test_up_is_told_as_a_ratio_of_medians() -> None:
    values = {"ours_s": [30.0, 33.0, 90.0], "serial_s": [60.0, 66.0, 61.0], "tekton_ready_s": [28.04, 29.0, 31.0]}
    assert bench.summarize("up", values) == {
        "ratio": 0.541,
        "ours_s": [30.0, 33.0, 90.0],
        "serial_s": [60.0, 66.0, 61.0],
        "tekton_ready_s": 29.0,
    }


def test_the_table_has_a_row_per_series() -> None:
    found = {"up": {"ratio": 0.5, "ours_s": [1.0, 3.0, 2.0]}, "down": {"seconds": [4.0], "median_s": 4.0}}
    assert bench.make_table(found) == [
        ["up ratio", "", "0.50"],
        ["up ours", "1.00 3.00 2.00", "2.00"],
        ["down seconds", "4.00", "4.00"],
        ["down median", "", "4.00"],
    ]


class Supply:
    """A supply that has everything, at made-up places."""

    def read_lock(self) -> Any:
        return type("Lock", (), {"node_image": "node", "registry_image": "registry"})

    def find_tool(self, name: str) -> Path:
        return Path("/tools") / name

    def get_program(self, part: str, program: str) -> Path:
        return Path("/store") / part / program

    def list_seeds(self) -> dict[str, Path]:
        return {"library/golang:1": Path("/a"), "library/golang:1.26": Path("/b")}


class Engine:
    def make_environ(self) -> dict[str, str]:
        return {"DOCKER_HOST": "unix:///somewhere"}


def test_the_script_is_given_every_variable_that_it_uses(tmp_path: Path) -> None:
    world, _, _ = world_of(tmp_path)
    world = replace(world, make_images=lambda _: cast(Any, Supply()), make_engine=lambda: cast(Any, Engine()))
    given = bench_baseline.make_environ(world, cast(Source, Supply()), tmp_path)
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", (PROJECT / bench.SCRIPT).read_text()))
    assert used - {"SECONDS", "TOKEN"} <= set(given)
    assert given["SEEDS"].splitlines() == ["library/golang:1 /a", "library/golang:1.26 /b"]
    password = world.identity.ensure_password("registry", world.config.registry.password).reveal()
    assert password not in " ".join(given.values())


@pytest.mark.parametrize(
    ("obj", "part"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {manifests.PART_OF: "x"}}}, "x"),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}}, ""),
        (
            {"apiVersion": "triggers.tekton.dev/v1alpha1", "kind": "Interceptor", "metadata": {}},
            manifests.TRIGGERS,
        ),
        (
            {"kind": manifests.CRD, "metadata": {}, "spec": {"group": "triggers.tekton.dev"}},
            manifests.TRIGGERS,
        ),
        ({"kind": manifests.CRD, "metadata": {}, "spec": {"group": "tekton.dev"}}, ""),
    ],
)
def test_the_release_is_told_apart_into_its_two_parts(obj: dict[str, Any], part: str) -> None:
    assert manifests.get_part(obj) == part


def test_what_is_compared_is_told_as_a_ratio_where_there_is_another() -> None:
    assert bench.summarize("mirror", {"ours_s": [8.0, 9.0, 30.0], "other_s": [18.0]})["ratio"] == 0.5
    assert bench.summarize("bundle", {"ours_s": [8.0], "other_s": []}) == {"ours_s": [8.0], "other_s": []}


def test_a_second_mirror_that_writes_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, _, _ = world_of(tmp_path)
    heard: list[str] = []

    @contextlib.contextmanager
    def registry(world: World, folder: Path) -> Iterator[tuple[str, list[str]]]:
        yield "127.0.0.1:1", heard

    def invoke(*words: str, env: Mapping[str, str] | None = None) -> float:
        heard.append("2026/11/25 23:33:00 PUT /v2/x/manifests/1")
        return 1.0

    monkeypatch.setattr(bench_supplies, "run_registry", registry)
    monkeypatch.setattr(bench_supplies, "_explain_missing_skopeo", lambda _: "it is not installed")
    with pytest.raises(CommandError, match="wrote to the registry") as caught:
        bench_supplies.measure_mirror(world, tmp_path, 1, invoke)
    assert "PUT /v2/x" in caught.value.evidence
    heard.clear()
    quiet = bench_supplies.measure_mirror(world, tmp_path, 2, lambda *_, env=None: 1.5)
    assert quiet == {"mirror": {"ours_s": [1.5, 1.5], "other_s": []}, "mirror-again": {"seconds": [1.5, 1.5]}}
