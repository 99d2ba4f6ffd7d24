"""BuildKit as the settings say: its memory, what it does at one time, and how `status` tells that it was too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bootstrap.core import constants
from bootstrap.core.model import LockedImage, Object, Ready
from bootstrap.settings.config import Config, PipelineSettings
from bootstrap.steps import manifest_catalog
from bootstrap.world import World
from tests.unit.step_world import make


def render(tmp_path: Path, **settings: Any) -> list[Object]:
    world = make(tmp_path, replace(Config(), pipeline=PipelineSettings(**settings)))
    world.images.images["buildkit"] = LockedImage("buildkit", f"{constants.REPOSITORY}/buildkit", "sha256:" + "c" * 64)
    return list(manifest_catalog.make_builder_step(world.open()).objects(world.open()))


def find(objects: list[Object], kind: str) -> Object:
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def test_memory_and_parallelism_are_settings_and_a_change_of_either_is_a_new_pod(tmp_path: Path) -> None:
    default = render(tmp_path)
    limits = find(default, "Deployment")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "4Gi"
    assert "max-parallelism = 4\n" in find(default, "ConfigMap")["data"]["buildkitd.toml"]
    template = find(default, "Deployment")["spec"]["template"]
    for changed in (render(tmp_path, builder_gigabytes=9), render(tmp_path, builder_parallelism=9)):
        assert find(changed, "Deployment")["spec"]["template"] != template
    assert find(render(tmp_path), "Deployment")["spec"]["template"] == template


def test_status_tells_that_buildkit_was_killed_for_its_memory() -> None:
    ended = {"reason": "OOMKilled", "finishedAt": "2026-11-30T10:00:00Z"}
    pod: Object = {"status": {"containerStatuses": [{"lastState": {"terminated": ended}}]}}
    kube = SimpleNamespace(list=lambda *_, **__: [pod])
    world = cast(World, SimpleNamespace(config=Config(), kube=kube))
    assert manifest_catalog._describe_builder(world) == Ready(
        "BuildKit was killed at 2026-11-30T10:00:00Z, for it took more than 4 GiB: pipeline.builder_gigabytes"
    )
    ended["reason"] = "Completed"
    assert manifest_catalog._describe_builder(world) == Ready()
