"""A cluster that is treated as if it were far away: pods pull from a registry with TLS and a password.

Of the cluster only what its administrator would do is done by the test: its nodes are told which authority vouches for
that registry. Of the environment nothing is on this machine but its folder.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Secret, Verdict
from bootstrap.core.wait import until
from bootstrap.objects.readiness import judge_all
from bootstrap.steps.registry import make_tar
from bootstrap.world.environment_store import Identity
from bootstrap.world.kube.client import Kube
from tests.e2e.docker_client import docker, inspect
from tests.e2e.mirrored import FOLDER, Filled
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
USER, PASSWORD = "puller", "a password of the registry's"
PORT = 5000
OURS = ("tekton-", "toolbox", "buildkit", "git-server", "go-echo", "manager")
"""Of the images those that pods of ours run; the others are the cluster's own."""
VOLATILE = {"Event", "Lease", "EndpointSlice", "Endpoints", "Node", "ComponentStatus", "CSINode", "PodMetrics"}
"""Kinds whose objects come, go and change in a cluster that nobody touches."""


class Far:
    """The cluster, the registry that it reaches, and commands on an environment in it."""

    def __init__(self, product: Product, name: str, filled: Filled) -> None:
        self.name = name
        self.box = f"{name}-registry"
        self.environment = f"{product.name}-there"
        self.context = constants.context(self.name)
        self.kube = Kube(product.kubeconfig, self.context)
        self.world = product.world()
        self.ca = Path()
        self.registry = ""
        self.before: dict[str, Any] = {}
        self._product, self._filled = product, filled

    @property
    def there(self) -> dict[str, str]:
        return {
            "INVOKE_CONTEXT": self.context,
            "INVOKE_SUPPLY": "mirror",
            "INVOKE_NOTIFY_KIND": "none",
            "INVOKE_NOTIFY_URL": "",
            "DOCKER_HOST": "tcp://127.0.0.1:9",  # no engine answers, and none is needed
            "INVOKE_MIRROR_REGISTRY": self.registry,
            "INVOKE_MIRROR_FOLDER": FOLDER,
            "INVOKE_MIRROR_USERNAME": USER,
            "INVOKE_MIRROR_PASSWORD": PASSWORD,
            "INVOKE_MIRROR_CA_FILE": str(self.ca),
        }

    def run(self, verb: str, *words: str, code: int = 0, **more: str) -> str:
        return self._product.run(verb, *words, name=self.environment, env=self.there | more, code=code).text

    def serve(self) -> None:
        """What the mirror keeps, by a registry on the cluster's network that is reached by its address there."""
        engine, box = self.world.engine, self.box
        identity = Identity(self._product.folder / "registry", "far")
        first = ipaddress.ip_address(self._address(constants.control_plane(self.name)))
        likely = [str(first + further) for further in range(1, 9)]  # an address is given only when it starts
        pair = identity.ensure_certificate("registry", likely)
        login = identity.ensure_htpasswd(USER, Secret(PASSWORD))
        files = {"htpasswd": login, "tls.crt": pair.certificate, "tls.key": pair.key}
        image, kept = self.world.images.read_lock().registry_image, f"{self._filled.data}:/var/lib/registry"
        docker(self.world, "create", f"--name={box}", f"--network={self.name}", f"--volume={kept}", image)
        engine.copy_into(box, "/etc", make_tar("registry", files))
        engine.start_containers(box)
        address = self._address(box)
        assert address in likely
        self.registry, self.ca = f"{address}:{PORT}", identity.ca_file

    def _address(self, container: str) -> str:
        document = inspect(self.world, "container", container)
        assert document
        return str(document["NetworkSettings"]["Networks"][self.name]["IPAddress"])

    def admit(self) -> None:
        """As an administrator would: the node is told who vouches for the registry, and no password."""
        hosts = f'[host."https://{self.registry}"]\n  ca = "/etc/containerd/certs.d/{self.registry}/ca.crt"\n'
        files = {"hosts.toml": hosts.encode(), "ca.crt": self.ca.read_bytes()}
        archive = make_tar(self.registry, files, mode=0o644)
        self.world.engine.copy_into(constants.control_plane(self.name), "/etc/containerd/certs.d", archive)

    def rest(self) -> None:
        """Wait until the cluster's own programs run: a pod that is not on its node yet still changes."""

        def ready() -> Verdict:
            return judge_all([each for kind in ("Deployment", "DaemonSet") for each in self.kube.list("apps/v1", kind)])

        assert isinstance(until(ready, clock=self.world.clock, limit=120, what="the cluster's own programs"), Ready)

    def objects(self) -> dict[str, Any]:
        """Everything in the cluster that stands still by itself: kind, namespace, name -> what it says."""
        found: dict[str, Any] = {}
        groups = self._read("/apis").get("groups", [])
        for root in ["/api/v1", *(f"/apis/{each['preferredVersion']['groupVersion']}" for each in groups)]:
            for resource in self._read(root).get("resources", []):
                if "/" in resource["name"] or "list" not in resource["verbs"] or resource["kind"] in VOLATILE:
                    continue
                for each in self._read(f"{root}/{resource['name']}").get("items", []):
                    meta = each["metadata"]
                    key = f"{resource['kind']} {meta.get('namespace', '')}/{meta['name']}"
                    told = {name: meta[name] for name in ("labels", "annotations") if name in meta}
                    found[key] = told | {k: part for k, part in each.items() if k not in ("metadata", "status")}
        return found

    def _read(self, path: str) -> Any:
        """{} for what is just going: a group is listed a moment longer than it is served."""
        try:
            return self.kube._http.request_json("GET", path)
        except ApiError as error:
            if error.status == 404:
                return {}
            raise


