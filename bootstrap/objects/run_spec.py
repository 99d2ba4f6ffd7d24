"""What every PipelineRun is given from the settings, whoever starts it: by hand, or a push. Pure."""

from __future__ import annotations

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.settings.config import Config
from bootstrap.settings.registry_endpoint import place

MANIFEST = "manifests/test/pipelinerun.yaml"
"""The run that is filled in, from the project's folder."""


SHARES = {"git-clone": 3, "build-image": 10, "deploy": 5}
"""Of the time that a run has, its last task aside; by default minutes."""
LAST_TASK = 120
"""Seconds; bootstrap.incluster.notify gives up before."""


def repository(config: Config) -> str:
    """The repository as a pod clones it."""
    return config.git.url or constants.GIT_URL


def image(config: Config) -> str:
    """The repository that the pipeline pushes to."""
    return config.pipeline.image or f"{place(config).root}/demo/go-echo"


def parameters(config: Config, repo: str, revision: str) -> dict[str, str]:
    """What a run of the pipeline is given, by name."""
    pipeline, target = config.pipeline, config.target
    return {
        "REPO": repo,
        "REVISION": revision,
        "IMAGE": image(config),
        "NAMESPACE": target.namespace,
        "NAME": pipeline.deployment,
        "CONTAINER": pipeline.container,
        "DOCKERFILE": pipeline.dockerfile,
        "CONTEXT": pipeline.directory,
    }


def fill(run: Object, config: Config, repo: str, revision: str) -> None:
    """Set the run's parameters and its limits."""
    minutes = config.pipeline.timeout_minutes
    values = parameters(config, repo, revision)
    run["spec"]["params"] = [{"name": key, "value": value} for key, value in values.items()]
    run["spec"]["timeouts"] = {"pipeline": f"{minutes}m"}
    limits = task_limits(minutes)
    for each in run["spec"]["taskRunSpecs"]:
        each["timeout"] = f"{limits[each['pipelineTaskName']]}s"


def task_limits(minutes: int) -> dict[str, int]:
    """Seconds that each task of a run has, which is to be over after so many minutes.

    Together they leave the last task its time, so that a run which takes too long is told as well.
    """
    rest = minutes * 60 - LAST_TASK
    return {task: rest * share // sum(SHARES.values()) for task, share in SHARES.items()} | {"notify": LAST_TASK}
