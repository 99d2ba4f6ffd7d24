"""Tekton Pipelines and Triggers: the release's own objects, with our few settings patched in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bootstrap import fitness, names
from bootstrap.errors import ApiError
from bootstrap.manifests import is_ours
from bootstrap.model import Object, Pending, Ready, Verdict
from bootstrap.patches import Patch, Select, put
from bootstrap.readiness import at
from bootstrap.steps.manifest import ManifestStep, render
from bootstrap.supply.golang import module_version
from bootstrap.supply.parts import PIPELINE, TRIGGERS
from bootstrap.world import World

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
            return self.step.check(world)
        flags = world.kube.get("v1", "ConfigMap", "feature-flags", names.TEKTON) or {}
        verdict = fitness.installed(versions(world).told(), found.told(), at(flags, "data") or {})
        return _proved(world, found, " of the cluster") if isinstance(verdict, Ready) else verdict

    def apply(self, world: World) -> None:
        if not theirs(world):
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
    there = [world.kube.get("v1", "ConfigMap", name, names.TEKTON) for name in ("pipelines-info", "triggers-info")]
    if all(each is None or is_ours(each) for each in there):
        return None
    return Versions(*(str(at(each or {}, "data", "version") or "") for each in there))


def _proved(world: World, found: Versions, whose: str = "") -> Verdict:
    verdict = admits(world)
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"Pipelines {found.pipelines[1:]}, Triggers {found.triggers[1:]}{whose}, dry runs accepted")


def objects(world: World) -> list[Object]:
    """The release's objects as we apply them."""
    found = versions(world)
    ca = world.identity.authority().certificate.decode()
    wanted = [each for each in world.images.tekton() if each["kind"] != "HorizontalPodAutoscaler"]
    for each in wanted:
        _set_version(each, found)
    return render(world.images.lock(), wanted, patches=patches(found, ca))


def patches(found: Versions, ca: str) -> list[Patch]:
    """What is changed in the release. An autoscaler is left out beside: it needs a metrics server."""
    controller = Select("Deployment", "tekton-pipelines-controller")
    flags = [Patch(Select("ConfigMap", "feature-flags"), put("data", key, value=value)) for key, value in FLAGS.items()]
    return [
        Patch(controller, _argument("-shell-image", SHELL_IMAGE)),
        Patch(controller, _argument("-shell-image-win", SHELL_IMAGE)),  # never pulled; but every image is in the lock
        Patch(controller, _more_requests),
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
    secret = world.kube.get("v1", "Secret", INTERCEPTOR_CERTIFICATES, names.TEKTON) or {}
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
        "metadata": {"name": "probe", "namespace": names.TEKTON},
        "spec": {"taskSpec": {"steps": [{"name": "none", "image": "none.invalid/none", "command": ["none"]}]}},
    },
    {
        "apiVersion": "triggers.tekton.dev/v1beta1",
        "kind": "EventListener",
        "metadata": {"name": "probe", "namespace": names.TEKTON},
        "spec": {"serviceAccountName": "none", "triggers": [{"name": "none", "template": {"ref": "none"}}]},
    },
)
