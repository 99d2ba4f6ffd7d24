"""The benchmark of applications, as far as it reads what others have done."""

from __future__ import annotations

from bootstrap.core.model import Object
from bootstrap.devtools.bench_applications import count_builds


def run(*tasks: str) -> Object:
    return {"status": {"childReferences": [{"pipelineTaskName": each} for each in tasks]}}


def test_runs_that_were_ended_before_they_built_do_not_count() -> None:
    assert count_builds([run("git-clone", "build-image", "deploy"), run("git-clone"), run(), {}]) == 1
