"""Tekton Dashboard, where the supply has it: the objects of its release, with rights only to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError
from bootstrap.core.model import Object, Ready, Verdict
from bootstrap.objects.apply_plan import Plan
from bootstrap.objects.patches import Patch, Select
from bootstrap.steps.manifest_step import Key, ManifestStep, render
from bootstrap.steps.tekton import find_foreign_versions
from bootstrap.supply.tekton_releases import DASHBOARD, is_dashboard
from bootstrap.world import World

READS = {"get", "list", "watch"}
READ_ONLY = "--read-only=true"
RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class DashboardStep:
    """Tekton Dashboard. It does nothing if the supply does not have it, or others installed the cluster's Tekton."""

    step: ManifestStep = field(
        default_factory=lambda: ManifestStep(
            DASHBOARD, lambda world: render_objects(world), prove=lambda _: Ready("read-only")
        )
    )
    name: str = "dashboard"
    needs: tuple[str, ...] = ("tekton",)
    limit: float = 180

    def check(self, world: World) -> Verdict:
        """As `ManifestStep.check`; Ready where there is to be none."""
        if not is_wanted(world):
            return Ready(f"none: supply {world.config.supply} does not have it")
        return self.step.check(world)

    def plan(self, world: World) -> Plan:
        """As `ManifestStep.plan`; an empty plan where there is to be none."""
        return self.step.plan(world) if is_wanted(world) else Plan(self.name)

    def list_keys(self, world: World) -> list[Key]:
        """As `ManifestStep.list_keys`; [] where there is to be none."""
        return self.step.list_keys(world) if is_wanted(world) else []

    def apply(self, world: World) -> None:
        """As `ManifestStep.apply`."""
        self.step.apply(world)

    def undo(self, world: World) -> None:
        """As `ManifestStep.undo`; nothing where there is to be none."""
        if is_wanted(world):
            self.step.undo(world)


def is_wanted(world: World) -> bool:
    """Whether the lock has the image of Tekton Dashboard, and the cluster's Tekton is ours."""
    return DASHBOARD in world.images.read_lock().images and find_foreign_versions(world) is None


def render_objects(world: World) -> list[Object]:
    """The objects of the release as they are applied. Raises BootstrapError for a release that wants all rights."""
    given = [each for each in world.images.list_tekton_objects() if is_dashboard(each) and each["kind"] != "Namespace"]
    for each in given:
        if str((each.get("roleRef") or {}).get("name")) == "cluster-admin":
            raise BootstrapError(f"the release of Tekton Dashboard wants cluster-admin ({each['metadata']['name']})")
    deployment = Select("Deployment", DASHBOARD, constants.TEKTON)
    patches = [Patch(deployment, _confine)]
    roles = [each["kind"] for each in given if each["kind"] in ("Role", "ClusterRole")]
    patches += [Patch(Select(kind), _restrict_to_reading) for kind in sorted(set(roles))]
    return render(world.images.read_lock(), given, patches=patches)


def _confine(deployment: Object) -> None:
    container: Any = deployment["spec"]["template"]["spec"]["containers"][0]
    container["securityContext"] = RESTRICTED
    container["resources"] = RESOURCES
    container["args"] = [word for word in container.get("args", []) if not word.startswith("--read-only")] + [READ_ONLY]


def _restrict_to_reading(role: Object) -> None:
    """Remove every right to change something, and all rights on Secrets."""
    rules = []
    for rule in role.get("rules") or []:
        verbs = [verb for verb in rule.get("verbs", []) if verb in READS]
        resources = [each for each in rule.get("resources", []) if each not in ("*", "secrets")]
        if verbs and resources:
            rules.append({**rule, "verbs": verbs, "resources": resources})
    role["rules"] = rules
