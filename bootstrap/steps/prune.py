"""Deletes objects that an earlier version of the manifests had and this one has not, once all other steps are ready."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bootstrap.core.constants import SELECTOR
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.objects.apply_plan import Change, Plan
from bootstrap.objects.manifests import is_applied, sort_by_need
from bootstrap.objects.readiness import label
from bootstrap.steps.manifest_step import Key
from bootstrap.world import World

GONE = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "CronJob"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("tekton.dev/v1", "Pipeline"),
    ("tekton.dev/v1", "Task"),
    ("triggers.tekton.dev/v1beta1", "EventListener"),
    ("triggers.tekton.dev/v1beta1", "Trigger"),
    ("triggers.tekton.dev/v1beta1", "TriggerBinding"),
    ("triggers.tekton.dev/v1beta1", "TriggerTemplate"),
    ("triggers.tekton.dev/v1alpha1", "ClusterInterceptor"),
    ("triggers.tekton.dev/v1alpha1", "Interceptor"),
)
"""Kinds whose objects can be made again from a checkout. Runs, for example, cannot."""

KEPT = (
    ("v1", "Namespace"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Secret"),
    ("apps/v1", "StatefulSet"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
)
"""Kinds that hold data, or whose deletion deletes other objects: they stay, and `check` names them."""
WHY_KEPT = "no longer of this version; it may hold data, so it stays"
SIDE_BY_SIDE = 8


@runtime_checkable
class ObjectStep(Protocol):
    """A step that applies objects."""

    def list_keys(self, world: World) -> Sequence[Key]:
        """The keys of all objects that the step wants."""
        ...


@dataclass(frozen=True)
class PruneStep:
    """Deletes what earlier versions left. steps: every step that applies objects to the environment's own cluster."""

    steps: tuple[ObjectStep, ...]
    needs: tuple[str, ...]
    name: str = "prune"
    limit: float = 60

    def check(self, world: World) -> Verdict:
        """Ready when no object is left over that can be deleted; the text names objects that stay because they may hold
        data.
        """
        gone, kept = self._find_surplus(world)
        if gone:
            return Pending(f"{_describe_first(gone)} of an earlier version")
        return Ready(f"{_describe_first(kept)} of an earlier version may hold data" if kept else "nothing is left over")

    def plan(self, world: World) -> Plan:
        """The objects that `apply` would delete, and those that stay."""
        gone, kept = self._find_surplus(world)
        deleted = [Change("delete", label(each)) for each in gone]
        return Plan(
            self.name, (*deleted, *(Change("keep", label(each), (WHY_KEPT,)) for each in kept)), there=bool(gone)
        )

    def apply(self, world: World) -> None:
        """Delete the objects of the kinds GONE. Raises ApiError."""
        gone, _ = self._find_surplus(world)
        _delete(world, gone)

    def undo(self, world: World) -> None:
        """Delete all that earlier versions left, also what may hold data."""
        gone, kept = self._find_surplus(world)
        _delete(world, gone + kept)

    def _find_surplus(self, world: World) -> tuple[list[Object], list[Object]]:
        """The objects that no step wants: those that can be deleted, and those that stay.

        Only namespaces of which a step wants something count: what was deployed to an earlier target is left there.
        """
        keys = [key for step in self.steps for key in step.list_keys(world)]
        wanted = {(_get_group(api_version), kind, space, name) for api_version, kind, space, name in keys}
        spaces = {space for _, _, space, _ in keys}
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="prune") as pool:
            lists = pool.map(lambda kind: world.kube.list(*kind, labels=SELECTOR), GONE + KEPT)
            found = [each for entries in lists for each in entries]
        surplus = [each for each in found if is_applied(each) and _identify(each) not in wanted]
        here = [each for each in surplus if each["metadata"].get("namespace", "") in {"", *spaces}]
        kept = {kind for _, kind in KEPT}
        return [e for e in here if e["kind"] not in kept], [e for e in here if e["kind"] in kept]


def _describe_first(objects: Sequence[Object]) -> str:
    more = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
    return f"{label(objects[0])}{more}"


def _delete(world: World, objects: Sequence[Object]) -> None:
    """Delete the objects in reverse order."""
    for each in reversed(sort_by_need(objects)):
        metadata = each["metadata"]
        world.kube.delete(each["apiVersion"], each["kind"], metadata["name"], metadata.get("namespace", ""))


def _get_group(api_version: str) -> str:
    """ "tekton.dev/v1" -> "tekton.dev": an object is the same in each version of its kind."""
    return api_version.rpartition("/")[0]


def _identify(obj: Object) -> Key:
    metadata = obj["metadata"]
    return _get_group(obj["apiVersion"]), obj["kind"], metadata.get("namespace", ""), metadata["name"]
