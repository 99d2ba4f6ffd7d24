"""The cleanup: CronJobs that delete old runs, what runs left on the volume that their tasks share, and images of builds
that nothing needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootstrap.core import constants
from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.objects.cron_jobs import TEMPLATE, copy_cron_job
from bootstrap.objects.patches import Patch, Select, apply_patches, put
from bootstrap.objects.run_spec import get_image
from bootstrap.settings.config import Config
from bootstrap.steps.last_job import describe_last_failure
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.world import World

NAME, WORKSPACE_CLEANUP, IMAGE_CLEANUP = "cleanup", "workspace-cleanup", "image-cleanup"
MANIFEST, IMAGE_MANIFEST = "manifests/cleanup/cleanup.yaml", "manifests/cleanup/image-cleanup.yaml"
ARCHIVE = "/archive"
WORKSPACE = "/workspace"
CONTAINER = (*TEMPLATE, "spec", "containers", NAME)
IMAGE_CONTAINER = (*TEMPLATE, "spec", "containers", IMAGE_CLEANUP)


def make_cleanup_step() -> ManifestStep:
    """The step `cleanup`."""
    return ManifestStep(
        NAME,
        lambda world: render_objects(world.images.read_lock(), world.project, world.config),
        needs=("tekton",),
        limit=60,
        prove=_describe_cleanup,
    )


def render_objects(lock: Lock, project: Path, config: Config) -> list[Object]:
    """The objects of manifests/cleanup with the settings in them, images by the digests of `lock`.

    Without `cleanup.archive` there is no volume, and without a registry of its own no cleanup of images. Raises what
    `manifest_step.render` raises.
    """
    cron, settings = Select("CronJob"), config.cleanup
    patches = [
        Patch(cron, put("spec", "suspend", value=settings.hours == 0)),
        Patch(cron, put("spec", "schedule", value=f"23 */{settings.hours or 1} * * *")),
        *(
            Patch(cron, put(*CONTAINER, "env", key, "value", value=value))
            for key, value in make_variables(config).items()
        ),
    ]
    wanted = render(lock, project / MANIFEST, patches=patches)
    [cleanup] = [each for each in wanted if each["kind"] == "CronJob"]
    edits = _list_workspace_edits()
    workspace_cleanup = copy_cron_job(cleanup, WORKSPACE_CLEANUP, {"WORKSPACE": WORKSPACE}, *edits)
    if settings.archive != "on":
        wanted = apply_patches(wanted, [Patch(cron, _unmount)])
        wanted = [each for each in wanted if each["kind"] != "PersistentVolumeClaim"]
    return [*wanted, workspace_cleanup, *([] if config.elsewhere else _render_image_cleanup(lock, project, config))]


def _render_image_cleanup(lock: Lock, project: Path, config: Config) -> list[Object]:
    cron = Select("CronJob", IMAGE_CLEANUP)
    patches = [
        Patch(cron, put("spec", "suspend", value=config.cleanup.hours == 0)),
        *(
            Patch(cron, put(*IMAGE_CONTAINER, "env", key, "value", value=value))
            for key, value in make_image_variables(config).items()
        ),
    ]
    return render(lock, project / IMAGE_MANIFEST, patches=patches)


def _list_workspace_edits() -> list[Callable[[Object], None]]:
    """What the CronJob of the runs' folders has otherwise than that of the runs.

    It is one of its own for the sake of clusters elsewhere, whose volume may be held by another node while runs use it:
    then the folders wait, and not the runs.
    """
    return [
        put("spec", "schedule", value="43 */6 * * *"),
        put(*CONTAINER, "volumeMounts", value=[{"name": "workspace", "mountPath": WORKSPACE}]),
        put(
            *TEMPLATE,
            "spec",
            "volumes",
            value=[{"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}}],
        ),
    ]


def make_variables(config: Config) -> dict[str, str]:
    """The environment variables of the cleanup program, name -> value; `bootstrap.incluster.cleanup` reads them."""
    settings = config.cleanup
    return {
        "KEEP": str(settings.keep),
        "DAYS": str(settings.days),
        "EXCLUDE": settings.exclude,
        "ARCHIVE": ARCHIVE if settings.archive == "on" else "",
        "DRY_RUN": settings.dry_run,
    }


def make_image_variables(config: Config) -> dict[str, str]:
    """The environment variables of the cleanup of images, name -> value; see `bootstrap.incluster.image_cleanup`.

    What another cluster runs cannot be seen from this one, so nothing is deleted of an image that is deployed there.
    """
    host, _, repository = get_image(config).partition("/")
    hidden = bool(config.target.kubeconfig) and host == constants.REGISTRY
    return {"KEEP_REPOSITORIES": repository if hidden else "", "DRY_RUN": config.cleanup.dry_run}


def _unmount(cron: Object) -> None:
    pod: dict[str, Any] = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    del container["volumeMounts"], pod["volumes"]


def _describe_cleanup(world: World) -> Verdict:
    """Ready in any case, because an environment with too many runs works; the text names a cleanup that failed."""
    settings = world.config.cleanup
    does = "only looks" if settings.dry_run == "on" else "deletes old runs"
    when = f"every {settings.hours} h" if settings.hours else "by invoke cleanup only"
    names = (NAME, WORKSPACE_CLEANUP, *([] if world.config.elsewhere else [IMAGE_CLEANUP]))
    failed = next(filter(None, (describe_last_failure(world, each) for each in names)), "")
    return Ready(f"{does} {when}" + (f"; {failed}" if failed else ""))
