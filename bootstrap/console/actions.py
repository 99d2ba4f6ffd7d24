"""What the console's buttons do, through the same doors as the commands. Each raises BootstrapError."""

from __future__ import annotations

from collections.abc import Mapping

from bootstrap.commands import follow_run, runs
from bootstrap.core.errors import NotFound, UsageError
from bootstrap.incluster.rollout import LAST_GOOD
from bootstrap.objects.readiness import at
from bootstrap.settings.validators import Wrong, revision
from bootstrap.world import World


def start(world: World, params: Mapping[str, str]) -> str:
    """Start a run with these parameters; its name."""
    try:
        wanted = str(revision(params.get("REVISION", "").strip() or world.config.git.revision))
    except Wrong as error:
        raise UsageError(f"REVISION {error}") from None
    return runs.create(world, wanted, follow_run.commit_of(world, wanted), params)


def rerun(world: World, run: str) -> str:
    """The same repository and commit again; the new run's name."""
    return runs.again(world, follow_run.read(world, run))


def cancel(world: World, run: str) -> None:
    runs.ask_to_end(world, follow_run.read(world, run).name)


def roll_back(world: World, image: str) -> None:
    """Have the Deployment run an image that it ran before, and the pipeline take it for the last good one.

    Raises NotFound for an image that no ReplicaSet of it has; ApiError with status 422 if somebody changes the
    containers at the same moment.
    """
    target, settings = world.config.target, world.config.pipeline
    found = world.target.get("apps/v1", "Deployment", settings.deployment, target.namespace)
    containers = at(found, "spec", "template", "spec", "containers") or []
    places = [index for index, each in enumerate(containers) if each.get("name") == settings.container]
    if found is None or not places:
        raise NotFound(f"there is no Deployment {target.namespace}/{settings.deployment} with {settings.container}")
    sets = world.target.list("apps/v1", "ReplicaSet", target.namespace)
    if image not in _images(sets, str(at(found, "metadata", "uid")), settings.container):
        raise NotFound(f"{settings.deployment} never ran {image}")
    place = f"/spec/template/spec/containers/{places[0]}"
    noted = at(found, "metadata", "annotations") or {}
    key = LAST_GOOD.replace("~", "~0").replace("/", "~1")
    good = f"{settings.container}={image}"
    note = [{"op": "add", "path": f"/metadata/annotations/{key}", "value": good}]
    patch = [
        {"op": "test", "path": f"{place}/name", "value": settings.container},
        {"op": "replace", "path": f"{place}/image", "value": image},
        *(note if noted else [{"op": "add", "path": "/metadata/annotations", "value": {LAST_GOOD: good}}]),
    ]
    world.target.patch("apps/v1", "Deployment", settings.deployment, target.namespace, patch=patch)


def _images(sets: list[dict[str, object]], owner: str, container: str) -> set[str]:
    own = [each for each in sets if any(o.get("uid") == owner for o in at(each, "metadata", "ownerReferences") or ())]
    found = (c for each in own for c in at(each, "spec", "template", "spec", "containers") or ())
    return {str(each.get("image")) for each in found if each.get("name") == container}
