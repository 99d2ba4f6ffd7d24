"""CronJobs that run the same program as another one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bootstrap.core.model import Object
from bootstrap.objects.patches import Patch, Select, apply_patches, put

TEMPLATE = ("spec", "jobTemplate", "spec", "template")
"""Where a CronJob describes its pods."""
NAME_LABEL = "app.kubernetes.io/name"


def copy_cron_job(cron: Object, name: str, environ: Mapping[str, str], *edits: Callable[[Object], None]) -> Object:
    """A copy called `name`, in its labels and its variable CRON_JOB too.

    cron: its container is called as it is itself. environ: further variables that have other values. edits: what else
    differs. Raises BootstrapError as `patches.apply_patches`.
    """
    container = (*TEMPLATE, "spec", "containers", cron["metadata"]["name"])
    values = {"CRON_JOB": name, **environ}
    named = [
        put("metadata", "name", value=name),
        put(*TEMPLATE[:-2], "metadata", "labels", NAME_LABEL, value=name),
        put(*TEMPLATE, "metadata", "labels", NAME_LABEL, value=name),
        *(put(*container, "env", key, "value", value=value) for key, value in values.items()),
    ]
    [made] = apply_patches([cron], [Patch(Select("CronJob"), each) for each in (*named, *edits)])
    return made
