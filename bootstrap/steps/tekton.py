"""Tekton Pipelines and Triggers: the objects of the releases, with a few settings patched in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from bootstrap.steps.credentials import make_pull_secrets
from bootstrap.steps.manifest_step import Key, ManifestStep, render
from bootstrap.steps.trusted_cas import read_trusted_cas
from bootstrap.supply.build_catalog import PIPELINE, TRIGGERS
from bootstrap.supply.golang import read_module_version
from bootstrap.supply.tekton_releases import is_dashboard
from bootstrap.world import World

CONTROLLER = Select("Deployment", "tekton-pipelines-controller")
RESOLVERS = Select("ConfigMap", "resolvers-feature-flags")
SHELL_IMAGE = "image.local/toolbox"
"""The image that writes the `script:` of a step into its pod; the release names a public image there."""
RESOURCES = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
BOUNDS = "default:\n  requests: {cpu: 10m, memory: 32Mi}\n  limits: {cpu: '2', memory: 512Mi}\n"
"""For containers of a run that name no resources themselves: mostly Tekton's own init containers."""
INTERCEPTORS_API = "triggers.tekton.dev/v1alpha1"
INTERCEPTOR_CERTIFICATES = "tekton-triggers-core-interceptors-certs"
FLAGS = {
    "set-security-context": "true",  # Tekton's own containers fit namespaces that enforce `restricted`
    "coschedule": "disabled",  # the affinity assistant costs a pod per run; one volume on one node needs none
    "running-in-environment-with-injected-sidecars": "false",  # steps start at once when there is no sidecar
}


@dataclass(frozen=True)
class Versions:
    """Versions of Tekton as in go.mod: "v1.9.0", "v0.35.0"; "" for what is not installed."""

    pipelines: str
    triggers: str

    def to_mapping(self) -> dict[str, str]:
        """By the names that users read: "Pipelines", "Triggers"."""
        return {"Pipelines": self.pipelines, "Triggers": self.triggers}


def read_versions(world: World) -> Versions:
    """The versions that this checkout installs, from images/tekton/go.mod. Raises KeyError."""
    go_mod = world.project / "images/tekton/go.mod"
    return Versions(read_module_version(go_mod, PIPELINE), read_module_version(go_mod, TRIGGERS))


@dataclass(frozen=True)
class TektonStep:
    """Tekton. In a cluster of the user that has one already, that one is used as it is and never changed."""

    step: ManifestStep
    name: str = "tekton"
    needs: tuple[str, ...] = ("cluster", "preload")
    limit: float = 240

    def check(self, world: World) -> Verdict:
        """Ready when Tekton works in the wanted version; with one that others installed, when its version and flags
        fit.
        """
        found = find_foreign_versions(world)
        if not found:
            return self._check_ours(world)
        flags = world.kube.get("v1", "ConfigMap", "feature-flags", constants.TEKTON) or {}
        verdict = cluster_requirements.check_installed(
            read_versions(world).to_mapping(), found.to_mapping(), at(flags, "data") or {}
        )
        return _prove(world, found, " of the cluster") if isinstance(verdict, Ready) else verdict

    def _check_ours(self, world: World) -> Verdict:
        verdict = self.step.check(world)
        if isinstance(verdict, Ready):
            return verdict
        found, wanted = read_installed_versions(world).to_mapping(), read_versions(world).to_mapping()
        moves = ", ".join(apply_plan.describe_versions(found, wanted))
        return cluster_requirements.refuse_older(found, wanted) or (
            Pending(f"{moves}: {verdict.why}") if moves else verdict
        )

    def plan(self, world: World) -> Plan:
        """What `apply` would do. The versions are known even if the images of the wanted version are not built yet."""
        if find_foreign_versions(world):
            return Plan(self.name)
        found, wanted = read_installed_versions(world).to_mapping(), read_versions(world).to_mapping()
        older = cluster_requirements.refuse_older(found, wanted)
        moves = apply_plan.describe_versions(found, wanted)
        told = Plan(self.name, versions=moves, refusals=(older,) if older else (), there=bool(moves))
        if older:
            return told
        try:
            return replace(self.step.plan(world), versions=moves)
        except BootstrapError as error:
            return replace(told, unknown=error.message)

    def list_keys(self, world: World) -> list[Key]:
        """As `ManifestStep.list_keys`."""
        return self.step.list_keys(world)

    def apply(self, world: World) -> None:
        """Apply our Tekton, unless others installed one.

        Raises StepError if the installed version is newer than the wanted one.
        """
        if find_foreign_versions(world):
            return
        older = cluster_requirements.refuse_older(
            read_installed_versions(world).to_mapping(), read_versions(world).to_mapping()
        )
        if older:
            raise StepError(older.why, hint=older.hint)
        self.step.apply(world)

    def undo(self, world: World) -> None:
        """Delete Tekton, unless others installed it."""
        if not find_foreign_versions(world):
            self.step.undo(world)


def make_tekton_step() -> TektonStep:
    """The step `tekton`."""
    return TektonStep(ManifestStep("tekton", render_objects, prove=lambda world: _prove(world, read_versions(world))))


def find_foreign_versions(world: World) -> Versions | None:
    """The versions of a Tekton that somebody else installed, None if there is none.

    A cluster of our own has none, so it is not asked.
    """
    if not world.config.context:
        return None
    there = _read_info(world)
    if all(each is None or is_ours(each) for each in there):
        return None
    return _parse_info(there)


def read_installed_versions(world: World) -> Versions:
    """The versions that the cluster has, whoever installed them."""
    return _parse_info(_read_info(world))


def _read_info(world: World) -> list[Object | None]:
    """The ConfigMaps in which a release says its version."""
    return [world.kube.get("v1", "ConfigMap", name, constants.TEKTON) for name in ("pipelines-info", "triggers-info")]


