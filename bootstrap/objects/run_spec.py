"""What every PipelineRun is given from the settings, whoever starts it: by hand, or a push. Pure."""

from __future__ import annotations

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.settings.config import Config
from bootstrap.settings.registry_endpoint import place
from bootstrap.settings.run_limits import longest_rollout, task_limits

MANIFEST = "manifests/test/pipelinerun.yaml"
"""The run that is filled in, from the project's folder."""


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
        "ROLLOUT_SECONDS": str(pipeline.rollout_seconds or longest_rollout(pipeline.timeout_minutes)),
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
