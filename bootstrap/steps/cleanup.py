"""The cleanup: a CronJob that deletes old runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.core.model import Lock, Object, Ready, Verdict
from bootstrap.objects.patches import Patch, Select, apply_patches, put
from bootstrap.settings.config import Config
from bootstrap.steps.last_job import last_failure
from bootstrap.steps.manifest_step import ManifestStep, render
from bootstrap.world import World

NAME = "cleanup"
FOLDER = "manifests/cleanup"
ARCHIVE = "/archive"
CONTAINER = ("spec", "jobTemplate", "spec", "template", "spec", "containers", NAME)


def cleanup() -> ManifestStep:
    return ManifestStep(
        NAME,
        lambda world: objects(world.images.lock(), world.project, world.config),
        needs=("tekton",),
        limit=60,
        prove=_told,
    )


def objects(lock: Lock, project: Path, config: Config) -> list[Object]:
    """manifests/cleanup with the settings put in; without `cleanup.archive` no volume is made."""
    cron, settings = Select("CronJob"), config.cleanup
    patches = [
        Patch(cron, put("spec", "suspend", value=settings.hours == 0)),
        Patch(cron, put("spec", "schedule", value=f"23 */{settings.hours or 1} * * *")),
        *(Patch(cron, put(*CONTAINER, "env", key, "value", value=value)) for key, value in variables(config).items()),
    ]
    wanted = render(lock, project / FOLDER, patches=patches)
    if settings.archive == "on":
        return wanted
    return [each for each in apply_patches(wanted, [Patch(cron, _unmount)]) if each["kind"] != "PersistentVolumeClaim"]


def variables(config: Config) -> dict[str, str]:
    """What the program is told; see bootstrap.incluster.cleanup."""
    settings = config.cleanup
    return {
        "KEEP": str(settings.keep),
        "DAYS": str(settings.days),
        "EXCLUDE": settings.exclude,
        "ARCHIVE": ARCHIVE if settings.archive == "on" else "",
        "DRY_RUN": settings.dry_run,
    }


def _unmount(cron: Object) -> None:
    pod: dict[str, Any] = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    del container["volumeMounts"], pod["volumes"]


def _told(world: World) -> Verdict:
    """Ready in any case: an environment with too many runs works. But a cleanup that failed is said."""
    settings = world.config.cleanup
    does = "only looks" if settings.dry_run == "on" else "deletes old runs"
    when = f"every {settings.hours} h" if settings.hours else "by invoke cleanup only"
    failed = last_failure(world, NAME)
    return Ready(f"{does} {when}" + (f"; {failed}" if failed else ""))
