"""What the console reads beside its watches."""

from __future__ import annotations

from pathlib import Path

from bootstrap.console.queries import Queries
from bootstrap.core import constants
from bootstrap.core.paths import PROJECT
from bootstrap.objects import run_spec
from bootstrap.objects.manifests import load
from bootstrap.settings.config import Config, GitSettings, PipelineSettings
from tests.unit.step_world import make


def test_the_form_of_a_run_shows_what_the_settings_would_give_it(tmp_path: Path) -> None:
    config = Config(git=GitSettings(revision="release/1"), pipeline=PipelineSettings(directory="app"))
    world = make(tmp_path, config)
    [pipeline] = load(PROJECT / "manifests/pipeline/pipeline.yaml")
    world.kube.put(pipeline | {"metadata": {"name": constants.PIPELINE, "namespace": constants.RUNS}})
    found = {each["name"]: each["value"] for each in Queries(world.open(), list).list_parameters()}
    expected = run_spec.make_parameters(config, constants.GIT_URL, "release/1")
    assert found == {name: expected.get(name, value) for name, value in found.items()}
    assert {"REPO": constants.GIT_URL, "REVISION": "release/1", "CONTEXT": "app"}.items() <= found.items()
    assert set(expected) <= set(found)