def _parse_info(there: Iterable[Object | None]) -> Versions:
    return Versions(*(str(at(each or {}, "data", "version") or "") for each in there))


def _prove(world: World, found: Versions, whose: str = "") -> Verdict:
    verdict = judge_admission(world)
    if not isinstance(verdict, Ready):
        return verdict
    return Ready(f"Pipelines {found.pipelines[1:]}, Triggers {found.triggers[1:]}{whose}, dry runs accepted")


def render_objects(world: World) -> list[Object]:
    """The objects of the releases as they are applied. Raises what `manifest_step.render` raises.

    Autoscalers are left out, because they need a metrics server.
    """
    found = read_versions(world)
    wanted = [each for each in world.images.list_tekton_objects() if each["kind"] != "HorizontalPodAutoscaler"]
    wanted = [each for each in wanted if not is_dashboard(each)]
    for each in wanted:
        _set_version(each, found)
    spaces = [each["metadata"]["name"] for each in wanted if each["kind"] == "Namespace"]
    return render(
        world.images.read_lock(),
        wanted,
        make_pull_secrets(world, spaces),
        patches=make_patches(found, read_trusted_cas(world), world.config.tekton.resolvers),
    )


def make_patches(found: Versions, ca: str, resolvers: Sequence[str] = ()) -> list[Patch]:
    """What is changed in the releases. found: the versions that the objects are to name. ca: certificates in PEM.

    resolvers: names of the remote resolvers that answer.
    """
    flags = [Patch(Select("ConfigMap", "feature-flags"), put("data", key, value=value)) for key, value in FLAGS.items()]
    answering = [
        Patch(RESOLVERS, put("data", f"enable-{name}-resolver", value="true" if name in resolvers else "false"))
        for name in ("bundles", "cluster", "git", "http", "hub")
    ]
    return [
        *make_shell_image_patches(),
        *answering,
        Patch(CONTROLLER, _raise_request_limit),
        *flags,
        Patch(
            Select("ConfigMap", "config-defaults"), put("data", "default-container-resource-requirements", value=BOUNDS)
        ),
        Patch(Select("ConfigMap", "config-registry-cert"), put("data", "cert", value=ca)),
        Patch(Select("ConfigMap", "pipelines-info"), put("data", "version", value=found.pipelines)),
        Patch(Select("ConfigMap", "triggers-info"), put("data", "version", value=found.triggers)),
        Patch(Select("Deployment"), _set_resources),
        Patch(Select("Deployment"), _shorten_probes),
    ]


def make_shell_image_patches() -> list[Patch]:
    """Patches that replace the public images which the release names by fixed digests in the controller's arguments."""
    return [
        Patch(CONTROLLER, _set_argument("-shell-image", SHELL_IMAGE)),
        Patch(
            CONTROLLER, _set_argument("-shell-image-win", SHELL_IMAGE)
        ),  # never pulled; but every image is in the lock
    ]


def _set_argument(flag: str, value: str) -> Callable[[Object], None]:
    def edit(deployment: Object) -> None:
        arguments = _get_container(deployment)["args"]
        if flag not in arguments:
            raise LookupError(f"no argument {flag}")
        arguments[arguments.index(flag) + 1] = value

    return edit


def _raise_request_limit(deployment: Object) -> None:
    """Set the limits of the controller's client: by default 5 requests a second, which a single run already reaches."""
    _get_container(deployment)["args"] += ["-kube-api-qps", "50", "-kube-api-burst", "100"]


def _set_resources(deployment: Object) -> None:
    _get_container(deployment)["resources"] = RESOURCES


def _shorten_probes(deployment: Object) -> None:
    """Let the readiness probe start at once and come every 2 s.

    The release's first probe comes after 5 s and the next ones every 10 s, which is half of the time that Tekton takes
    to start. It still takes half a minute of failures until a pod counts as not ready.
    """
    probe = _get_container(deployment).get("readinessProbe")
    if probe:
        probe |= {"initialDelaySeconds": 0, "periodSeconds": 2, "failureThreshold": 15}


def _get_container(deployment: Object) -> Any:
    return deployment["spec"]["template"]["spec"]["containers"][0]


def _set_version(obj: Object, found: Versions) -> None:
    """Write the version where the module's YAML has "devel" and a release its version; other tools read it there."""
    template = (obj.get("spec") or {}).get("template") or {}
    for labels in (obj["metadata"].get("labels") or {}, (template.get("metadata") or {}).get("labels") or {}):
        for key, value in labels.items():
            if value == "devel":
                triggers = "triggers" in str(labels.get("app.kubernetes.io/part-of", ""))
                labels[key] = found.triggers if triggers else found.pipelines


def certify_interceptors(world: World) -> None:
    """Write the CA of Triggers' own interceptors into their objects, where a listener looks for it. Raises ApiError.

    Their program does that itself; but when Tekton's webhook does not answer yet, it tries again only after a minute,
    and until then no listener starts (Triggers v0.35, pkg/adapter and pkg/interceptors/server).
    """
    secret = world.kube.get("v1", "Secret", INTERCEPTOR_CERTIFICATES, constants.TEKTON) or {}
    authority = at(secret, "data", "ca-cert.pem")
    if not authority:
        return  # the program has not started: by then the webhook answers
    for each in world.kube.list(INTERCEPTORS_API, "ClusterInterceptor", labels="server/type=https"):
        if is_ours(each) and not at(each, "spec", "clientConfig", "caBundle"):
            patch = {"spec": {"clientConfig": {"caBundle": authority}}}
            world.kube.patch(INTERCEPTORS_API, "ClusterInterceptor", each["metadata"]["name"], patch=patch)


def judge_admission(world: World) -> Verdict:
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
