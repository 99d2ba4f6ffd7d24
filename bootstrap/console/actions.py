"""What the console's buttons do, through the same functions as the commands.

Every function raises BootstrapError: ApiError when the API server refuses or does not answer, NotFound for what is
gone. They block until the API server has answered, so that a page calls them in a thread.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping

from bootstrap.commands import follow_run, runs
from bootstrap.core.errors import NotFound, UsageError
from bootstrap.incluster import rollout
from bootstrap.objects import run_spec
from bootstrap.objects.readiness import at
from bootstrap.settings.validators import InvalidSetting, revision, url
from bootstrap.world import World

BRANCHES = 8
"""How many branches a message names."""


def start_run(world: World, params: Mapping[str, str]) -> str:
    """Start a run of the pipeline with these parameters (name -> value), and return its name.

    The commit is looked up if REPO is the repository of the settings, or absent; what another one has is found out by
    the run. Raises UsageError for a REPO that is no address or has credentials in it, which anybody who may read runs
    would see; for a REVISION that is no branch, tag or commit, or that the repository does not have.
    """
    given = {name: value.strip() for name, value in params.items()}
    own = run_spec.get_repository(world.config)
    try:
        repository = str(url("http", "https")(given.get("REPO") or own))
    except InvalidSetting as error:
        raise UsageError(f"REPO {error}") from None
    try:
        wanted = str(revision(given.get("REVISION", "")))
    except InvalidSetting as error:
        raise UsageError(f"REVISION {error}") from None
    commit = _resolve_commit(world, wanted) if repository == own else ""
    return runs.create_run(world, wanted, commit, given)


def _resolve_commit(world: World, wanted: str) -> str:
    """The commit that the revision names in our repository; "" if that does not answer.

    Raises UsageError if it answers, and has no such branch, tag or commit.
    """
    found = follow_run.resolve_commit(world, wanted)
    known = [] if found else follow_run.list_branches(world)
    if known and wanted not in known:
        shown = ", ".join(known[:BRANCHES]) + (" …" if len(known) > BRANCHES else "")
        raise UsageError(f"REVISION {wanted!r} is not there; the branches are {shown}")
    return found


def rerun(world: World, run: str) -> str:
    """Start another run of the repository and commit of `run`, and return the new run's name."""
    return runs.create_again(world, follow_run.read_run(world, run))


def cancel_run(world: World, run: str) -> None:
    """Have Tekton cancel the run; its `finally` tasks still run. Raises NotFound if there is no such run."""
    runs.request_cancel(world, follow_run.read_run(world, run).name)


def roll_back(world: World, image: str) -> None:
    """Set the Deployment's image back to one that it had before, and annotate it as the last good one.

    image: with its digest, as a ReplicaSet of the Deployment has it. Raises NotFound if no ReplicaSet does, or if the
    Deployment is gone; ApiError with status 422 if somebody changes the containers at the same moment.
    """
    target, settings = world.config.target, world.config.pipeline
    deployment = world.target.get("apps/v1", "Deployment", settings.deployment, target.namespace)
    if deployment is None or rollout.find_container(deployment, settings.container) is None:
        raise NotFound(f"there is no Deployment {target.namespace}/{settings.deployment} with {settings.container}")
    sets = world.target.list("apps/v1", "ReplicaSet", target.namespace)
    if image not in _collect_images(sets, str(at(deployment, "metadata", "uid")), settings.container):
        raise NotFound(f"{settings.deployment} never ran {image}")
    record = rollout.make_record(deployment, settings.container, image, rollout.ROLLBACK, getpass.getuser())
    patch = [
        *rollout.set_image(deployment, settings.container, image),
        *rollout.annotate(deployment, record | rollout.make_note(settings.container, image)),
    ]
    world.target.patch("apps/v1", "Deployment", settings.deployment, target.namespace, patch=patch)


def _collect_images(sets: list[dict[str, object]], owner: str, container: str) -> set[str]:
    """Images that the container has in the ReplicaSets of the owner with this uid."""
    own = [each for each in sets if any(o.get("uid") == owner for o in at(each, "metadata", "ownerReferences") or ())]
    containers = (c for each in own for c in at(each, "spec", "template", "spec", "containers") or ())
    return {str(each.get("image")) for each in containers if each.get("name") == container}
