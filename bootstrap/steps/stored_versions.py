"""Writes the objects of a kind back in a version that stays, before a definition without the old version is applied."""

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
"""In the API server's answer when it could not reach a webhook (apiserver/pkg/admission/plugin/webhook/errors)."""
SETTLED = 5.0
"""Seconds after which an API server stores in the version that its definition says: it hears of a change by a watch."""
SIDE_BY_SIDE = 8
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def describe_migration(world: World, live: Object, wanted: Object) -> Iterator[str | Failed]:
    """What `migrate` would do, as one text, or Failed with why it cannot; nothing if no migration is needed.

    live, wanted: the CustomResourceDefinition as it is and as it will be. Nothing is changed.
    """
    todo = crd_versions.plan_migration(live, wanted)
    if todo is None:
        return
    refusal = _find_refusal(world, todo, live)
    if refusal:
        yield refusal
        return
    number = format_count(len(_list_objects(world, todo)), "object")
    version = _get_target_version(todo, wanted)
    yield f"{todo.kind} ({number}): stored as {', '.join(todo.gone)}, written back as {version}"


def migrate(world: World, live: Object, wanted: Object, say: Callable[[str], None]) -> None:
    """Write the objects back, so that afterwards `wanted` can be applied. say: gets the text of the progress.

    Raises StepError before anything is changed, TimedOut, ApiError.
    """
    todo = crd_versions.plan_migration(live, wanted)
    if todo is None:
        return
    refusal = _find_refusal(world, todo, live)
    if refusal:
        raise StepError(refusal.why, hint=refusal.hint)
    say(f"{todo.kind}: objects are written back as {_get_target_version(todo, wanted)}")
    if todo.flip:
        versions = (
            crd_versions.with_stored_version(live, todo.through)
            if todo.through
            else crd_versions.merge_versions(live, wanted)
        )
        world.kube.patch(*CRD, todo.name, patch={"spec": {"versions": versions}})
    if todo.through:
        _write_all(world, todo)
    status = {"status": {"storedVersions": [_get_target_version(todo, wanted)]}}
    world.kube.patch(*CRD, todo.name, patch=status, subresource="status")


def _get_target_version(todo: Migration, wanted: Object) -> str:
    return todo.through or crd_versions.get_stored_version(wanted)


def _list_objects(world: World, todo: Migration) -> list[Object]:
    return world.kube.list(todo.api_version, todo.kind)


def _find_refusal(world: World, todo: Migration, live: Object) -> Failed | None:
    """Why the objects cannot be written back, None if they can. A dry run asks the admission of their kind for each."""
    if not todo.served:
        return _make_refusal(todo, "an unknown number of objects", "no version of it is served, so they cannot be read")
    objects = _list_objects(world, todo)
    number = format_count(len(objects), "object")
    if objects and not todo.through:
        return _make_refusal(todo, number, "the new definition shares no served version with the one that is there")
    if objects and not crd_versions.has_conversion_webhook(live):
        poorer = _find_poorer(world, todo, objects)
        if poorer:
            return _make_refusal(todo, number, f"{todo.through} has no room for all that {poorer} says")
    for each in objects:
        asked = partial(_judge_writable, world, todo, each)
        verdict = wait.until(asked, clock=world.clock, limit=ADMISSION_LIMIT, what=f"whether {todo.kind} is taken back")
        if isinstance(verdict, Failed):
            return _make_refusal(todo, number, verdict.why)
    return None


def _judge_writable(world: World, todo: Migration, each: Object) -> Verdict:
    """Ready if the object can be written back.

    A webhook that does not answer now, as when its pod is replaced, is Pending.
    """
    try:
        _write(world, todo, each, dry_run=True)
    except ApiError as error:
        if error.status == 404:
            return Ready()
        return Pending(error.message) if NO_ANSWER in error.message else Failed(error.message)
    return Ready()


def _make_refusal(todo: Migration, number: str, why: str) -> Failed:
    return Failed(
        f"{todo.kind} has {number} that may be stored as {', '.join(todo.gone)}, which the new definition does not "
        f"serve, and they cannot be written back: {why}",
        hint=f"kubectl get {todo.name} --all-namespaces -o yaml > kept.yaml; then delete them, or upgrade "
        "by a version of Tekton in between",
    )


def _find_poorer(world: World, todo: Migration, objects: list[Object]) -> str:
    """The first object that would lose fields when it is written back, as "KIND NAMESPACE/NAME", or ""."""
    there = {_format_name(each): crd_versions.get_content(each) for each in objects}
    for version in todo.gone:
        for each in world.kube.list(f"{todo.group}/{version}", todo.kind):
            if _format_name(each) in there and not is_superset(
                there[_format_name(each)], crd_versions.get_content(each)
            ):
                return f"{todo.kind} {_format_name(each)}"
    return ""


def _format_name(obj: Object) -> str:
    metadata = obj["metadata"]
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))


def _write_all(world: World, todo: Migration) -> None:
    """Write until a whole round changed nothing: an object that is stored as it should be is not written again."""
    settled = world.clock.now() + (SETTLED if todo.flip else 0.0)

    def probe() -> Verdict:
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="migrate") as pool:
            written = sum(pool.map(lambda each: _write(world, todo, each), _list_objects(world, todo)))
        if written or world.clock.now() < settled:
            return Pending(f"{todo.kind}: {format_count(written, 'object')} written back")
        return Ready()

    wait.until(probe, clock=world.clock, limit=LIMIT, what=f"writing {todo.name} back as {todo.through}")


def _write(world: World, todo: Migration, obj: Object, *, dry_run: bool = False) -> bool:
    """Whether the server wrote the object: an empty change is written only if it is stored in another version."""
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
