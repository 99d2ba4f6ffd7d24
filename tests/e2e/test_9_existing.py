"""A cluster that somebody else made, in the same engine: used, and left as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.objects import manifests
from bootstrap.objects.readiness import judge_all
from bootstrap.steps import tekton
from bootstrap.steps.node_trust import CERTS
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.e2e.docker_client import docker
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e
CRD = "apiextensions.k8s.io/v1", "CustomResourceDefinition"


class Theirs:
    """The cluster, and commands on an environment in it."""

    def __init__(self, product: Product, name: str) -> None:
        self.name = name
        self.environment = f"{product.name}-in"
        self.context = constants.context(self.name)
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


@pytest.fixture
def theirs(product: Product, foreign: str) -> Iterator[Theirs]:
    there = Theirs(product, foreign)
    yield there
    there.run("down")


def test_a_cluster_with_a_tekton_is_used_and_left_as_it_was(theirs: Theirs) -> None:
    world = theirs.world()
    install_tekton(world, theirs.kube)
    deployments = ("apps/v1", "Deployment", constants.TEKTON)
    before, versions = theirs.holds(), generations(theirs.kube.list(*deployments))
    theirs.run("up")
    assert theirs.step("cluster") == f"{theirs.context}, Kubernetes 1.37.2"
    assert theirs.step("tekton") == "Pipelines 1.15.0, Triggers 0.37.0 of the cluster, dry runs accepted"
    assert "/version answers" in theirs.run("test-run")
    theirs.run("down")

    def gone() -> Verdict:
        extra = {kind: names_ - before[kind] for kind, names_ in theirs.holds().items()}
        return Pending(f"left: {extra}") if any(extra.values()) else Ready()

    world.engine.ensure(lambda _: None)  # that was its last user
    assert isinstance(until(gone, clock=world.clock, limit=120, what="what was made to go"), Ready)
    assert generations(theirs.kube.list(*deployments)) == versions
    assert before["CustomResourceDefinition"] == theirs.holds()["CustomResourceDefinition"]
    assert "pipelines.tekton.dev" in before["CustomResourceDefinition"]
    node = constants.control_plane(theirs.name)
    assert docker(world, "exec", node, "ls", CERTS, check=False).code != 0


def install_tekton(world: World, kube: Kube) -> None:
    """As its own release says, and until it serves."""
    release = manifests.sort_by_need(tekton.render_objects(world))

    def applied() -> Verdict:
        try:
            kube.apply(release)
        except ApiError as error:
            return Pending(error.message)
        return Ready()

    until(applied, clock=world.clock, limit=120, what="their Tekton")
    until(
        lambda: judge_all(kube.list("apps/v1", "Deployment", constants.TEKTON)),
        clock=world.clock,
        limit=180,
        what="their Tekton",
    )


def generations(found: list[Object]) -> dict[str, int]:
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in found}