@pytest.fixture(scope="module")
def far(product: Product, filled: Filled, foreign: str) -> Iterator[Far]:
    there = Far(product, foreign, filled)
    try:
        there.serve()
        there.admit()
        _forget_images(there)
        there.rest()
        there.before = there.objects()
        yield there
        there.run("down")
    finally:
        docker(there.world, "rm", "--force", "--volumes", there.box)


def _forget_images(far: Far) -> None:
    """The node image holds ours from the start; a cluster elsewhere has none but what it needs itself."""
    engine, node = far.world.engine, constants.control_plane(far.name)
    listed = engine.exec(node, "ctr", "--namespace=k8s.io", "images", "list", "--quiet").split()
    ours = [each for each in listed if each.startswith(tuple(f"{constants.REPOSITORY}/{name}" for name in OURS))]
    assert len(ours) > len(OURS)
    engine.exec(node, "ctr", "--namespace=k8s.io", "images", "rm", *ours)


def test_a_wrong_password_is_found_before_the_cluster_is_touched(far: Far) -> None:
    said = far.run("up", code=3, INVOKE_MIRROR_PASSWORD="not that password")
    assert "it wants a login, or another one" in said
    assert sorted(set(far.objects()) - set(far.before)) == []


def test_a_cluster_elsewhere_is_used_and_left_as_it_was(far: Far) -> None:
    said = far.run("up")
    assert f"23 images served by {far.registry}/{FOLDER}" in said
    assert "Docker" not in said
    status = json.loads(far.run("status", "--json").splitlines()[-1])
    assert {step["verdict"] for step in status["steps"]} == {"ready"}
    assert "nothing changed" in far.run("up")
    tested = far.run("test-run")
    assert f"{far.registry}/{FOLDER}/demo/go-echo@sha256:" in tested
    assert "/version answers" in tested
    pulled = {image.partition("@")[0] for image in images_of(far.kube)}
    assert all(image.startswith(f"{far.registry}/") for image in pulled)
    assert PASSWORD not in said + tested
    doctor = {each["name"]: each for each in json.loads(far.run("doctor", "--json").splitlines()[-1])}
    for hop in ("here -> registry", "pods pull", "pod -> API server", "pod -> registry", "BuildKit -> registry"):
        assert doctor[hop]["level"] == "ok", doctor[hop]
    assert "engine" not in doctor

    far.run("down")

    def same() -> Verdict:
        now = far.objects()
        extra = sorted(set(now) - set(far.before))
        return Pending(f"left: {extra[:5]}") if extra else Ready()

    assert isinstance(until(same, clock=far.world.clock, limit=120, what="what was made to go"), Ready)
    after = far.objects()
    assert sorted(set(far.before) - set(after)) == []
    changed = [key for key, spec in far.before.items() if after[key] != spec]
    assert changed == []


def images_of(kube: Kube) -> set[str]:
    """What pods of ours run."""
    found: set[str] = set()
    for namespace in (constants.RUNS, constants.BUILD, constants.GIT, constants.DEMO, constants.TEKTON):
        for pod in kube.list("v1", "Pod", namespace):
            specs: list[Object] = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
            found |= {each["image"] for each in specs}
    return found
