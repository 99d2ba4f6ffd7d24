"""The steps that consist of manifests and little else: the folder, what the step needs, and its limit."""

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
from bootstrap.core.errors import ApiError, PreconditionError
from bootstrap.core.model import Failed, Object, Pending, Ready, Verdict
from bootstrap.incluster import token_claims
from bootstrap.objects import proxy_env
from bootstrap.objects.apply_plan import Plan
from bootstrap.objects.patches import Patch, Select, get_at, put
from bootstrap.objects.readiness import at, judge, label
from bootstrap.settings import registry_endpoint
from bootstrap.steps.credentials import ensure_server_certificate, make_pull_secrets
from bootstrap.steps.manifest_step import Keep, Key, ManifestStep, render
from bootstrap.steps.trusted_cas import read_trusted_cas
from bootstrap.world import World, probe

OK = 200
HOURLY_FROM = 4
"""Hours of a token's life from which a look an hour renews it in time."""
APP = f"demo/{constants.DEMO_APP}"
DEMO_IMAGE = ("spec", "template", "spec", "containers", constants.DEMO_APP, "image")
CA_CERTIFICATES = "/etc/buildkit/trust/ca.crt"
TRUSTING = ("spec", "template", "metadata", "annotations", "tekton-bootstrap.dev/trusts")
"""BuildKit reads CAs and its own certificate when it starts, so other ones need a new pod."""
WEBHOOK_URL = ("spec", "template", "spec", "containers", "git-server", "env", "WEBHOOK_URL", "value")
KEPT_HIDDEN = frozenset({".dockerignore", ".gitignore"})
LEFT_OVER = ("~", ".swp", ".orig", ".rej", ".test", ".out")
"""How names of files end that editors, patch and Go's tests leave behind."""
MAX_SEED_BYTES = 700 << 10
"""Of the packed sources of the demo: in base64 they have to fit into the MiB of an object."""


def make_namespaces_step() -> ManifestStep:
    """The step `namespaces`, the first that changes the cluster.

    It needs `preload`, so that a registry that refuses us or lacks an image is found before.
    """
    return ManifestStep("namespaces", lambda world: _render_folder(world, "namespaces"), needs=("preload",), limit=30)


def make_builder_step(world: World) -> ManifestStep:
    """The step `builder`: BuildKit, with its limits, its trusted certificates and the proxy of the settings."""
    settings = world.config.pipeline
    keep = settings.cache_gigabytes * 1000
    buildkitd = Select("Deployment", "buildkitd")
    configuration = registry_endpoint.render_buildkit_config(
        registry_endpoint.choose_endpoint(world.config), CA_CERTIFICATES, settings.builder_parallelism
    )
    limit = ("spec", "template", "spec", "containers", "buildkitd", "resources", "limits", "memory")
    patches = [
        Patch(Select("ConfigMap", "buildkitd"), put("data", "buildkitd.toml", value=configuration)),
        Patch(buildkitd, functools.partial(_set_cache_limit, megabytes=keep)),
        Patch(buildkitd, put(*limit, value=f"{settings.builder_gigabytes}Gi")),
        *proxy_env.make_patches(world.config.proxy, buildkitd),
    ]

    def objects(world: World) -> list[Object]:
        certificate = ensure_server_certificate(world).certificate.decode()
        reads = _compute_short_digest(read_trusted_cas(world) + certificate + configuration)
        return _render_folder(world, "builder", [*patches, Patch(buildkitd, put(*TRUSTING, value=reads))])

    return ManifestStep(
        "builder",
        objects,
        needs=("credentials", "preload"),
        limit=180,
        prove=_describe_builder,
        at_rest=functools.partial(_judge_use_by_runs, task="build-image"),
    )


def _describe_builder(world: World) -> Verdict:
    """Ready; it tells if the kernel has ended BuildKit for its memory, and with it every build of that moment."""
    for pod in world.kube.list("v1", "Pod", constants.BUILD, labels="app.kubernetes.io/name=buildkitd"):
        for container in at(pod, "status", "containerStatuses") or ():
            ended = at(container, "lastState", "terminated") or {}
            if ended.get("reason") == "OOMKilled":
                memory = world.config.pipeline.builder_gigabytes
                when = f"BuildKit was killed at {ended.get('finishedAt')}, for it took more than {memory} GiB"
                return Ready(f"{when}: pipeline.builder_gigabytes")
    return Ready()


