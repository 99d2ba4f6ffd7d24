"""How far the repository that declares Applications is applied, and which Applications are its own."""

from __future__ import annotations

from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster.application_source import STATE, SourceState, find_file
from bootstrap.settings.central_repository import find_source
from bootstrap.world import World


def read_state(world: World) -> SourceState | None:
    """What the manager has written of the repository of the settings; None if they name none.

    One that is not looked at yet is empty but for its mark, and so is one where the cluster does not tell.
    """
    source = find_source(world.config)
    if source is None:
        return None
    try:
        found = SourceState.read((world.kube.get("v1", "ConfigMap", STATE, constants.RUNS) or {}).get("data"))
    except BootstrapError:
        return SourceState(source.mark)
    return found if found.mark == source.mark else SourceState(source.mark)


def read_state_data(world: World) -> dict[str, str] | None:
    """The same as JSON has it."""
    state = read_state(world)
    return state.to_data() if state else None


def refuse_declared(world: World, obj: Object) -> None:
    """Raises UsageError for an Application that the repository declares: what is done here would not last."""
    source = find_source(world.config)
    if source is None or not source.declares(obj):
        return
    name, file = obj["metadata"]["name"], find_file(obj)
    raise UsageError(
        f"application {name} is declared by the repository {source.url}, in {file} of branch {source.branch}",
        hint=f"change or remove {file} there, and push",
    )
