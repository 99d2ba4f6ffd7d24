"""Tekton Pipelines and Triggers: the release's own objects, with our few settings patched in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from bootstrap.core import constants
from bootstrap.core.errors import ApiError, BootstrapError, StepError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.objects import apply_plan, cluster_requirements
from bootstrap.objects.apply_plan import Plan
from bootstrap.objects.manifests import is_ours
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.objects.readiness import at
from bootstrap.steps.credentials import pull_secrets
from bootstrap.steps.manifest_step import Key, ManifestStep, render
from bootstrap.steps.trusted_cas import authorities
from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import module_version
from bootstrap.supply.tekton_releases import is_dashboard
from bootstrap.world import World

CONTROLLER = Select("Deployment", "tekton-pipelines-controller")
SHELL_IMAGE = "image.local/toolbox"
"""What a step with `script:` gets its script placed by; the release names a public image there."""
RESOURCES = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
BOUNDS = "default:\n  requests: {cpu: 10m, memory: 32Mi}\n  limits: {cpu: '2', memory: 512Mi}\n"
"""For containers of a run that name none themselves: Tekton's own init containers, mostly."""
INTERCEPTORS_API = "triggers.tekton.dev/v1alpha1"
INTERCEPTOR_CERTIFICATES = "tekton-triggers-core-interceptors-certs"
FLAGS = {
    "set-security-context": "true",  # Tekton's own containers fit namespaces that enforce `restricted`
    "coschedule": "disabled",  # the affinity assistant costs a pod per run; one volume on one node needs none
    "running-in-environment-with-injected-sidecars": "false",  # steps start at once when there is no sidecar
}


@dataclass(frozen=True)
class Versions:
    """As in go.mod: "v1.9.0", "v0.35.0"; "" for what is not there."""

    pipelines: str
    triggers: str

    def told(self) -> dict[str, str]:
        return {"Pipelines": self.pipelines, "Triggers": self.triggers}


def versions(world: World) -> Versions:
    go_mod = world.project / "images/tekton/go.mod"
    return Versions(module_version(go_mod, PIPELINE), module_version(go_mod, TRIGGERS))


@dataclass(frozen=True)
class TektonStep:
    """Ours; or, on a cluster of the user's, the one that is there, which is used as it is and never changed."""

    step: ManifestStep
    name: str = "tekton"
    needs: tuple[str, ...] = ("cluster", "preload")
    limit: float = 240

    def check(self, world: World) -> Verdict:
        found = theirs(world)
        if not found:
            return self._ours(world)
        flags = world.kube.get("v1", "ConfigMap", "feature-flags", constants.TEKTON) or {}
        verdict = cluster_requirements.check_installed(versions(world).told(), found.told(), at(flags, "data") or {})
        return _proved(world, found, " of the cluster") if isinstance(verdict, Ready) else verdict

    def _ours(self, world: World) -> Verdict:
        verdict = self.step.check(world)
        if isinstance(verdict, Ready):
            return verdict
        found, wanted = running(world).told(), versions(world).told()
        moves = ", ".join(apply_plan.describe_versions(found, wanted))
        return cluster_requirements.refuse_older(found, wanted) or (
            Pending(f"{moves}: {verdict.why}") if moves else verdict
        )

    def plan(self, world: World) -> Plan:
        """The versions are known also when the images of the wanted one are not built yet."""
        if theirs(world):
            return Plan(self.name)
        found, wanted = running(world).told(), versions(world).told()
        older = cluster_requirements.refuse_older(found, wanted)
        moves = apply_plan.describe_versions(found, wanted)
        told = Plan(self.name, versions=moves, refusals=(older,) if older else (), there=bool(moves))
        if older:
            return told
        try:
            return replace(self.step.plan(world), versions=moves)
        except BootstrapError as error:
            return replace(told, unknown=error.message)

    def keys(self, world: World) -> list[Key]:
        return self.step.keys(world)

    def apply(self, world: World) -> None:
        """Raises StepError when what runs is newer than what is wanted."""
        if theirs(world):
            return
        older = cluster_requirements.refuse_older(running(world).told(), versions(world).told())
        if older:
            raise StepError(older.why, hint=older.hint)
        self.step.apply(world)

    def undo(self, world: World) -> None:
        if not theirs(world):
            self.step.undo(world)


def tekton() -> TektonStep:
    return TektonStep(ManifestStep("tekton", objects, prove=lambda world: _proved(world, versions(world))))


def theirs(world: World) -> Versions | None:
    """The versions of a Tekton that somebody else installed. In a cluster of our own there is none: nobody is asked."""
    if not world.config.context:
        return None
    there = _informed(world)
    if all(each is None or is_ours(each) for each in there):
        return None
    return _said(there)


def running(world: World) -> Versions:
    """What is in the cluster, whoever installed it."""
    return _said(_informed(world))


def _informed(world: World) -> list[Object | None]:
    """The ConfigMaps in which a release says its version."""
    return [world.kube.get("v1", "ConfigMap", name, constants.TEKTON) for name in ("pipelines-info", "triggers-info")]


def _said(there: Iterable[Object | None]) -> Versions:
    return Versions(*(str(at(each or {}, "data", "version") or "") for each in there))


def _proved(world: World, found: Versions, whose: str = "") -> Verdict:
    verdict = admits(world)
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"Pipelines {found.pipelines[1:]}, Triggers {found.triggers[1:]}{whose}, dry runs accepted")


