"""The parameters and time limits that the settings give to every PipelineRun. Only the manifest is read."""

from __future__ import annotations

from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.objects import manifests
from bootstrap.settings.config import Config
from bootstrap.settings.registry_endpoint import choose_endpoint
from bootstrap.settings.run_limits import longest_rollout, task_limits

MANIFEST = "manifests/test/pipelinerun.yaml"
"""The run that is filled in, from the project's folder."""


def get_repository(config: Config) -> str:
    """The address of the repository that runs clone, as a pod reaches it."""
    return config.git.url or constants.GIT_URL


def get_image(config: Config) -> str:
    """The repository of the registry that the pipeline pushes to, HOST/PATH."""
    return config.pipeline.image or f"{choose_endpoint(config).root}/demo/{constants.DEMO_APP}"


def make_parameters(config: Config, repo: str, revision: str) -> dict[str, str]:
    """The parameters of a run, name -> value."""
    pipeline, target = config.pipeline, config.target
    return {
        "REPO": repo,
        "REVISION": revision,
        "IMAGE": get_image(config),
        "NAMESPACE": target.namespace,
        "NAME": pipeline.deployment,
        "CONTAINER": pipeline.container,
        "DOCKERFILE": pipeline.dockerfile,
        "CONTEXT": pipeline.directory,
        "ROLLOUT_SECONDS": str(pipeline.rollout_seconds or longest_rollout(pipeline.timeout_minutes)),
    }


def fill(run: Object, config: Config, repo: str, revision: str) -> None:
    """Set a PipelineRun's parameters and time limits."""
    minutes = config.pipeline.timeout_minutes
    values = make_parameters(config, repo, revision)
    run["spec"]["params"] = [{"name": key, "value": value} for key, value in values.items()]
    run["spec"]["timeouts"] = {"pipeline": f"{minutes}m"}
    limits = task_limits(minutes)
    for each in run["spec"]["taskRunSpecs"]:
        each["timeout"] = f"{limits[each['pipelineTaskName']]}s"


def load_template(project: Path, config: Config) -> Object:
    """The run of the manifest with the settings in it, but for its name, repository and revision."""
    [run] = manifests.load(project / MANIFEST)
    fill(run, config, "", "")
    return {**run, "metadata": {"namespace": constants.RUNS}}


def list_bare_names(config: Config) -> list[str]:
    """The repositories of `webhook.repositories` that are given as OWNER/NAME, without their host."""
    return [each for each in config.webhook.repositories if "://" not in each]