def make_git_step() -> ManifestStep:
    """The step `git`: the git server, whose repository begins with the demo's source."""
    return ManifestStep(
        "git",
        render_git,
        needs=("credentials", "preload"),
        limit=180,
        prove=_judge_git_server,
        at_rest=functools.partial(_judge_use_by_runs, task="git-clone"),
    )


def _judge_use_by_runs(world: World, task: str) -> Verdict:
    """Ready when no run is in this task of the pipeline, which would fail if the server it talks to were restarted."""
    for each in world.kube.list("tekton.dev/v1", "TaskRun", constants.RUNS, labels=f"tekton.dev/pipelineTask={task}"):
        if not at(each, "status", "completionTime"):
            return Pending(f"{label(each)} still uses it")
    return Ready()


def _judge_git_server(world: World) -> Verdict:
    """Whether the git server answers at the address that the user pushes to; the pod is ready a moment earlier."""
    if world.config.elsewhere:
        try:
            world.kube.get_from_service(constants.GIT, "git", 80, "/healthz")
        except ApiError as error:
            return Pending(f"the git server does not answer yet: {error.message}")
        return Ready()
    port = world.engine.find_port(constants.control_plane(world.cluster), constants.GIT_NODE_PORT)
    if port and probe.read_local_status(port, "/healthz", 2) != OK:
        return Pending(f"the git server does not answer on port {port} yet")
    return Ready()


def make_pipeline_step() -> ManifestStep:
    """The step `pipeline`: the Pipeline and its Tasks."""
    return ManifestStep("pipeline", render_pipeline, needs=("tekton", "credentials"), limit=120, prove=_judge_dns)


def _judge_dns(world: World) -> Verdict:
    """Whether the cluster's DNS is ready: a run's first task looks for the git server by name.

    In a cluster of the user DNS may be called anything, so it is not checked there.
    """
    dns = None if world.config.context else world.kube.get("apps/v1", "Deployment", "coredns", "kube-system")
    verdict = judge(dns) if dns else Ready()
    return Ready() if isinstance(verdict, Ready) else verdict


def render_pipeline(world: World) -> list[Object]:
    """The objects of manifests/pipeline.

    The Task `deploy` gets no proxy: the API server of the target is reached as its kubeconfig says.
    """
    outside = [Select("Task", name) for name in ("git-clone", "build-image", "notify")]
    patches = proxy_env.make_patches(world.config.proxy, *outside)
    if world.config.target.token_hours >= HOURLY_FROM:
        hourly = put("spec", "schedule", value="37 * * * *")
        patches.append(Patch(Select("CronJob", token_claims.CRON_JOB), hourly))
    return _render_folder(world, "pipeline", patches)


def make_demo_step() -> OnTarget:
    """The step `demo`: the application, in the cluster and namespace that the pipeline deploys to."""
    image = Keep(Select("Deployment", constants.DEMO_APP), DEMO_IMAGE)
    needs = ("namespaces", "preload")
    return OnTarget(
        ManifestStep("demo", render_demo, needs=needs, limit=180, keep=(image,), judge_live=_judge_application)
    )


def _judge_application(wanted: Object, live: Object) -> Verdict:
    """As `judge`; but a version that a run has deployed and that does not serve is not the environment's fault."""
    verdict = judge(live)
    if not isinstance(verdict, Failed) or wanted["kind"] != "Deployment":
        return verdict
    if get_at(wanted, DEMO_IMAGE) == get_at(live, DEMO_IMAGE):
        return verdict
    return Ready(f"the version that was deployed does not serve ({verdict.why}): invoke runs")


