"""The steps that are manifests and little else: a folder, what it needs, how long it may take."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import tarfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.objects import proxy_env
from bootstrap.objects.apply_plan import Plan
from bootstrap.objects.patches import Patch, Select, put
from bootstrap.objects.readiness import at, judge, label
from bootstrap.settings import registry_endpoint
from bootstrap.steps.credentials import pull_secrets
from bootstrap.steps.manifest_step import Keep, Key, ManifestStep, render
from bootstrap.steps.trusted_cas import authorities
from bootstrap.world import World, probe

OK = 200
APP = f"demo/{constants.DEMO_APP}"
AUTHORITIES = "/etc/buildkit/trust/ca.crt"
TRUSTING = ("spec", "template", "metadata", "annotations", "tekton-bootstrap.dev/trusts")
"""BuildKit reads authorities when it starts, so other ones make another pod."""
WEBHOOK_URL = ("spec", "template", "spec", "containers", "git-server", "env", "WEBHOOK_URL", "value")


def namespaces() -> ManifestStep:
    """The first that touches the cluster: a registry that refuses us, or lacks an image, is found before."""
    return ManifestStep("namespaces", lambda world: _folder(world, "namespaces"), needs=("preload",), limit=30)


def builder(world: World) -> ManifestStep:
    keep = world.config.pipeline.cache_gigabytes * 1000
    buildkitd = Select("Deployment", "buildkitd")
    configuration = registry_endpoint.render_buildkit_config(
        registry_endpoint.choose_endpoint(world.config), AUTHORITIES
    )
    patches = [
        Patch(Select("ConfigMap", "buildkitd"), put("data", "buildkitd.toml", value=configuration)),
        Patch(buildkitd, functools.partial(_cache_limit, megabytes=keep)),
        Patch(buildkitd, put(*TRUSTING, value=_short_digest(authorities(world)))),
        *proxy_env.make_patches(world.config.proxy, buildkitd),
    ]
    return ManifestStep(
        "builder",
        lambda world: _folder(world, "builder", patches),
        needs=("credentials", "preload"),
        limit=180,
        at_rest=functools.partial(_no_run_in, task="build-image"),
    )


def git() -> ManifestStep:
    """The git server, whose repository begins with the demo's source."""
    return ManifestStep(
        "git",
        git_objects,
        needs=("credentials", "preload"),
        limit=180,
        prove=_git_answers,
        at_rest=functools.partial(_no_run_in, task="git-clone"),
    )


def _no_run_in(world: World, task: str) -> Verdict:
    """Ready when no run is in this task of the pipeline, which would fail if the server it talks to were restarted."""
    for each in world.kube.list("tekton.dev/v1", "TaskRun", constants.RUNS, labels=f"tekton.dev/pipelineTask={task}"):
        if not at(each, "status", "completionTime"):
            return Pending(f"{label(each)} still uses it")
    return Ready()


def _git_answers(world: World) -> Verdict:
    """Asked where the user will push to: that port leads to the pod a moment later than the pod is ready."""
    if world.config.elsewhere:
        try:
            world.kube.proxy_get(constants.GIT, "git", 80, "/healthz")
        except ApiError as error:
            return Pending(f"the git server does not answer yet: {error.message}")
        return Ready()
    port = world.engine.find_port(constants.control_plane(world.cluster), constants.GIT_NODE_PORT)
    if port and probe.ask_here(port, "/healthz", 2) != OK:
        return Pending(f"the git server does not answer on port {port} yet")
    return Ready()


def pipeline() -> ManifestStep:
    return ManifestStep("pipeline", pipeline_objects, needs=("tekton", "credentials"), limit=120, prove=_names_found)


def _names_found(world: World) -> Verdict:
    """A run's first task looks for the git server by name, and a busy machine may still start the DNS of a new cluster.

    That of a cluster of the user's is theirs, whatever it is called.
    """
    dns = None if world.config.context else world.kube.get("apps/v1", "Deployment", "coredns", "kube-system")
    verdict = judge(dns) if dns else Ready()
    return Ready() if isinstance(verdict, Ready) else verdict


