"""A step that is data: its objects, the fields of live objects that stay, and what proves that they work.

`check` compares the live objects themselves, so an edit or a scaling by hand is seen. The digest annotation only tells
whether the object was changed by hand or a setting was changed.
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
"""Seconds that runs which use a workload may take to end, before it is restarted."""
SIDE_BY_SIDE = 8
UNPROCESSABLE = 422

Key = tuple[str, str, str, str]
"""apiVersion, kind, namespace, name."""
Live = Mapping[Key, Object]


@dataclass(frozen=True)
class Keep:
    """A field that somebody else sets once the object exists: its live value stays. path: as in `patches.put`."""

    select: Select
    path: tuple[str | int, ...]


@dataclass(frozen=True)
class ManifestStep:
    """A step whose objects are given by a function.

    objects: the wanted ones, images by digest (see `render`); called once per command. limit: seconds to become ready.
    keep: fields that stay as they are in the cluster. prepare: called by `apply` first. prove: a last check once all
    objects are there and ready, such as a dry run; the text of its Ready is what the user reads.
    at_rest: Ready when nobody uses the existing workloads, so that they can be restarted. judge_live: of an object as
    wanted and as it is in the cluster, which do not differ, whether it works. adopts: whether objects that somebody
    else has made are taken over, because the user's own files declare them.
    """

    name: str
    objects: Callable[[World], Sequence[Object]]
    needs: tuple[str, ...] = ()
    limit: float = 120.0
    keep: tuple[Keep, ...] = ()
    prepare: Callable[[World], None] = lambda _: None
    prove: Callable[[World], Verdict] = lambda _: Ready()
    at_rest: Callable[[World], Verdict] = lambda _: Ready()
    judge_live: Callable[[Object, Object], Verdict] = lambda _, live: judge(live)
    adopts: bool = False
    _rendered: list[Sequence[Object]] = field(default_factory=list, init=False, repr=False, compare=False)

    def check(self, world: World) -> Verdict:
        """Ready when every object is there as wanted and works, and `prove` is Ready.

        Workloads are read first: while they start, the rest need not be read. Raises ApiError.
        """
        wanted = self._render_wanted(world)
        summary = Ready(f"{len(wanted)} objects")
        for part in _split_workloads(wanted):
            live = _read_live(world, part)
            verdict = _find_worst(self._judge_object(each, live.get(_get_key(each))) for each in part)
            if not isinstance(verdict, Ready):
                return verdict
            summary = verdict if verdict.why and any(each["kind"] in WORKLOADS for each in part) else summary
        proof = self.prove(world)
        return summary if proof == Ready() else proof

    def plan(self, world: World) -> Plan:
        """What `apply` would do, and why it may not. Nothing is changed: dry runs on the server tell the result."""
        wanted = self._render_wanted(world)
        live = _read_live(world, wanted)
        there = [(each, live[_get_key(each)]) for each in wanted if _get_key(each) in live]
        new = [Change("create", label(each)) for each in wanted if _get_key(each) not in live]
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="plan") as pool:
            told = [each for part in pool.map(lambda pair: self._plan_object(world, *pair), there) for each in part]
        return Plan(
            self.name,
            changes=(*new, *(each for each in told if isinstance(each, Change))),
            refusals=tuple(each for each in told if isinstance(each, Failed)),
            there=any(is_ours(each) for _, each in there),
        )

    def _is_foreign(self, live: Object) -> bool:
        """Whether somebody else made the object. A Namespace does not count, see `_is_lent`."""
        return not self.adopts and not is_ours(live) and not _is_lent(live)

    def _plan_object(self, world: World, wanted: Object, live: Object) -> list[Change | Failed]:
        if self._is_foreign(live):
            return [_refuse_foreign(live)]
        differs = self._find_difference(wanted, live)
        if not differs:
            return []
        moved: list[Change | Failed] = []
        if wanted["kind"] == DEFINITION:
            found = stored_versions.describe_migration(world, live, wanted)
            moved = [Change("migrate", each) if isinstance(each, str) else each for each in found]
        try:
            [future] = world.kube.apply([self._keep_live_fields(wanted, live)], dry_run=True)
        except ApiError as error:
            if error.status == UNPROCESSABLE and wanted["kind"] in WORKLOADS:
                return [_refuse_unchangeable(live, error)]
            return [*moved, Change("change", label(wanted), (differs,))]
        return [*moved, Change("change", label(wanted), tuple(list_changes(live, future)) or (differs,))]

    def apply(self, world: World) -> None:
        """Apply what is missing or differs, in order; try again while kinds are not served or webhooks do not answer.

        If workloads are restarted, the objects after them wait until the new pods have taken over: a webhook must not
        admit what its program does not know yet. Raises StepError for an object that somebody else made, TimedOut,
        ApiError.
        """
        self.prepare(world)
        wanted = self._render_wanted(world)
        live = _read_live(world, wanted)
        todo = self._select_todo(wanted, live)
        for each in todo:
            if each["kind"] == DEFINITION and _get_key(each) in live:
                stored_versions.migrate(world, live[_get_key(each)], each, world.report.step(self.name).show_cause)
        restarted = [each for each in todo if self._would_restart(world, each, live)]
        if restarted:
            self._await(world, lambda: self.at_rest(world), REST_LIMIT, f"{self.name} (a moment when no run uses it)")
            place = max(index for index, each in enumerate(todo) if each["kind"] in WORKLOADS) + 1
            self._apply(world, todo[:place])
            self._await(world, lambda: _judge_rollout(world, restarted), self.limit, self.name)
            todo = todo[place:]
        for key, each in live.items():
            if each["kind"] in ADMISSION and is_applied(each) and key not in map(_get_key, wanted):
                world.kube.delete(each["apiVersion"], each["kind"], each["metadata"]["name"])
        self._apply(world, todo)

    def _select_todo(self, wanted: Sequence[Object], live: Live) -> list[Object]:
        todo: list[Object] = []
        for each in wanted:
            found = live.get(_get_key(each))
            if found is None:
                todo.append(each)
            elif self._is_foreign(found):
                raise StepError(_refuse_foreign(found).why, hint=_refuse_foreign(found).hint)
            elif self._find_difference(each, found):
                todo.append(self._keep_live_fields(each, found))
        return todo

    def _apply(self, world: World, todo: Sequence[Object]) -> None:
        wait.until(lambda: _try_apply(world, todo), clock=world.clock, limit=APPLY_LIMIT, what=f"applying {self.name}")

    def _would_restart(self, world: World, wanted: Object, live: Live) -> bool:
        """Whether running pods of the workload would be replaced."""
        found = live.get(_get_key(wanted))
        if found is None or wanted["kind"] not in WORKLOADS:
            return False
        [future] = world.kube.apply([wanted], dry_run=True)
        return any(path.startswith("spec.template") for path in list_changes(found, future))

    def _await(self, world: World, probe: Callable[[], Verdict], limit: float, what: str) -> None:
        def say(verdict: Pending | Unknown) -> None:
            world.report.step(self.name).show_cause(verdict.why)

        verdict = wait.until(probe, clock=world.clock, limit=limit, what=what, on_change=say)
        if isinstance(verdict, Failed):
            raise StepError(f"{self.name}: {verdict.why}", hint=verdict.hint)

    def list_keys(self, world: World) -> list[Key]:
        """The keys of all wanted objects."""
        return [_get_key(each) for each in self._render_wanted(world)]

    def undo(self, world: World) -> None:
        """Delete the objects that carry our label, in reverse order. Raises ApiError."""
        wanted = self._render_wanted(world)
        live = _read_live(world, wanted)
        for each in reversed(wanted):
            if is_ours(live.get(_get_key(each), {})):
                api_version, kind, namespace, name = _get_key(each)
                world.kube.delete(api_version, kind, name, namespace)

    def _render_wanted(self, world: World) -> Sequence[Object]:
        """The wanted objects, stamped and in order. They are kept, because a wait asks for them twice a second."""
        if not self._rendered:
            wanted = self.objects(world)
            if world.kube.serves(openshift_scc.SECURITY):
                wanted = openshift_scc.adapt(copy.deepcopy([*wanted]))
            self._rendered.append([stamp(each) for each in sort_by_need(wanted)])
        return self._rendered[0]

    def _judge_object(self, wanted: Object, live: Object | None) -> Verdict:
        if live is None:
            return Pending(f"{label(wanted)} is missing")
        if self._is_foreign(live):
            return _refuse_foreign(live)
        found = self._find_difference(wanted, live)
        return Pending(_describe_difference(wanted, live, found)) if found else self.judge_live(wanted, live)

    def _find_difference(self, wanted: Object, live: Object) -> str:
        return "" if _is_lent(live) else find_drift(self._keep_live_fields(wanted, live), live)

    def _keep_live_fields(self, wanted: Object, live: Object) -> Object:
        """The wanted object with the live values of the fields that are to stay."""
        paths = [keep.path for keep in self.keep if keep.select.matches(wanted)]
        kept = copy.deepcopy(wanted) if paths else wanted
        for path in paths:
            with contextlib.suppress(LookupError, TypeError):
                set_at(kept, path, get_at(live, path))
        return kept


def render(lock: Lock, *sources: Path | Sequence[Object], patches: Sequence[Patch] = ()) -> list[Object]:
    """Objects from files, folders and lists, in order, patched, with every image by the digest of the lock.

    Raises UsageError for a file that cannot be read, BootstrapError for a patch or an image name that matches nothing
    and for an image that the lock does not hold.
    """
    objects = [each for source in sources for each in (load(source) if isinstance(source, Path) else source)]
    rendered = _add_pull_secret(image_refs.rewrite(apply_patches(objects, patches), lock), lock.pull_secret)
    strangers = image_refs.list_unlocked(rendered, lock)
    if strangers:
        raise BootstrapError(f"the lock does not hold the image {strangers[0]}", evidence="\n".join(strangers))
    return sort_by_need(rendered)


def _add_pull_secret(objects: list[Object], secret: str) -> list[Object]:
    """Add the Secret for pulling to ServiceAccounts, and to pods without one of ours. secret: its name, "" for none."""
    for each in objects if secret else ():
        pod = get_pod_spec(each)
        if each["kind"] == "ServiceAccount":
            each["imagePullSecrets"] = [{"name": secret}]
        elif pod is not None and not pod.get("serviceAccountName"):
            pod["imagePullSecrets"] = [{"name": secret}]
    return objects


def _get_key(obj: Object) -> Key:
    metadata = obj["metadata"]
    return obj["apiVersion"], obj["kind"], str(metadata.get("namespace") or ""), str(metadata["name"])


def _read_live(world: World, wanted: Iterable[Object]) -> dict[Key, Object]:
    """The live objects of the wanted kinds and namespaces, one request for each pair."""
    groups = dict.fromkeys(_get_key(each)[:3] for each in wanted)
    found: dict[Key, Object] = {}
    for api_version, kind, namespace in groups:
        for each in world.kube.list(api_version, kind, namespace):
            found[api_version, kind, namespace, each["metadata"]["name"]] = each
    return found


def _split_workloads(wanted: Sequence[Object]) -> Iterator[list[Object]]:
    workloads = [each for each in wanted if each["kind"] in WORKLOADS]
    yield workloads
    yield [each for each in wanted if each["kind"] not in WORKLOADS]


def _find_worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The first Failed, else the first that is not Ready, else the Ready that says most."""
    given = list(verdicts)
    for kinds in (Failed, (Pending, Unknown)):
        for each in given:
            if isinstance(each, kinds):
                return each
    return next((each for each in given if each.why), Ready())


