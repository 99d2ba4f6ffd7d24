"""A cluster that somebody else made, with kind and on a network of its own: used, and left as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from bootstrap import kindconfig, manifests, names
from bootstrap.errors import ApiError
from bootstrap.model import Object, Pending, Ready, Verdict
from bootstrap.readiness import readiness_all
from bootstrap.steps import tekton
from bootstrap.steps.cluster import CERTS, CGROUP_V2
from bootstrap.wait import until
from bootstrap.world import World
from bootstrap.world.kube import Kube
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
ONE_NODE = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n"
CRD = "apiextensions.k8s.io/v1", "CustomResourceDefinition"


class Theirs:
    """The cluster, and commands on an environment in it."""

    def __init__(self, product: Product) -> None:
        self.name = f"{product.name}-theirs"
        self.environment = f"{product.name}-in"
        self.context = names.context(self.name)
        self.kube = Kube(product.kubeconfig, self.context)
        self._product = product
        self._there = {"INVOKE_CONTEXT": self.context}

    def run(self, verb: str, *words: str, code: int = 0) -> str:
        return self._product.run(verb, *words, name=self.environment, env=self._there, code=code).text

    def world(self) -> World:
        """Of an environment of another name: only its objects are wanted."""
        return self._product.world(self.environment)

    def step(self, name: str) -> str:
        """The why of a step, which must be ready."""
        answer = self._product.run("status", "--json", name=self.environment, env=self._there)
        [found] = [each for each in json.loads(answer.last)["steps"] if each["name"] == name]
        assert found["verdict"] == "ready"
        return str(found["why"])

    def holds(self) -> dict[str, set[str]]:
        """Names of what an environment would leave traces in."""
        kinds = [("v1", "Namespace"), CRD, ("rbac.authorization.k8s.io/v1", "ClusterRole")]
        return {kind: {each["metadata"]["name"] for each in self.kube.list(api, kind)} for api, kind in kinds}


@pytest.fixture(scope="module")
def theirs(product: Product) -> Iterator[Theirs]:
    there, world = Theirs(product), product.world()
    world.engine.ensure(lambda _: None)
    node_image = world.images.lock().node_image
    config = kindconfig.render(
        kindconfig.parse(ONE_NODE),
        name=there.name,
        node_image=node_image,
        api_port=0,
        fail_cgroup_v1=CGROUP_V2.exists(),
    )
    environ = world.engine.environ() | {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": there.name,
        "KUBECONFIG": str(product.kubeconfig),
    }

    def kind(*words: str, stdin: str | None = None) -> None:
        program = str(world.images.tool("kind"))
        world.shell.run([program, *words, f"--name={there.name}"], env=environ, stdin=stdin, limit=300)

    try:
        kind("create", "cluster", f"--image={node_image}", "--config=-", "--wait=120s", stdin=yaml.safe_dump(config))
        yield there
    finally:
        product.run("down", name=there.environment, env={"INVOKE_CONTEXT": there.context}, code=0)
        world.engine.ensure(lambda _: None)
        kind("delete", "cluster")
        world.engine.docker("network", "rm", there.name)
        world.engine.stop_if_idle()


def test_down_leaves_a_cluster_as_it_was(product: Product, theirs: Theirs) -> None:
    before = theirs.holds()
    theirs.run("up")
    assert theirs.step("cluster") == f"{theirs.context}, Kubernetes 1.36.3"
    theirs.run("down")
    world = theirs.world()
    world.engine.ensure(lambda _: None)

    def gone() -> Verdict:
        extra = {kind: names_ - before[kind] for kind, names_ in theirs.holds().items()}
        return Pending(f"left: {extra}") if any(extra.values()) else Ready()

    assert isinstance(until(gone, clock=world.clock, limit=120, what="what was made to go"), Ready)
    node = names.control_plane(theirs.name)
    assert world.engine.docker("exec", node, "ls", CERTS, check=False).code != 0


def test_a_tekton_that_is_there_is_used_and_stays(product: Product, theirs: Theirs) -> None:
    world = theirs.world()
    release = manifests.ordered(tekton.objects(world))

    def applied() -> Verdict:
        try:
            theirs.kube.apply(release)
        except ApiError as error:
            return Pending(error.message)
        return Ready()

    until(applied, clock=world.clock, limit=120, what="their Tekton")
    deployments = ("apps/v1", "Deployment", names.TEKTON)
    until(lambda: readiness_all(theirs.kube.list(*deployments)), clock=world.clock, limit=180, what="their Tekton")
    before = generations(theirs.kube.list(*deployments))
    theirs.run("up")
    assert theirs.step("tekton") == "Pipelines 1.9.0, Triggers 0.35.0 of the cluster, dry runs accepted"
    assert "/version answers" in theirs.run("test-run")
    theirs.run("down")
    assert generations(theirs.kube.list(*deployments)) == before
    assert "pipelines.tekton.dev" in theirs.holds()["CustomResourceDefinition"]


def generations(found: list[Object]) -> dict[str, int]:
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in found}
