"""What the parts may do, asked of the real cluster; and that no secret shows anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.e2e.argv import ArgvWatch
from tests.e2e.docker_client import inspect
from tests.e2e.product import Product
from tests.e2e.receiver import restricted
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e
OURS = (constants.RUNS, constants.BUILD, constants.GIT, constants.DEMO, constants.TEKTON, "tekton-pipelines-resolvers")
LEVEL = "pod-security.kubernetes.io/enforce"


def _pods(world: World, *namespaces: str) -> list[Object]:
    return [pod for namespace in namespaces for pod in world.kube.list("v1", "Pod", namespace)]


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def test_every_namespace_of_ours_but_the_builders_enforces_restricted(world: World) -> None:
    levels = {
        each["metadata"]["name"]: each["metadata"]["labels"].get(LEVEL) for each in world.kube.list("v1", "Namespace")
    }
    assert {name: levels[name] for name in OURS} == {
        name: "privileged" if name == constants.BUILD else "restricted" for name in OURS
    }


def test_the_api_refuses_a_privileged_pod_where_runs_are(world: World) -> None:
    pod = restricted("intruder", "none.invalid/none")
    pod["metadata"]["namespace"] = constants.RUNS
    world.kube.create(pod, dry_run=True)
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    with pytest.raises(ApiError) as refused:
        world.kube.create(pod, dry_run=True)
    assert refused.value.status == 403


def test_no_pod_is_privileged_and_none_but_the_builder_may_gain_privileges(
    world: World, repository: Repository
) -> None:
    for pod in _pods(world, *OURS):
        name = pod["metadata"]["name"]
        assert not any(pod["spec"].get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert not any("hostPath" in volume for volume in pod["spec"].get("volumes", ())), name
        for container in _containers(pod):
            context = container["securityContext"]
            assert not context.get("privileged"), name
            assert context["capabilities"]["drop"] == ["ALL"], name
            if pod["metadata"]["namespace"] != constants.BUILD:
                assert context["allowPrivilegeEscalation"] is False, name
                assert not context["capabilities"].get("add"), name


def test_every_container_that_stays_has_requests_and_limits(world: World) -> None:
    for pod in _pods(world, *set(OURS) - {constants.RUNS}):
        for container in pod["spec"]["containers"]:
            resources = container["resources"]
            assert set(resources["requests"]) >= {"cpu", "memory"}, pod["metadata"]["name"]
            assert "memory" in resources["limits"], pod["metadata"]["name"]


def test_only_who_talks_to_the_api_has_a_token(world: World, repository: Repository) -> None:
    for pod in _pods(world, constants.BUILD, constants.GIT, constants.DEMO, constants.RUNS):
        mounts = [mount["mountPath"] for container in _containers(pod) for mount in container.get("volumeMounts", ())]
        account = pod["spec"]["serviceAccountName"]
        has_token = "/var/run/secrets/kubernetes.io/serviceaccount" in mounts
        with_token = {"notify", "listener", "manager", "poller", "cleanup", "image-cleanup", "token-renewal"}
        assert has_token == (account in with_token), f"{pod['metadata']['name']} as {account}"


@pytest.fixture(scope="module")
def deployer(world: World, tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """The door that the pipeline deploys through, from outside the cluster."""
    secret = world.kube.get("v1", "Secret", "target-kubeconfig", constants.RUNS)
    assert secret
    minted = yaml.safe_load(base64.b64decode(secret["data"]["kubeconfig"]))
    outside = yaml.safe_load(world.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    minted["clusters"][0]["cluster"]["server"] = outside
    path = tmp_path_factory.mktemp("deployer") / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(minted))
    return Kube(path, minted["current-context"])


@pytest.mark.parametrize(
    ("verb", "group", "resource", "namespace", "allowed"),
    [
        ("get", "apps", "deployments", constants.DEMO, True),
        ("patch", "apps", "deployments", constants.DEMO, True),
        ("list", "", "pods", constants.DEMO, True),
        ("create", "apps", "deployments", constants.DEMO, False),
        ("delete", "apps", "deployments", constants.DEMO, False),
        ("get", "", "secrets", constants.DEMO, False),
        ("create", "", "pods", constants.DEMO, False),
        ("create", "", "pods/exec", constants.DEMO, False),
        ("get", "", "pods/log", constants.DEMO, True),
        ("update", "coordination.k8s.io", "leases", constants.DEMO, True),
        ("delete", "coordination.k8s.io", "leases", constants.DEMO, False),
        ("get", "coordination.k8s.io", "leases", constants.RUNS, False),
        ("create", "", "serviceaccounts/token", constants.DEMO, False),
        ("get", "apps", "deployments", constants.RUNS, False),
        ("patch", "apps", "deployments", constants.GIT, False),
        ("get", "", "secrets", constants.RUNS, False),
        ("list", "", "nodes", "", False),
        ("get", "", "namespaces", "", False),
    ],
)
def test_what_the_deployer_may(
    deployer: Kube, verb: str, group: str, resource: str, namespace: str, allowed: bool
) -> None:
    assert deployer.can_i(verb, group, resource, namespace) is allowed


def test_the_deployer_is_really_refused(deployer: Kube) -> None:
    assert deployer.get("apps/v1", "Deployment", "go-echo", constants.DEMO)
    with pytest.raises(ApiError) as refused:
        deployer.list("v1", "Secret", constants.DEMO)
    assert refused.value.status == 403


def _secrets(product: Product, world: World) -> dict[str, str]:
    """What must show nowhere: name -> text."""
    found = {"registry password": product.registry_password, "hook token": product.hook_token}
    for path in Path(world.paths.env).glob("*.password"):
        found[path.name] = path.read_text()
    for path in Path(world.paths.env).glob("*.key"):
        found[path.name] = path.read_text().splitlines()[1]
    target = world.kube.get("v1", "Secret", "target-kubeconfig", constants.RUNS)
    assert target
    found["deployer's token"] = yaml.safe_load(base64.b64decode(target["data"]["kubeconfig"]))["users"][0]["user"][
        "token"
    ]
    assert len(found) >= 6
    return found


def _showing(text: str, secrets: dict[str, str]) -> list[str]:
    """Names of secrets that the text holds, as they are or in base64."""
    return [
        name
        for name, secret in secrets.items()
        if secret in text or base64.b64encode(secret.encode()).decode().rstrip("=") in text
    ]


def _objects(world: World) -> Iterator[tuple[str, str]]:
    kinds = (
        ("tekton.dev/v1", "PipelineRun"),
        ("tekton.dev/v1", "TaskRun"),
        ("v1", "Event"),
        ("v1", "Pod"),
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("batch/v1", "Job"),
    )
    for api_version, kind in kinds:
        for obj in world.kube.list(api_version, kind):
            yield f"{kind} {obj['metadata']['name']}", json.dumps(obj)


def _logs(world: World) -> Iterator[tuple[str, str]]:
    for pod in _pods(world, *OURS):
        for container in pod["spec"]["containers"]:
            meta = pod["metadata"]
            yield (
                f"log of {meta['name']}/{container['name']}",
                world.kube.read_log(meta["namespace"], meta["name"], container["name"]),
            )


def _containers_of_the_engine(world: World) -> Iterator[tuple[str, str]]:
    for container in world.engine.list_containers():
        if container.name.startswith(f"{world.config.name}-"):
            yield f"container {container.name}", json.dumps(inspect(world, "container", container.name))


def test_no_secret_shows(product: Product, world: World, argv: ArgvWatch, repository: Repository) -> None:
    """Not in objects, logs, containers, arguments of processes, nor in what any command printed."""
    argv.stop()
    secrets = _secrets(product, world)
    places = [
        *_objects(world),
        *_logs(world),
        *_containers_of_the_engine(world),
        *((f"argv: {words[:40]}", words) for words in argv.seen),
        *((f"output of {answer.command}", answer.text) for answer in product.answers),
    ]
    assert len(places) > 200
    assert {place: shown for place, text in places if (shown := _showing(text, secrets))} == {}


def test_folders_with_secrets_are_private(world: World) -> None:
    assert world.paths.env.stat().st_mode & 0o077 == 0
    for path in world.paths.env.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
