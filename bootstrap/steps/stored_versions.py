"""Objects of a kind are written back in a version that stays, before a definition without the old one is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bootstrap.core import wait
from bootstrap.core.errors import ApiError, StepError
from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.core.text import format_count
from bootstrap.objects import crd_versions
from bootstrap.objects.crd_versions import Migration
from bootstrap.objects.drift import is_superset
from bootstrap.world import World

LIMIT = 300.0
"""Seconds to write all objects of a kind back."""
ADMISSION_LIMIT = 60.0
"""Seconds until the webhook of a kind answers."""
NO_ANSWER = "failed calling webhook"
"""What the API server says of one that it could not ask (apiserver/pkg/admission/plugin/webhook/errors)."""
SETTLED = 5.0
"""Seconds after which an API server stores in the version that its definition says: it hears of a change by a watch."""
SIDE_BY_SIDE = 8
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def told(world: World, live: Object, wanted: Object) -> Iterator[str | Failed]:
    """What `migrate` would do, in one text, or why it cannot. Changes nothing."""
    todo = crd_versions.plan_migration(live, wanted)
    if todo is None:
        return
    refusal = _refusal(world, todo, live)
    if refusal:
        yield refusal
        return
    number = format_count(len(_all(world, todo)), "object")
    yield f"{todo.kind} ({number}): stored as {', '.join(todo.gone)}, written back as {_target(todo, wanted)}"


def migrate(world: World, live: Object, wanted: Object, say: Callable[[str], None]) -> None:
    """Afterwards `wanted` can be applied. Raises StepError before anything is touched, TimedOut, ApiError."""
    todo = crd_versions.plan_migration(live, wanted)
    if todo is None:
        return
    refusal = _refusal(world, todo, live)
    if refusal:
        raise StepError(refusal.why, hint=refusal.hint)
    say(f"{todo.kind}: objects are written back as {_target(todo, wanted)}")
    if todo.flip:
        versions = (
            crd_versions.with_stored_version(live, todo.through)
            if todo.through
            else crd_versions.merge_versions(live, wanted)
        )
        world.kube.patch(*CRD, todo.name, patch={"spec": {"versions": versions}})
    if todo.through:
        _write_all(world, todo)
    status = {"status": {"storedVersions": [_target(todo, wanted)]}}
    world.kube.patch(*CRD, todo.name, patch=status, subresource="status")


def _target(todo: Migration, wanted: Object) -> str:
    return todo.through or crd_versions.get_stored_version(wanted)


def _all(world: World, todo: Migration) -> list[Object]:
    return world.kube.list(todo.api_version, todo.kind)


def _refusal(world: World, todo: Migration, live: Object) -> Failed | None:
    """Each object is asked: the admission of its kind may not take it back as it is."""
    if not todo.served:
        return _refused(todo, "an unknown number of objects", "no version of it is served, so they cannot be read")
    objects = _all(world, todo)
    number = format_count(len(objects), "object")
    if objects and not todo.through:
        return _refused(todo, number, "the new definition shares no served version with the one that is there")
    if objects and not crd_versions.has_conversion_webhook(live):
        poorer = _poorer(world, todo, objects)
        if poorer:
            return _refused(todo, number, f"{todo.through} has no room for all that {poorer} says")
    for each in objects:
        asked = partial(_writable, world, todo, each)
        verdict = wait.until(asked, clock=world.clock, limit=ADMISSION_LIMIT, what=f"whether {todo.kind} is taken back")
        if isinstance(verdict, Failed):
            return _refused(todo, number, verdict.why)
    return None


def _writable(world: World, todo: Migration, each: Object) -> Verdict:
    """A webhook that does not answer at the moment, as when its pod is replaced, says nothing of the object."""
    try:
        _write(world, todo, each, dry_run=True)
    except ApiError as error:
        if error.status == 404:
            return Ready()
        return Pending(error.message) if NO_ANSWER in error.message else Failed(error.message)
    return Ready()


def _refused(todo: Migration, number: str, why: str) -> Failed:
    return Failed(
        f"{todo.kind} has {number} that may be stored as {', '.join(todo.gone)}, which the new definition does not "
        f"serve, and they cannot be written back: {why}",
        hint=f"kubectl get {todo.name} --all-namespaces -o yaml > kept.yaml; then delete them, or upgrade "
        "by a version of Tekton in between",
    )


def _poorer(world: World, todo: Migration, objects: list[Object]) -> str:
    """The first object of which the version that is written back shows less than a version that goes."""
    there = {_name(each): crd_versions.get_content(each) for each in objects}
    for version in todo.gone:
        for each in world.kube.list(f"{todo.group}/{version}", todo.kind):
            if _name(each) in there and not is_superset(there[_name(each)], crd_versions.get_content(each)):
                return f"{todo.kind} {_name(each)}"
    return ""


def _name(obj: Object) -> str:
    metadata = obj["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))


def _write_all(world: World, todo: Migration) -> None:
    """Until a whole round wrote nothing: an object that is stored as it should be is not written again."""
    settled = world.clock.now() + (SETTLED if todo.flip else 0.0)

    def probe() -> Verdict:
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="migrate") as pool:
            written = sum(pool.map(lambda each: _write(world, todo, each), _all(world, todo)))
        if written or world.clock.now() < settled:
            return Pending(f"{todo.kind}: {format_count(written, 'object')} written back")
        return Ready()

    wait.until(probe, clock=world.clock, limit=LIMIT, what=f"writing {todo.name} back as {todo.through}")


def _write(world: World, todo: Migration, obj: Object, *, dry_run: bool = False) -> bool:
    """Whether the server wrote it: a change of nothing is one only if it is stored in another version."""
    metadata = obj["metadata"]
    try:
        after = world.kube.patch(
            todo.api_version, todo.kind, metadata["name"], metadata.get("namespace", ""), patch={}, dry_run=dry_run
        )
    except ApiError as error:
        if error.status == 404 and not dry_run:
            return False  # deleted meanwhile
        raise
    return bool(after["metadata"]["resourceVersion"] != metadata["resourceVersion"])