def _describe_difference(wanted: Object, live: Object, path: str) -> str:
    annotations = live["metadata"].get("annotations") or {}
    if DIGEST in annotations and annotations[DIGEST] != wanted["metadata"]["annotations"][DIGEST]:
        return f"{label(wanted)}: changed settings"
    return f"{label(wanted)} differs at {path}"


def _is_lent(live: Object) -> bool:
    """Whether it is a Namespace that existed before us: it is used as it is, and not deleted."""
    return live["kind"] == "Namespace" and not is_ours(live)


def _refuse_foreign(obj: Object) -> Failed:
    what = label(obj)
    kubectl = f"kubectl get {obj['kind'].lower()} {obj['metadata']['name']}"
    return Failed(f"{what} is there already and was not made by us: it is left alone", hint=f"{kubectl} -o yaml")


def _refuse_unchangeable(obj: Object, error: ApiError) -> Failed:
    metadata = obj["metadata"]
    kubectl = f"kubectl delete {obj['kind'].lower()} {metadata['name']} --namespace {metadata['namespace']}"
    return Failed(f"{label(obj)} cannot be changed in place: {error.message}", hint=f"{kubectl}; then invoke up")


def _judge_rollout(world: World, wanted: Iterable[Object]) -> Verdict:
    return judge_all(world.kube.get(api, kind, name, space) for api, kind, space, name in map(_get_key, wanted))


def _try_apply(world: World, todo: Sequence[Object]) -> Verdict:
    """Applying twice does no harm, so all of it is tried again."""
    try:
        world.kube.apply(todo)
    except ApiError as error:
        if not _is_transient(error):
            raise
        return Pending(error.message)
    return Ready()


def _is_transient(error: ApiError) -> bool:
    """Whether the error passes by itself while a cluster starts: a kind not yet served, a webhook without endpoints."""
    text = error.message.lower()
    webhook = "webhook" in text or "no endpoints" in text
    return error.status in (0, 404, 429, 503) or (error.status == 500 and webhook)
