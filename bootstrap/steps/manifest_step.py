"""A step that is data: objects, what may be kept of the live ones, and what proves that they work.

Truth lives in the cluster. What `check` compares is the live object itself, so an edit or a scaling by
hand is seen; the digest annotation only tells whether it was the hand or a setting that changed.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.core import wait
from bootstrap.core.errors import ApiError, BootstrapError, StepError
from bootstrap.core.model import Failed, Lock, Object, Pending, Ready, Unknown, Verdict
from bootstrap.objects import image_refs, openshift_scc
from bootstrap.objects.apply_plan import Change, Plan
from bootstrap.objects.drift import find_drift, list_changes
from bootstrap.objects.manifests import DIGEST, get_pod_spec, is_applied, is_ours, load, sort_by_need, stamp
from bootstrap.objects.patches import Patch, Select, apply_patches, get_at, set_at
from bootstrap.objects.readiness import judge, judge_all, label
from bootstrap.steps import stored_versions
from bootstrap.world import World

APPLY_LIMIT = 90.0
"""Seconds that kinds may take to be served and webhooks to answer."""
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}
ADMISSION = {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
DEFINITION = "CustomResourceDefinition"
REST_LIMIT = 600.0
"""Seconds that whoever uses a workload may take to be done, before it is restarted."""
SIDE_BY_SIDE = 8
UNPROCESSABLE = 422

Key = tuple[str, str, str, str]
"""apiVersion, kind, namespace, name."""
Live = Mapping[Key, Object]


@dataclass(frozen=True)
class Keep:
    """A field that somebody else sets once the object is there: the live value stays. path: see patches.Path."""

    select: Select
    path: tuple[str | int, ...]


@dataclass(frozen=True)
class ManifestStep:
    """objects: the wanted ones, images already by digest (see `render`); asked once per command.

    limit: seconds to become ready. keep: fields that stay as they are in the cluster. prepare: what `apply` does
    first. prove: a last look once all objects are there and ready, such as a dry run; its Ready is what the user reads.
    at_rest: Ready when nobody uses the workloads that are there, so that they can be restarted.
    """

    name: str
    objects: Callable[[World], Sequence[Object]]
    needs: tuple[str, ...] = ()
    limit: float = 120.0
    keep: tuple[Keep, ...] = ()
    prepare: Callable[[World], None] = lambda _: None
    prove: Callable[[World], Verdict] = lambda _: Ready()
    at_rest: Callable[[World], Verdict] = lambda _: Ready()
    _asked: list[Sequence[Object]] = field(default_factory=list, init=False, repr=False, compare=False)

    def check(self, world: World) -> Verdict:
        """Workloads first: while they start, the rest need not be read."""
        wanted = self._wanted(world)
        summary = Ready(f"{len(wanted)} objects")
        for part in _workloads_first(wanted):
            live = _live(world, part)
            verdict = _worst(self._state(each, live.get(_key(each))) for each in part)
            if not isinstance(verdict, Ready):
                return verdict
            summary = verdict if verdict.why and any(each["kind"] in WORKLOADS for each in part) else summary
        proof = self.prove(world)
        return summary if proof == Ready() else proof

    def plan(self, world: World) -> Plan:
        """What `apply` would do, and why it may not. Changes nothing: the server tells what would become of each."""
        wanted = self._wanted(world)
        live = _live(world, wanted)
        there = [(each, live[_key(each)]) for each in wanted if _key(each) in live]
        new = [Change("create", label(each)) for each in wanted if _key(each) not in live]
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="plan") as pool:
            told = [each for part in pool.map(lambda pair: self._told(world, *pair), there) for each in part]
        return Plan(
            self.name,
            changes=(*new, *(each for each in told if isinstance(each, Change))),
            refusals=tuple(each for each in told if isinstance(each, Failed)),
            there=any(is_ours(each) for _, each in there),
        )

    def _told(self, world: World, wanted: Object, live: Object) -> list[Change | Failed]:
        if _is_foreign(live):
            return [_foreign(live)]
        differs = self._differs(wanted, live)
        if not differs:
            return []
        moved: list[Change | Failed] = []
        if wanted["kind"] == DEFINITION:
            found = stored_versions.told(world, live, wanted)
            moved = [Change("migrate", each) if isinstance(each, str) else each for each in found]
        try:
            [future] = world.kube.apply([self._kept(wanted, live)], dry_run=True)
        except ApiError as error:
            if error.status == UNPROCESSABLE and wanted["kind"] in WORKLOADS:
                return [_unchangeable(live, error)]
            return [*moved, Change("change", label(wanted), (differs,))]
        return [*moved, Change("change", label(wanted), tuple(list_changes(live, future)) or (differs,))]

    def apply(self, world: World) -> None:
        """Apply what is missing or differs, in order; ask again while kinds are not served or webhooks do not answer.

        Where workloads are restarted, what comes after them in that order waits until the new pods have taken over:
        a webhook is only told to admit what its program knows.
        Raises StepError for an object that somebody else made, TimedOut, ApiError.
        """
        self.prepare(world)
        wanted = self._wanted(world)
        live = _live(world, wanted)
        todo = self._todo(wanted, live)
        for each in todo:
            if each["kind"] == DEFINITION and _key(each) in live:
                stored_versions.migrate(world, live[_key(each)], each, world.report.step(self.name).cause)
        restarted = [each for each in todo if self._restarts(world, each, live)]
        if restarted:
            self._await(world, lambda: self.at_rest(world), REST_LIMIT, f"{self.name} (a moment when no run uses it)")
            place = max(index for index, each in enumerate(todo) if each["kind"] in WORKLOADS) + 1
            self._apply(world, todo[:place])
            self._await(world, lambda: _rolled(world, restarted), self.limit, self.name)
            todo = todo[place:]
        for key, each in live.items():
            if each["kind"] in ADMISSION and is_applied(each) and key not in map(_key, wanted):
                world.kube.delete(each["apiVersion"], each["kind"], each["metadata"]["name"])
        self._apply(world, todo)

    def _todo(self, wanted: Sequence[Object], live: Live) -> list[Object]:
        todo: list[Object] = []
        for each in wanted:
            found = live.get(_key(each))
            if found is None:
                todo.append(each)
            elif _is_foreign(found):
                raise StepError(_foreign(found).why, hint=_foreign(found).hint)
            elif self._differs(each, found):
                todo.append(self._kept(each, found))
        return todo

    def _apply(self, world: World, todo: Sequence[Object]) -> None:
        wait.until(lambda: _try_apply(world, todo), clock=world.clock, limit=APPLY_LIMIT, what=f"applying {self.name}")

    def _restarts(self, world: World, wanted: Object, live: Live) -> bool:
        """Whether pods that run would be replaced."""
        found = live.get(_key(wanted))
        if found is None or wanted["kind"] not in WORKLOADS:
            return False
        [future] = world.kube.apply([wanted], dry_run=True)
        return any(path.startswith("spec.template") for path in list_changes(found, future))

    def _await(self, world: World, probe: Callable[[], Verdict], limit: float, what: str) -> None:
        def say(verdict: Pending | Unknown) -> None:
            world.report.step(self.name).cause(verdict.why)

        verdict = wait.until(probe, clock=world.clock, limit=limit, what=what, on_change=say)
        if isinstance(verdict, Failed):
            raise StepError(f"{self.name}: {verdict.why}", hint=verdict.hint)

    def keys(self, world: World) -> list[Key]:
        """Of all that is wanted."""
        return [_key(each) for each in self._wanted(world)]

    def undo(self, world: World) -> None:
        """Delete the objects that carry our label, the last first."""
        wanted = self._wanted(world)
        live = _live(world, wanted)
        for each in reversed(wanted):
            if is_ours(live.get(_key(each), {})):
                api_version, kind, namespace, name = _key(each)
                world.kube.delete(api_version, kind, name, namespace)

    def _wanted(self, world: World) -> Sequence[Object]:
        """Stamped and in order. Kept for the next look: a wait asks twice a second."""
        if not self._asked:
            wanted = self.objects(world)
            if world.kube.serves(openshift_scc.SECURITY):
                wanted = openshift_scc.adapt(copy.deepcopy([*wanted]))
            self._asked.append([stamp(each) for each in sort_by_need(wanted)])
        return self._asked[0]

    def _state(self, wanted: Object, live: Object | None) -> Verdict:
        if live is None:
            return Pending(f"{label(wanted)} is missing")
        if _is_foreign(live):
            return _foreign(live)
        found = self._differs(wanted, live)
        return Pending(_difference(wanted, live, found)) if found else judge(live)

    def _differs(self, wanted: Object, live: Object) -> str:
        return "" if _is_lent(live) else find_drift(self._kept(wanted, live), live)

    def _kept(self, wanted: Object, live: Object) -> Object:
        """Wanted, with the live values of the fields that are to stay."""
        paths = [keep.path for keep in self.keep if keep.select.matches(wanted)]
        kept = copy.deepcopy(wanted) if paths else wanted
        for path in paths:
            with contextlib.suppress(LookupError, TypeError):
                set_at(kept, path, get_at(live, path))
        return kept


def render(lock: Lock, *sources: Path | Sequence[Object], patches: Sequence[Patch] = ()) -> list[Object]:
    """Files, folders and objects in order, patched, every image by the digest of the lock.

    Raises UsageError (a file), BootstrapError (a patch or an image name that matches nothing, an image that the
    lock does not hold).
    """
    objects = [each for source in sources for each in (load(source) if isinstance(source, Path) else source)]
    rendered = _logging_in(image_refs.rewrite(apply_patches(objects, patches), lock), lock.pull_secret)
    strangers = image_refs.list_unlocked(rendered, lock)
    if strangers:
        raise BootstrapError(f"the lock does not hold the image {strangers[0]}", evidence="\n".join(strangers))
    return sort_by_need(rendered)


def _logging_in(objects: list[Object], secret: str) -> list[Object]:
    """Whoever pulls, with the Secret to log in by: accounts, and pods that have none of ours. secret: "" for none."""
    for each in objects if secret else ():
        pod = get_pod_spec(each)
        if each["kind"] == "ServiceAccount":
            each["imagePullSecrets"] = [{"name": secret}]
        elif pod is not None and not pod.get("serviceAccountName"):
            pod["imagePullSecrets"] = [{"name": secret}]
    return objects


def _key(obj: Object) -> Key:
    metadata = obj["metadata"]
    return obj["apiVersion"], obj["kind"], str(metadata.get("namespace") or ""), str(metadata["name"])


def _live(world: World, wanted: Iterable[Object]) -> dict[Key, Object]:
    """What is there of the wanted: one request per kind and namespace."""
    groups = dict.fromkeys(_key(each)[:3] for each in wanted)
    found: dict[Key, Object] = {}
    for api_version, kind, namespace in groups:
        for each in world.kube.list(api_version, kind, namespace):
            found[api_version, kind, namespace, each["metadata"]["name"]] = each
    return found


def _workloads_first(wanted: Sequence[Object]) -> Iterator[list[Object]]:
    workloads = [each for each in wanted if each["kind"] in WORKLOADS]
    yield workloads
    yield [each for each in wanted if each["kind"] not in WORKLOADS]


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first Failed, else the first that is not Ready, else the Ready that says most."""
    given = list(verdicts)
    for kinds in (Failed, (Pending, Unknown)):
        for each in given:
            if isinstance(each, kinds):
                return each
    return next((each for each in given if each.why), Ready())


