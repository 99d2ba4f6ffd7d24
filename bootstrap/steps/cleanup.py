"""The cleanup: a CronJob that deletes old runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootstrap.config import Config
from bootstrap.model import Lock, Object, Ready, Verdict
from bootstrap.patches import Patch, Select, apply_patches, put
from bootstrap.steps.manifest import ManifestStep, render
from bootstrap.world import World

NAME = "cleanup"
FOLDER = "manifests/cleanup"
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
    values = {"KEEP": settings.keep, "DAYS": settings.days, "EXCLUDE": settings.exclude, "DRY_RUN": settings.dry_run}
    patches = [
        Patch(cron, put("spec", "suspend", value=settings.hours == 0)),
        Patch(cron, put("spec", "schedule", value=f"23 */{settings.hours or 1} * * *")),
        *(Patch(cron, put(*CONTAINER, "env", key, "value", value=str(value))) for key, value in values.items()),
    ]
    wanted = render(lock, project / FOLDER, patches=patches)
    if settings.archive == "on":
        return wanted
    return [each for each in apply_patches(wanted, [Patch(cron, _unmount)]) if each["kind"] != "PersistentVolumeClaim"]


def _unmount(cron: Object) -> None:
    pod: dict[str, Any] = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    container["env"] = [each for each in container["env"] if each["name"] != "ARCHIVE"]
    del container["volumeMounts"], pod["volumes"]


def _told(world: World) -> Verdict:
    settings = world.config.cleanup
    if not settings.hours:
        return Ready("only by hand (invoke cleanup)")
    dry = "looks" if settings.dry_run == "on" else "cleans"
    return Ready(f"{dry} every {settings.hours} h: keeps {settings.keep} of each kind, and all of {settings.days} days")
