"""`invoke promote` and `invoke rollback`: deploy an image of an application that served before; nothing is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bootstrap.commands import follow_run, runs
from bootstrap.commands.find_application import choose_environment, find_settled
from bootstrap.core.errors import NotFound, PreconditionError, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster import rollout
from bootstrap.incluster.applications import Application, Environment
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.objects.run_status import Run
from bootstrap.objects.served_images import ServedImage, find_commit, list_earlier, list_succeeded
from bootstrap.world import World

PART_OF_COMMIT = re.compile(r"[0-9a-f]{4,64}")
NAMED = 5
"""How many commits a message names."""


def promote(world: World, *, app: str, to: str = "", commit: str = "", minutes: int = 0) -> int:
    """Deploy to an environment what served in another one; answers the exit code, as `test_run` does.

    commit: may be shortened; without one it is what the first other environment serves.
    """
    begun = world.clock.now()
    application = find_settled(world, app)
    wanted = _read_commit(commit, "--commit")
    if not to:
        names = ", ".join(each.name for each in application.environments)
        hint = f"invoke promote {app} --to {application.environments[-1].name}"
        raise UsageError(f"--to: the environment to promote to is missing; {app} has {names}", hint=hint)
    target = choose_environment(application, to, "--to")
    sources = [each.name for each in application.environments if each.name != target.name]
    if not sources:
        hint = f"invoke rollback {app}, or give it another environment in apps/{app}.yaml"
        raise UsageError(f"{app} has one environment only: there is none to promote from", hint=hint)
    known = _list_runs(world, app)
    served = list_succeeded(known, sources)
    found = find_commit(served, wanted) if wanted else [each for each in served if each.environment == sources[0]][:1]
    if len(found) != 1:
        raise _explain_promotion(application, target, sources, wanted, found, known)
    [image] = found
    return _deploy(world, application, target, image, f"promoted from {image.environment}", minutes, begun, known)


def _explain_promotion(
    application: Application,
    target: Environment,
    sources: Sequence[str],
    wanted: str,
    found: Sequence[ServedImage],
    known: Sequence[Run],
) -> UsageError | PreconditionError:
    """Why no image, or not one image, was found, with what can be promoted."""
    app, served = application.name, list_succeeded(known, sources)
    choice = _name_commits(served)
    other = f"invoke promote {app} --to {target.name} --commit {served[0].commit[:7]}" if served else ""
    if found:
        return UsageError(f"--commit: {wanted} is the beginning of {_name_commits(found)}; give more of it")
    if wanted and find_commit(list_succeeded(known, [target.name]), wanted):
        hint = f"invoke rollback {app} --env {target.name} --to {wanted}"
        return PreconditionError(f"{wanted} served in {target.name} itself, and in no other environment", hint=hint)
    if wanted:
        message = f"no run of {wanted} that succeeded in {' or '.join(sources)} is left"
        return NotFound(f"{message}; {f'there are {choice}' if served else 'there is none at all'}", hint=other)
    hint = other or f"invoke test-run --app {app} --env {sources[0]}"
    return PreconditionError(f"no run of {app} that succeeded in {sources[0]} is left", hint=hint)


def rollback(world: World, *, app: str, to: str = "", env: str = "", minutes: int = 0) -> int:
    """Deploy to an environment what served there earlier; answers the exit code, as `test_run` does.

    to: a commit, may be shortened; without one it is what served before what is there now.
    """
    begun = world.clock.now()
    application = find_settled(world, app)
    wanted = _read_commit(to, "--to")
    place = choose_environment(application, env, "--env")
    deployment = _read_deployment(world, place)
    if deployment is None:
        message = f"there is no Deployment {place.namespace}/{place.deployment}: nothing was deployed to {place.name}"
        raise PreconditionError(message, hint=f"invoke test-run --app {app} --env {place.name}")
    known = _list_runs(world, app)
    earlier = list_earlier(deployment, place.container, known, place.name)
    found = find_commit(earlier, wanted) if wanted else earlier[:1]
    if not found and wanted:
        present = rollout.image_of(deployment, place.container)
        found = [each for each in find_commit(list_succeeded(known, [place.name]), wanted) if each.image == present]
    if len(found) != 1:
        raise _explain_rollback(application, place, wanted, found, earlier, known)
    return _deploy(world, application, place, found[0], "rollback", minutes, begun, known)


def _explain_rollback(
    application: Application,
    place: Environment,
    wanted: str,
    found: Sequence[ServedImage],
    earlier: Sequence[ServedImage],
    known: Sequence[Run],
) -> UsageError | PreconditionError:
    """Why no image, or not one image, was found, with what can be gone back to."""
    app = application.name
    other = f"invoke rollback {app} --env {place.name} --to {earlier[0].commit[:7]}" if earlier else ""
    if found:
        return UsageError(f"--to: {wanted} is the beginning of {_name_commits(found)}; give more of it")
    sources = [each.name for each in application.environments if each.name != place.name]
    elsewhere = find_commit(list_succeeded(known, sources), wanted) if wanted else []
    if elsewhere:
        message = f"{wanted} served in {elsewhere[0].environment}, but never in {place.name}"
        return PreconditionError(message, hint=f"invoke promote {app} --to {place.name} --commit {wanted}")
    if wanted:
        left = f"there are {_name_commits(earlier)}" if earlier else "there is none at all"
        message = f"nothing is known of {wanted} in {place.name} to go back to; {left}"
        return NotFound(message, hint=other or f"invoke runs --app {app}")
    return PreconditionError(f"nothing is known that {place.name} served before", hint=f"invoke runs --app {app}")


def _read_commit(text: str, flag: str) -> str:
    """A commit, or its beginning, as it was typed. Raises UsageError."""
    if text and not PART_OF_COMMIT.fullmatch(text.lower()):
        raise UsageError(f"{flag}: {text} is not a commit, which has 4 to 64 digits and letters from a to f")
    return text.lower()


def _name_commits(served: Iterable[ServedImage]) -> str:
    """ "staging 1f0e2aa, staging 84a81d2": the newest first, and not too many."""
    names = list(dict.fromkeys(f"{each.environment} {each.commit[:7]}" for each in served))
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _list_runs(world: World, app: str) -> list[Run]:
    return runs.list_runs(world, labels=f"{APPLICATION}={app}")


def _read_deployment(world: World, place: Environment) -> Object | None:
    return world.kube.get("apps/v1", "Deployment", place.deployment, place.namespace)


def _deploy(
    world: World,
    application: Application,
    place: Environment,
    served: ServedImage,
    how: str,
    minutes: int,
    begun: float,
    known: Sequence[Run],
) -> int:
    """Create the run, follow it to its end, and prove it. known: the runs of the application."""
    deployment = _read_deployment(world, place)
    serves = deployment is not None and rollout.image_of(deployment, place.container) == served.image
    # One that is not over would replace it: then what is asked for is an arrival that comes after that run's.
    if serves and all(each.state.is_over for each in known if each.environment == place.name):
        world.report.line(f"{place.name} serves {served.commit[:7]} already")
        return 0
    if place.branches:
        branches = ", ".join(place.branches)
        world.report.line(f"{place.name} gets pushes to {branches} by itself: the next one replaces this")
    run = follow_run.compose_image_run(
        world,
        application,
        place.name,
        image=served.image,
        commit=served.commit,
        branch=served.branch,
        source=served.environment,
    )
    name = str(world.kube.create(run)["metadata"]["name"])
    about = f"{application.name} to {place.namespace} · {how}"
    return runs.follow_to_end(world, name, served.commit, about, minutes, begun)