def _difference(wanted: Object, live: Object, path: str) -> str:
    annotations = live["metadata"].get("annotations") or {}
    if DIGEST in annotations and annotations[DIGEST] != wanted["metadata"]["annotations"][DIGEST]:
        return f"{label(wanted)}: changed settings"
    return f"{label(wanted)} differs at {path}"


def _is_foreign(live: Object) -> bool:
    """Made by somebody else, and not a Namespace."""
    return not is_ours(live) and not _is_lent(live)


def _is_lent(live: Object) -> bool:
    """A Namespace that was there before us is used as it is, and stays when we go."""
    return live["kind"] == "Namespace" and not is_ours(live)


def _foreign(obj: Object) -> Failed:
    what = label(obj)
    kubectl = f"kubectl get {obj['kind'].lower()} {obj['metadata']['name']}"
    return Failed(f"{what} is there already and was not made by us: it is left alone", hint=f"{kubectl} -o yaml")


def _unchangeable(obj: Object, error: ApiError) -> Failed:
    metadata = obj["metadata"]
    kubectl = f"kubectl delete {obj['kind'].lower()} {metadata['name']} --namespace {metadata['namespace']}"
    return Failed(f"{label(obj)} cannot be changed in place: {error.message}", hint=f"{kubectl}; then invoke up")


def _rolled(world: World, wanted: Iterable[Object]) -> Verdict:
    return judge_all(world.kube.get(api, kind, name, space) for api, kind, space, name in map(_key, wanted))


def _try_apply(world: World, todo: Sequence[Object]) -> Verdict:
    """Applying twice does no harm, so all of it is tried again."""
    try:
        world.kube.apply(todo)
    except ApiError as error:
        if not _passes(error):
            raise
        return Pending(error.message)
    return Ready()


def _passes(error: ApiError) -> bool:
    """A fault of a cluster that is still starting: a kind not yet served, a webhook without endpoints."""
    text = error.message.lower()
    webhook = "webhook" in text or "no endpoints" in text
    return error.status in (0, 404, 429, 503) or (error.status == 500 and webhook)
