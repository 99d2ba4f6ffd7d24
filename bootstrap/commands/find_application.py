"""The applications of an environment, looked up by name."""

from __future__ import annotations

from collections.abc import Sequence

from bootstrap.core import constants
from bootstrap.core.errors import NotFound, PreconditionError, UsageError
from bootstrap.core.model import Object
from bootstrap.core.text import suggest_word
from bootstrap.incluster.applications import (
    API_VERSION,
    KIND,
    Application,
    ApplicationFault,
    Environment,
    read_application,
)
from bootstrap.objects.readiness import condition
from bootstrap.settings.registry_endpoint import choose_endpoint
from bootstrap.world import World


def list_applications(world: World) -> list[Object]:
    """Every Application of the environment as it is in the cluster, by name."""
    found = world.kube.list(API_VERSION, KIND, constants.RUNS)
    return sorted(found, key=lambda each: str(each["metadata"]["name"]))


def find_settled(world: World, name: str) -> Application:
    """As `find_application`. Raises PreconditionError for one that the manager has refused."""
    objects = list_applications(world)
    application = find_application(world, name, objects)
    found = next(each for each in objects if each["metadata"]["name"] == name)
    ready = condition(found, "Ready")
    if ready.get("reason") == "Refused":
        raise PreconditionError(f"application {name} is refused: {ready['message']}", hint=f"invoke app-show {name}")
    return application


def find_application(world: World, name: str, objects: Sequence[Object] | None = None) -> Application:
    """The application of that name. objects: all, if they were read already. Raises NotFound, UsageError."""
    objects = list_applications(world) if objects is None else objects
    found = next((each for each in objects if each["metadata"]["name"] == name), None)
    if found is None:
        known = [str(each["metadata"]["name"]) for each in objects]
        raise NotFound(f"there is no application {name}{suggest_word(name, known)}", hint="invoke app-list")
    try:
        return read_application(found, choose_endpoint(world.config).root)
    except ApplicationFault as error:
        raise UsageError(f"application {name}: {error}") from None


def choose_environment(application: Application, name: str, flag: str) -> Environment:
    """Its environment of that name; without one the first. flag: that the name was given by. Raises UsageError."""
    names = [each.name for each in application.environments]
    if name and name not in names:
        message = f"{flag}: {application.name} has no environment {name}{suggest_word(name, names)}"
        raise UsageError(f"{message}; it has {', '.join(names)}", hint=f"invoke app-show {application.name}")
    return application.get_environment(name)