@dataclass(frozen=True)
class OnTarget:
    """A manifest step whose objects live in the target cluster, see `World.target`."""

    step: ManifestStep

    @property
    def name(self) -> str:
        """That of the step."""
        return self.step.name

    @property
    def needs(self) -> tuple[str, ...]:
        """Those of the step."""
        return self.step.needs

    @property
    def limit(self) -> float:
        """That of the step, in seconds."""
        return self.step.limit

    def check(self, world: World) -> Verdict:
        """As `ManifestStep.check`, in the target cluster."""
        return self.step.check(self._get_target_world(world))

    def plan(self, world: World) -> Plan:
        """As `ManifestStep.plan`, in the target cluster."""
        return self.step.plan(self._get_target_world(world))

    def list_keys(self, world: World) -> list[Key]:
        """As `ManifestStep.list_keys`."""
        return self.step.list_keys(world)

    def apply(self, world: World) -> None:
        """As `ManifestStep.apply`, in the target cluster."""
        self.step.apply(self._get_target_world(world))

    def undo(self, world: World) -> None:
        """As `ManifestStep.undo`, in the target cluster."""
        self.step.undo(self._get_target_world(world))

    @staticmethod
    def _get_target_world(world: World) -> World:
        return world.with_kube(world.target)


def _render_folder(world: World, name: str, patches: Sequence[Patch] = ()) -> list[Object]:
    return render(world.images.read_lock(), world.project / "manifests" / name, patches=patches)


def _compute_short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _set_cache_limit(deployment: Object, *, megabytes: int) -> None:
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    flag = "--oci-worker-gc-keepstorage="
    [index] = [i for i, argument in enumerate(arguments) if argument.startswith(flag)]
    arguments[index] = f"{flag}{megabytes}"


def render_demo(world: World) -> list[Object]:
    """The application's objects: its namespace, a Secret for pulling, and its manifests, in `target.namespace`."""
    namespace, replicas = world.config.target.namespace, world.config.app.replicas
    patches = [
        Patch(Select("Deployment", constants.DEMO_APP), put("spec", "replicas", value=replicas)),
        Patch(Select(), functools.partial(_move, namespace=namespace)),
    ]
    space = [each for each in _render_folder(world, "namespaces") if each["metadata"]["name"] == constants.DEMO]
    folders = (world.project / APP / "deploy", world.project / "manifests/demo")
    login = make_pull_secrets(world, [constants.DEMO])
    return render(world.images.read_lock(), space, login, *folders, patches=patches)


def _move(obj: Object, *, namespace: str) -> None:
    """Move an object into the target's namespace; a Namespace is renamed to it."""
    obj["metadata"]["name" if obj["kind"] == "Namespace" else "namespace"] = namespace
    for subject in obj.get("subjects", ()):
        subject["namespace"] = namespace


def render_git(world: World) -> list[Object]:
    """The objects of manifests/git. The demo's source is in the ConfigMap `seed`, as a tar.gz."""
    packed = b64encode(pack_source(world.project / APP)).decode()
    patches = [Patch(Select("ConfigMap", "seed"), put("binaryData", "source.tar.gz", value=packed))]
    if world.config.git.webhook == "off":
        patches.append(Patch(Select("Deployment", "git"), put(*WEBHOOK_URL, value="")))
    return _render_folder(world, "git", patches)


def pack_source(folder: Path) -> bytes:
    """The sources below `folder` as a tar.gz; the same files give the same bytes.

    Left out is what people and their tools leave there: hidden files, editors' copies and what was built; some of it is
    secret, and a program is larger than a ConfigMap may be. Raises PreconditionError if the rest is too large as well.
    """
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", mtime=0, fileobj=buffer) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if _is_source(path, inside):
                info = tarfile.TarInfo(str(inside))
                info.size, info.mode = path.stat().st_size, 0o644
                tar.addfile(info, io.BytesIO(path.read_bytes()))
    if len(buffer.getvalue()) > MAX_SEED_BYTES:
        largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        raise PreconditionError(
            f"{folder} is larger than {MAX_SEED_BYTES >> 10} KiB packed, the most that a ConfigMap takes; "
            f"its largest file is {largest.relative_to(folder)}"
        )
    return buffer.getvalue()


def _is_source(path: Path, inside: Path) -> bool:
    hidden = any(part.startswith(".") and part not in KEPT_HIDDEN for part in inside.parts)
    if not path.is_file() or hidden or "__pycache__" in inside.parts or path.name.endswith(LEFT_OVER):
        return False
    with path.open("rb") as file:
        return file.read(4) != b"\x7fELF"
