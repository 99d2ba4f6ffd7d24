"""The Kubernetes door and a real API server."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Ready, Secret
from bootstrap.objects import kubeconfig
from bootstrap.objects.readiness import judge
from bootstrap.world.kube.client import Kube
from bootstrap.world.kube.http import Http
from bootstrap.world.kube.objects import FIELD_MANAGER
from tests.integration.conftest import find_binary
from tests.integration.control_plane import CONTEXT, ControlPlane, control_plane
from tests.integration.patience import await_kind, await_rights

pytestmark = pytest.mark.integration


def configmap(name: str, namespace: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "x"}},
        "data": data,
    }


def deployment(name: str, namespace: str, *, replicas: int = 1) -> Object:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "registry:5000/a@sha256:" + "0" * 64}]},
            },
        },
    }


def crd(kind: str) -> Object:
    plural = kind.lower() + "s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.test.dev"},
        "spec": {
            "group": "test.dev",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [version],
        },
    }


def test_the_version(kube: Kube) -> None:
    assert kube.read_version().startswith("v")


def test_apply_makes_changes_and_owns(kube: Kube, namespace: str) -> None:
    made = kube.apply([configmap("a", namespace, x="1"), configmap("b", namespace)])
    assert [each["metadata"]["name"] for each in made] == ["a", "b"]
    assert {each["manager"] for each in made[0]["metadata"]["managedFields"]} == {FIELD_MANAGER}
    again = kube.apply([configmap("a", namespace, x="1")])
    assert again[0]["metadata"]["resourceVersion"] == made[0]["metadata"]["resourceVersion"], "nothing had changed"
    kube.apply([configmap("a", namespace, y="2")])
    found = kube.get("v1", "ConfigMap", "a", namespace)
    assert found is not None
    assert found["data"] == {"y": "2"}, "a field that is applied no longer is removed"


def test_a_field_of_another_manager_is_a_conflict_unless_forced(kube: Kube, namespace: str) -> None:
    kube.apply([deployment("web", namespace, replicas=1)])
    kube.patch("apps/v1", "Deployment", "web", namespace, patch={"spec": {"replicas": 5}})
    other = deployment("web", namespace, replicas=2)
    with pytest.raises(ApiError, match=f"Deployment {namespace}/web: Apply failed with 1 conflict") as caught:
        kube.apply([other], force=False)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert kube.apply([other])[0]["spec"]["replicas"] == 2


def test_a_dry_run_is_checked_but_not_kept(kube: Kube, namespace: str) -> None:
    made = kube.apply([configmap("dry", namespace, x="1")], dry_run=True)
    assert made[0]["data"] == {"x": "1"}
    assert kube.create(configmap("dry", namespace), dry_run=True)["metadata"]["uid"]
    assert kube.get("v1", "ConfigMap", "dry", namespace) is None
    with pytest.raises(ApiError, match="Invalid value"):
        kube.apply([configmap("Not_A_Name", namespace)], dry_run=True)


def node_port(name: str, namespace: str, port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": port}],
        },
    }


def test_a_service_is_ours_from_its_first_moment(kube: Kube, namespace: str) -> None:
    wanted = node_port("first", namespace, 30701)
    [made] = kube.apply([wanted])
    assert [(each["manager"], each["operation"]) for each in made["metadata"]["managedFields"]] == [
        (FIELD_MANAGER, "Apply")
    ]
    del wanted["spec"]["selector"]
    assert "selector" not in kube.apply([wanted])[0]["spec"], "a field that is applied no longer is removed"


def test_a_killed_apply_of_a_service_leaves_its_node_port_free(kube: Kube, namespace: str, plane: ControlPlane) -> None:
    """An API server that loses its client in the middle of an apply keeps the node port for ten minutes or so."""
    wanted = node_port("killed", namespace, 30702)
    for number in range(60):
        ready, told = os.pipe()
        child = os.fork()
        if not child:
            own = Kube(plane.kubeconfig, CONTEXT)
            own.get("v1", "Service", "killed", namespace)  # the connection, and what is known of the kind
            os.write(told, b".")
            own.apply([wanted])
            os._exit(0)
        os.read(ready, 1)
        time.sleep(0.0005 * (1 + number % 30))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for end in (ready, told):
            os.close(end)
        kube.apply([wanted])
        kube.delete("v1", "Service", "killed", namespace)


def test_create_is_refused_for_what_is_there(kube: Kube, namespace: str) -> None:
    named = {**configmap("x", namespace), "metadata": {"generateName": "x-", "namespace": namespace}}
    assert kube.create(named)["metadata"]["name"].startswith("x-")
    kube.create(configmap("once", namespace))
    with pytest.raises(ApiError, match=f"ConfigMap {namespace}/once: .* already exists") as caught:
        kube.create(configmap("once", namespace))
    assert caught.value.status == 409


def test_a_secret_that_is_refused_does_not_show_its_content(kube: Kube, namespace: str) -> None:
    wrong = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}}
    with pytest.raises(ApiError) as caught:
        kube.apply([{**wrong, "stringData": {"password": 8675309}}])
    assert "8675309" not in caught.value.message


def test_lists_of_many_pages(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kube.apply([configmap(f"c{number:02}", namespace) for number in range(30)])
    pages: list[str] = []
    ask = Http.request_json

    def counted(http: Http, method: str, path: str, **options: Any) -> Any:
        pages.append(path)
        return ask(http, method, path, **options)

    monkeypatch.setattr("bootstrap.world.kube.objects.PAGE", 7)
    monkeypatch.setattr(Http, "request_json", counted)
    found = kube.list("v1", "ConfigMap", namespace, labels="app=x")
    assert len(pages) == 5
    assert [each["metadata"]["name"] for each in found] == [f"c{number:02}" for number in range(30)]
    assert {each["kind"] for each in found} == {"ConfigMap"}
    assert kube.list("v1", "ConfigMap", namespace, labels="app=y") == []
    assert len(kube.list("v1", "ConfigMap", namespace, fields="metadata.name=c03")) == 1
    assert len(kube.list("v1", "ConfigMap", labels="app=x")) >= 30


def test_patches(kube: Kube, namespace: str) -> None:
    kube.apply([configmap("p", namespace, x="1")])
    assert kube.patch("v1", "ConfigMap", "p", namespace, patch={"data": {"y": "2"}})["data"] == {"x": "1", "y": "2"}
    operations = [{"op": "test", "path": "/data/x", "value": "1"}, {"op": "remove", "path": "/data/x"}]
    assert kube.patch("v1", "ConfigMap", "p", namespace, patch=operations)["data"] == {"y": "2"}
    with pytest.raises(ApiError):
        kube.patch("v1", "ConfigMap", "p", namespace, patch=operations)
    kube.apply([deployment("scaled", namespace)])
    kube.patch("apps/v1", "Deployment", "scaled", namespace, patch={"spec": {"replicas": 4}}, subresource="scale")
    scaled = kube.get("apps/v1", "Deployment", "scaled", namespace)
    assert scaled is not None
    assert scaled["spec"]["replicas"] == 4


def test_delete(kube: Kube, namespace: str) -> None:
    kube.apply([configmap("d", namespace)])
    assert kube.delete("v1", "ConfigMap", "d", namespace) is True
    assert kube.delete("v1", "ConfigMap", "d", namespace) is False
    assert kube.get("v1", "ConfigMap", "d", namespace) is None


def test_a_kind_that_comes_later_can_be_used(kube: Kube, namespace: str) -> None:
    listener = {
        "apiVersion": "test.dev/v1",
        "kind": "EventListener",
        "metadata": {"name": "l", "namespace": namespace},
        "spec": {"port": 80},
    }
    assert kube.get("test.dev/v1", "EventListener", "l", namespace) is None
    with pytest.raises(ApiError, match="does not know the kind EventListener"):
        kube.apply([listener])
    kube.apply([crd("EventListener"), crd("Task")])
    await_kind(kube, "test.dev/v1", "EventListener")
    [made] = kube.apply([listener])
    assert made["spec"] == {"port": 80}
    assert isinstance(judge(kube.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "tasks.test.dev")), Ready)
    assert len(kube.list("test.dev/v1", "EventListener", namespace)) == 1
    assert kube.delete("test.dev/v1", "EventListener", "l", namespace)


def test_a_watch_tells_what_is_there_and_what_happens(kube: Kube, namespace: str) -> None:
    kube.apply([configmap("w", namespace)])
    with kube.watch("v1", "ConfigMap", namespace, fields="metadata.name=w", seconds=20) as stream:
        first = next(stream)
        kube.apply([configmap("w", namespace, x="1"), configmap("unseen", namespace)])
        kube.delete("v1", "ConfigMap", "w", namespace)
        rest = list(islice(stream, 2))
    assert [kind for kind, _ in (first, *rest)] == ["ADDED", "MODIFIED", "DELETED"]
    assert rest[0][1]["data"] == {"x": "1"}


def test_a_watch_ends_in_time_and_when_it_is_closed(kube: Kube, namespace: str) -> None:
    start = time.monotonic()
    assert list(kube.watch("v1", "ConfigMap", namespace, seconds=1)) == []
    assert 0.5 < time.monotonic() - start < 3
    stream = kube.watch("v1", "ConfigMap", namespace, seconds=60)
    timer = threading.Timer(0.3, stream.close)
    timer.start()
    assert list(stream) == []
    assert time.monotonic() - start < 5
    timer.join()


DEPLOYER = Path(__file__).parents[2] / "manifests/demo/deployer.yaml"


def deployer(namespace: str) -> list[Object]:
    """The ServiceAccount that the pipeline deploys with, as it is installed, in a namespace of the test."""
    objects: list[Object] = list(yaml.safe_load_all(DEPLOYER.read_text()))
    for each in objects:
        for named in (each["metadata"], *each.get("subjects", ())):
            named["namespace"] = namespace
    return objects


def narrow_door(kube: Kube, plane: ControlPlane, namespace: str, folder: Path) -> Kube:
    """A door through a kubeconfig that `with_token` built for the deployer, once that may do its work."""
    await_rights(kube, namespace, "pipeline-deployer", deployer(namespace))
    token = kube.request_token(namespace, "pipeline-deployer", 600)
    built = kubeconfig.make_with_token(plane.server, plane.ca, token, namespace=namespace)
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(built))
    return Kube(path, "target")


def test_a_minted_kubeconfig_may_do_its_job_and_nothing_else(
    kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    kube.apply([*deployer(namespace), deployment("web", namespace)])
    door = narrow_door(kube, plane, namespace, tmp_path)
    changed = door.patch("apps/v1", "Deployment", "web", namespace, patch={"spec": {"replicas": 3}})
    assert changed["spec"]["replicas"] == 3
    assert door.list("v1", "Pod", namespace) == []
    for refused in (
        lambda: door.get("v1", "Secret", "any", namespace),
        lambda: door.list("v1", "Secret", namespace),
        lambda: door.get("apps/v1", "Deployment", "web", "default"),
        lambda: door.delete("apps/v1", "Deployment", "web", namespace),
    ):
        with pytest.raises(ApiError, match="is forbidden") as caught:
            refused()
        assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


@pytest.mark.parametrize(
    ("verb", "group", "resource", "allowed"),
    [
        ("patch", "apps", "deployments", True),
        ("patch", "apps", "deployments/scale", False),
        ("delete", "apps", "deployments", False),
        ("list", "", "pods", True),
        ("create", "", "pods/exec", False),
        ("get", "", "secrets", False),
    ],
)
def test_can_i(
    kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path, verb: str, group: str, resource: str, allowed: bool
) -> None:
    kube.apply(deployer(namespace))
    door = narrow_door(kube, plane, namespace, tmp_path)
    assert door.can_i(verb, group, resource, namespace) is allowed
    assert door.can_i(verb, group, resource, "default") is False
    assert kube.can_i(verb, group, resource, "default") is True


def test_a_token_that_is_not_accepted(plane: ControlPlane, tmp_path: Path) -> None:
    built = kubeconfig.make_with_token(plane.server, plane.ca, Secret("n0nsense"), namespace="default")
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(built))
    with pytest.raises(ApiError) as caught:
        Kube(tmp_path / "kubeconfig", "target").list("v1", "Pod", "default")
    assert caught.value.status == 401
    assert "n0nsense" not in str(caught.value)


def test_no_key_is_left_in_temporary_files(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    door = Kube(plane.kubeconfig, CONTEXT)
    assert door.read_version()
    assert list(tmp_path.iterdir()) == []
    plane.kubeconfig.touch()
    assert door.read_version(), "the file has changed: it is loaded again"
    assert list(tmp_path.iterdir()) == []


def test_a_server_of_another_ca_is_refused_quickly(plane: ControlPlane, tmp_path: Path) -> None:
    built = kubeconfig.make_with_token(plane.server, "", Secret("t"), namespace="default")
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(built))
    start = time.monotonic()
    with pytest.raises(ApiError, match="certificate or ours was not accepted"):
        Kube(tmp_path / "kubeconfig", "target").read_version()
    assert time.monotonic() - start < 3


def test_many_threads_share_one_door(plane: ControlPlane, namespace: str) -> None:
    door = Kube(plane.kubeconfig, CONTEXT)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                door.apply([configmap(f"t{number}", namespace, turn=str(turn))])
                door.list("v1", "ConfigMap", namespace)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(door.list("v1", "ConfigMap", namespace)) == 12


def test_a_server_that_dies_is_an_error_at_once_and_its_watches_end(tmp_path: Path) -> None:
    with control_plane(tmp_path, find_binary("etcd"), find_binary("kube")) as plane:
        door = Kube(plane.kubeconfig, CONTEXT)
        stream = door.watch("v1", "Namespace", seconds=60)
        next(stream)
        plane.apiserver.kill()
        plane.apiserver.wait(5)
        start = time.monotonic()
        with pytest.raises(ApiError, match=f"the API server at {plane.server} did not answer") as caught:
            door.read_version()
        assert caught.value.status == 0
        with pytest.raises(ApiError):
            list(stream)
        assert time.monotonic() - start < 15
