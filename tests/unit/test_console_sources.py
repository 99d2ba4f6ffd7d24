"""What the console reads beside its watches."""

from __future__ import annotations

from pathlib import Path

from bootstrap import composing, names
from bootstrap.config import Config, GitSettings, PipelineSettings
from bootstrap.console.sources import Sources
from bootstrap.manifests import load
from bootstrap.paths import PROJECT
from tests.unit.step_world import make


def test_the_form_of_a_run_shows_what_the_settings_would_give_it(tmp_path: Path) -> None:
    config = Config(git=GitSettings(revision="release/1"), pipeline=PipelineSettings(directory="app"))
    world = make(tmp_path, config)
    pipeline = next(each for each in load(PROJECT / "manifests/pipeline") if each["kind"] == "Pipeline")
    world.kube.put(pipeline | {"metadata": {"name": names.PIPELINE, "namespace": names.RUNS}})
    found = {each["name"]: each["value"] for each in Sources(world.open(), list).parameters()}
    expected = composing.parameters(config, names.GIT_URL, "release/1")
    assert found == {name: expected.get(name, value) for name, value in found.items()}
    assert {"REPO": names.GIT_URL, "REVISION": "release/1", "CONTEXT": "app"}.items() <= found.items()
    assert set(expected) <= set(found)
