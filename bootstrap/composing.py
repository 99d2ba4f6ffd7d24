"""What every PipelineRun is given from the settings, whoever starts it: by hand, or a push. Pure."""

from __future__ import annotations

from bootstrap import names
from bootstrap.config import Config
from bootstrap.model import Object

MANIFEST = "manifests/test/pipelinerun.yaml"
"""The run that is filled in, from the project's folder."""


def repository(config: Config) -> str:
    """The repository as a pod clones it."""
    return config.git.url or names.GIT_URL


def image(config: Config) -> str:
    """The repository that the pipeline pushes to."""
    return config.pipeline.image or f"{names.REGISTRY}/demo/go-echo"


def fill(run: Object, config: Config, repo: str, revision: str) -> None:
    """Set the run's parameters and its limit."""
    pipeline, target = config.pipeline, config.target
    values = {
        "REPO": repo,
        "REVISION": revision,
        "IMAGE": image(config),
        "NAMESPACE": target.namespace,
        "NAME": pipeline.deployment,
        "CONTAINER": pipeline.container,
        "DOCKERFILE": pipeline.dockerfile,
        "CONTEXT": pipeline.directory,
    }
    run["spec"]["params"] = [{"name": key, "value": value} for key, value in values.items()]
    run["spec"].setdefault("timeouts", {})["pipeline"] = f"{pipeline.timeout_minutes}m"
