"""What the golden and the policy tests look at: every folder of manifests, rendered with a made-up lock."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from bootstrap.core.constants import REPOSITORY
from bootstrap.core.model import Lock, LockedImage, Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import read_application
from bootstrap.manager import derived_objects
from bootstrap.objects import openshift_scc
from bootstrap.settings.config import CleanupSettings, Config, WebhookSettings
from bootstrap.steps import cleanup, listener, poller
from bootstrap.steps.manifest_step import render

NAMES = ("toolbox", "buildkit", "git-server", "go-echo", "manager")
LOCK = Lock({n: LockedImage(n, f"{REPOSITORY}/{n}", f"sha256:{i:064x}") for i, n in enumerate(NAMES, start=1)})
FOLDERS = {
    "namespaces": PROJECT / "manifests/namespaces",
    "builder": PROJECT / "manifests/builder",
    "git": PROJECT / "manifests/git",
    "manager": PROJECT / "manifests/manager",
    "demo": PROJECT / "manifests/demo",
    "go-echo": PROJECT / "demo/go-echo/deploy",
    "pipeline": PROJECT / "manifests/pipeline",
    "test": PROJECT / "manifests/test",
}
"""As they are."""
LISTENERS = {
    "listener": Config(),
    "listener-more": Config(
        webhook=WebhookSettings(
            branches=("main", "release/*", "v.1"),
            repositories=("You/My_App", "team/sub/app", "https://git.example.org:8443/a/go-echo.git"),
            debug="on",
            replicas=3,
        )
    ),
}
"""Made with settings; images/tekton/listener_test.go looks at what is expected of them."""
DEMO, PART, BY_SSH = (
    read_application(
        {
            "metadata": {"name": "orders", "uid": "00000000-0000-0000-0000-000000000000"},
            "spec": {"repository": {"url": "http://git.git.svc.cluster.local/go-echo.git"}, **more},
        },
        "registry.tekton.internal:5000",
    )
    for more in (
        {},
        {"paths": ["services/orders/**", "libs/common", "**/*.proto"]},
        {"repository": {"url": "git@git.git.svc.cluster.local:go-echo.git", "login": "orders-git"}},
    )
)
"""Applications that have the demo's repository, the whole of it, parts, and by ssh; their Triggers are what
images/tekton/listener_test.go sends events to.
"""
MADE = {
    "application": derived_objects.make_triggers(DEMO, "cicd"),
    "application-paths": derived_objects.make_triggers(PART, "cicd"),
    "application-ssh": derived_objects.make_triggers(BY_SSH, "cicd"),
    "poller": poller.render_objects(LOCK, PROJECT, Config()),
    "cleanup": cleanup.render_objects(LOCK, PROJECT, Config()),
    "cleanup-archive": cleanup.render_objects(LOCK, PROJECT, Config(cleanup=CleanupSettings(archive="on", hours=0))),
}
PARTS = (*FOLDERS, *LISTENERS, *MADE)
OPENSHIFT = "openshift"
"""What is further, or other, on a cluster that is OpenShift."""


def rendered(name: str) -> list[Object]:
    if name in LISTENERS:
        return listener.render_objects(LOCK, PROJECT, LISTENERS[name])
    return MADE[name] if name in MADE else render(LOCK, FOLDERS[name])


def on_openshift() -> list[Object]:
    plain = everything()
    return [each for each in openshift_scc.adapt(deepcopy(plain)) if each not in plain]


def everything() -> list[Object]:
    return [each for name in PARTS for each in rendered(name)]


@dataclass(frozen=True)
class Container:
    """One container of a workload, or one step of a Task with the Task's stepTemplate laid below it.

    where: "Deployment git/git git-server". account: its ServiceAccount, "" for a Task.
    """

    where: str
    spec: dict[str, Any]
    pod: dict[str, Any]
    namespace: str

    @property
    def security(self) -> dict[str, Any]:
        """The container's own settings over those of its pod."""
        return {**(self.pod.get("securityContext") or {}), **(self.spec.get("securityContext") or {})}

    @property
    def resources(self) -> dict[str, Any]:
        found: dict[str, Any] = self.spec.get("resources") or self.spec.get("computeResources") or {}
        return found


def containers() -> list[Container]:
    return [each for obj in everything() for each in _of(obj)]


def workloads() -> list[Object]:
    return [each for each in everything() if _has_pods(each.get("spec") or {})]


def _has_pods(spec: dict[str, Any]) -> bool:
    """Not the template of a Trigger, which is that of a run."""
    return "spec" in spec.get("template", {})


def _of(obj: Object) -> Iterator[Container]:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    where = f"{obj['kind']} {metadata.get('namespace')}/{metadata.get('name')}"
    if obj["kind"] == "Task":
        for step in spec["steps"]:
            template = spec.get("stepTemplate", {})
            merged = {**template, **step, "env": template.get("env", []) + step.get("env", [])}
            yield Container(f"{where} {step['name']}", merged, {}, metadata["namespace"])
    elif _has_pods(spec):
        pod = spec["template"]["spec"]
        for each in [*pod.get("initContainers", []), *pod["containers"]]:
            yield Container(f"{where} {each['name']}", each, pod, metadata["namespace"])