def objects(world: World) -> list[Object]:
    """The release's objects as we apply them."""
    found = versions(world)
    wanted = [each for each in world.images.tekton() if each["kind"] != "HorizontalPodAutoscaler"]
    wanted = [each for each in wanted if not is_dashboard(each)]
    for each in wanted:
        _set_version(each, found)
    spaces = [each["metadata"]["name"] for each in wanted if each["kind"] == "Namespace"]
    return render(world.images.lock(), wanted, pull_secrets(world, spaces), patches=patches(found, authorities(world)))


def patches(found: Versions, ca: str) -> list[Patch]:
    """What is changed in the release. An autoscaler is left out beside: it needs a metrics server."""
    flags = [Patch(Select("ConfigMap", "feature-flags"), put("data", key, value=value)) for key, value in FLAGS.items()]
    return [
        *shell_images(),
        Patch(CONTROLLER, _more_requests),
        *flags,
        Patch(
            Select("ConfigMap", "config-defaults"), put("data", "default-container-resource-requirements", value=BOUNDS)
        ),
        Patch(Select("ConfigMap", "config-registry-cert"), put("data", "cert", value=ca)),
        Patch(Select("ConfigMap", "pipelines-info"), put("data", "version", value=found.pipelines)),
        Patch(Select("ConfigMap", "triggers-info"), put("data", "version", value=found.triggers)),
        Patch(Select("Deployment"), _bounded),
        Patch(Select("Deployment"), _probed_often),
    ]


def shell_images() -> list[Patch]:
    """The release names public images there, by fixed digests."""
    return [
        Patch(CONTROLLER, _argument("-shell-image", SHELL_IMAGE)),
        Patch(CONTROLLER, _argument("-shell-image-win", SHELL_IMAGE)),  # never pulled; but every image is in the lock
    ]


def _argument(flag: str, value: str) -> Callable[[Object], None]:
    def edit(deployment: Object) -> None:
        arguments = _container(deployment)["args"]
        if flag not in arguments:
            raise LookupError(f"no argument {flag}")
        arguments[arguments.index(flag) + 1] = value

    return edit


def _more_requests(deployment: Object) -> None:
    """The controller's client is held at 5 requests a second by default, which a single run already meets."""
    _container(deployment)["args"] += ["-kube-api-qps", "50", "-kube-api-burst", "100"]


def _bounded(deployment: Object) -> None:
    _container(deployment)["resources"] = RESOURCES


def _probed_often(deployment: Object) -> None:
    """The release looks every 10 seconds at first after 5, which makes up half of the time that Tekton takes to start.

    It still takes half a minute of failures until a pod is passed over.
    """
    probe = _container(deployment).get("readinessProbe")
    if probe:
        probe |= {"initialDelaySeconds": 0, "periodSeconds": 2, "failureThreshold": 15}


def _container(deployment: Object) -> Any:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def _set_version(obj: Object, found: Versions) -> None:
    """The module's YAML says "devel" where a release says its version; other tools read it from there."""
    template = (obj.get("spec") or {}).get("template") or {}
    for labels in (obj["metadata"].get("labels") or {}, (template.get("metadata") or {}).get("labels") or {}):
        for key, value in labels.items():
            if value == "devel":
                triggers = "triggers" in str(labels.get("app.kubernetes.io/part-of", ""))
                labels[key] = found.triggers if triggers else found.pipelines


def certify_interceptors(world: World) -> None:
    """Put the authority of Triggers' own interceptors into their objects, where a listener looks for it.

    Their program does that itself, but when Tekton's webhook does not answer yet, it is a minute before it tries
    again; meanwhile no listener starts (Triggers v0.35, pkg/adapter and pkg/interceptors/server).
    """
    secret = world.kube.get("v1", "Secret", INTERCEPTOR_CERTIFICATES, constants.TEKTON) or {}
    authority = at(secret, "data", "ca-cert.pem")
    if not authority:
        return  # the program has not started: by then the webhook answers
    for each in world.kube.list(INTERCEPTORS_API, "ClusterInterceptor", labels="server/type=https"):
        if is_ours(each) and not at(each, "spec", "clientConfig", "caBundle"):
            patch = {"spec": {"clientConfig": {"caBundle": authority}}}
            world.kube.patch(INTERCEPTORS_API, "ClusterInterceptor", each["metadata"]["name"], patch=patch)


def admits(world: World) -> Verdict:
    """Ready when server-side dry runs of the kinds that we create pass Tekton's webhooks."""
    for probe in PROBES:
        try:
            world.kube.create(probe, dry_run=True)
        except ApiError as error:
            return Pending(f"{probe['kind']} is not admitted yet: {error.message}")
    return Ready("dry runs accepted")


PROBES: tuple[Object, ...] = (
    {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "probe", "namespace": constants.TEKTON},
        "spec": {"taskSpec": {"steps": [{"name": "none", "image": "none.invalid/none", "command": ["none"]}]}},
    },
    {
        "apiVersion": "triggers.tekton.dev/v1beta1",
        "kind": "EventListener",
        "metadata": {"name": "probe", "namespace": constants.TEKTON},
        "spec": {"serviceAccountName": "none", "triggers": [{"name": "none", "template": {"ref": "none"}}]},
    },
)
