"""Applications in the console's watch cache, from a real API server: one without the kind, and then with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from bootstrap.console.views.applications import list_applications
from bootstrap.console.watch_cache import WatchCache
from bootstrap.core import constants
from bootstrap.core.clock import SystemClock
from bootstrap.core.model import Object, Pending, Ready
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.world.kube.client import Kube
from tests.integration.conftest import find_binary
from tests.integration.control_plane import CONTEXT, control_plane
from tests.integration.patience import LIMIT, await_kind

pytestmark = pytest.mark.integration


def make_kind(kind: str) -> Object:
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.tekton.dev"},
        "spec": {
            "group": "tekton.dev",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def wait(what: str, true: Callable[[], object]) -> None:
    """The watch of a kind that is not known is tried again every five seconds."""
    until(lambda: Ready() if true() else Pending(what), clock=SystemClock(), limit=LIMIT, every=0.05, what=what)


def test_applications_come_once_the_kind_is_there_and_until_then_nothing_is_wrong(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with control_plane(tmp_path_factory.mktemp("plane"), find_binary("etcd"), find_binary("kube")) as plane:
        kube = Kube(plane.kubeconfig, CONTEXT)
        namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": constants.RUNS}}
        kube.apply([namespace, make_kind("PipelineRun"), make_kind("TaskRun")])
        for kind in ("PipelineRun", "TaskRun"):
            await_kind(kube, "tekton.dev/v1", kind)
        cache = WatchCache(lambda: kube, lambda: kube, "demo", "go-echo")
        cache.start()
        try:
            kinds = {"Application", "PipelineRun", "TaskRun", "Deployment", "ReplicaSet", "Pod"}
            wait("every watch", lambda: kinds <= cache.seen)
            assert (cache.lost, cache.list_applications()) == ("", [])
            kube.apply([yaml.safe_load((PROJECT / "manifests/manager/application-crd.yaml").read_text())])
            await_kind(kube, API_VERSION, KIND)
            kube.apply(
                [{"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "orders", "namespace": constants.RUNS}}]
            )
            wait("the application", cache.list_applications)
            [row] = list_applications(cache.list_applications(), [])
            assert (row["app"], row["namespace"], row["state"]) == ("orders", "orders", "new")
            kube.delete(API_VERSION, KIND, "orders", constants.RUNS)
            wait("its end", lambda: not cache.list_applications())
            assert cache.lost == ""
        finally:
            cache.close()