def pipeline_objects(world: World) -> list[Object]:
    """Without `deploy`: the API server of a target is reached as its kubeconfig says."""
    outside = [Select("Task", name) for name in ("git-clone", "build-image", "notify")]
    return _folder(world, "pipeline", proxy_env.make_patches(world.config.proxy, *outside))


def demo() -> OnTarget:
    """The application, in the cluster and namespace that the pipeline deploys to."""
    image = Keep(
        Select("Deployment", constants.DEMO_APP),
        ("spec", "template", "spec", "containers", constants.DEMO_APP, "image"),
    )
    return OnTarget(ManifestStep("demo", demo_objects, needs=("namespaces", "preload"), limit=180, keep=(image,)))


@dataclass(frozen=True)
class OnTarget:
    """A step whose objects live in the target cluster; see `World.target`."""

    step: ManifestStep

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def needs(self) -> tuple[str, ...]:
        return self.step.needs

    @property
    def limit(self) -> float:
        return self.step.limit

    def check(self, world: World) -> Verdict:
        return self.step.check(self._there(world))

    def plan(self, world: World) -> Plan:
        return self.step.plan(self._there(world))

    def keys(self, world: World) -> list[Key]:
        return self.step.keys(world)

    def apply(self, world: World) -> None:
        self.step.apply(self._there(world))

    def undo(self, world: World) -> None:
        self.step.undo(self._there(world))

    @staticmethod
    def _there(world: World) -> World:
        return world.with_kube(world.target)


def _folder(world: World, name: str, patches: Sequence[Patch] = ()) -> list[Object]:
    return render(world.images.lock(), world.project / "manifests" / name, patches=patches)


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cache_limit(deployment: Object, *, megabytes: int) -> None:
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    flag = "--oci-worker-gc-keepstorage="
    [index] = [i for i, argument in enumerate(arguments) if argument.startswith(flag)]
    arguments[index] = f"{flag}{megabytes}"


def demo_objects(world: World) -> list[Object]:
    namespace, replicas = world.config.target.namespace, world.config.app.replicas
    patches = [
        Patch(Select("Deployment", constants.DEMO_APP), put("spec", "replicas", value=replicas)),
        Patch(Select(), functools.partial(_move, namespace=namespace)),
    ]
    space = [each for each in _folder(world, "namespaces") if each["metadata"]["name"] == constants.DEMO]
    folders = (world.project / APP / "deploy", world.project / "manifests/demo")
    login = pull_secrets(world, [constants.DEMO])
    return render(world.images.lock(), space, login, *folders, patches=patches)


def _move(obj: Object, *, namespace: str) -> None:
    """Into the target's namespace; a Namespace is renamed to it."""
    obj["metadata"]["name" if obj["kind"] == "Namespace" else "namespace"] = namespace
    for subject in obj.get("subjects", ()):
        subject["namespace"] = namespace


def git_objects(world: World) -> list[Object]:
    packed = b64encode(source_archive(world.project / APP)).decode()
    patches = [Patch(Select("ConfigMap", "seed"), put("binaryData", "source.tar.gz", value=packed))]
    if world.config.git.webhook == "off":
        patches.append(Patch(Select("Deployment", "git"), put(*WEBHOOK_URL, value="")))
    return _folder(world, "git", patches)


def source_archive(folder: Path) -> bytes:
    """The demo's source as a tar.gz, the same bytes for the same files."""
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", mtime=0, fileobj=buffer) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and "__pycache__" not in inside.parts:
                info = tarfile.TarInfo(str(inside))
                info.size, info.mode = path.stat().st_size, 0o644
                tar.addfile(info, io.BytesIO(path.read_bytes()))
    return buffer.getvalue()
