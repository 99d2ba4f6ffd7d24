"""An environment in a company: behind its proxy, with its CA, and with a second, real cluster as the target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.objects.kubeconfig import read_current_context
from bootstrap.settings import kind_config
from bootstrap.steps.kind_cluster import CGROUP_V2
from bootstrap.steps.node_trust import CERTS, HOSTS, OTHERS
from bootstrap.world import World
from bootstrap.world.kube.client import Kube
from tests.e2e import app, company
from tests.e2e.company import Company
from tests.e2e.docker_client import docker, inspect
from tests.e2e.foreigners import ONE_NODE
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e
ELSEWHERE = "http://elsewhere.invalid/app.git"
WITHIN = "ARG COMMIT=unknown\n"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="module")
def around(product: Product, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    network = inspect(world, "network", constants.network(product.name))
    assert network
    with company.serving(tmp_path_factory.mktemp("company"), network["IPAM"]["Config"][0]["Gateway"]) as found:
        yield found


@pytest.fixture(scope="module")
def second(product: Product, world: World) -> Iterator[Path]:
    """The kubeconfig of a one-node cluster on the first one's network, whose node may pull from the registry."""
    name = f"{product.name}-second"
    node_image = world.images.read_lock().node_image
    config = kind_config.render(
        kind_config.load(ONE_NODE), name=name, node_image=node_image, api_port=0, fail_cgroup_v1=CGROUP_V2.exists()
    )
    try:
        _kind(product, world, "create", "cluster", "--name", name, "--image", node_image, "--wait=0s", config=config)
        _trust(world, f"{product.name}-control-plane", constants.control_plane(name))
        path = product.folder / "second"
        path.touch(mode=0o600)
        path.write_text(world.kind.read_kubeconfig(name))
        yield path
    finally:
        _kind(product, world, "delete", "cluster", "--name", name)


def _kind(product: Product, world: World, *words: str, config: object = None) -> None:
    """With the tests' kubeconfig: kind writes a context into it."""
    environ = world.engine.make_environ() | {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": constants.network(product.name),
        "KUBECONFIG": str(product.kubeconfig),
    }
    stdin = yaml.safe_dump(config) if config else None
    options = ["--config=-"] if config else []
    world.shell.run([str(world.images.find_tool("kind")), *words, *options], env=environ, stdin=stdin, limit=300)


def _trust(world: World, source: str, target: str) -> None:
    """As docs say for a cluster of one's own: containerd is told the registry's CA and password."""
    for file in ("hosts.toml", "ca.crt"):
        text = world.engine.exec(source, "cat", f"{CERTS}/{file}")
        docker(world, "exec", "-i", target, "sh", "-c", f"mkdir -p {CERTS} && cat > {CERTS}/{file}", stdin=text)


@pytest.fixture(scope="module")
def settings(around: Company, second: Path) -> dict[str, str]:
    return {
        "HTTP_PROXY": around.proxy,
        "HTTPS_PROXY": around.proxy,
        "NO_PROXY": "127.0.0.1,localhost",
        "INVOKE_CA_FILE": str(around.ca),
        "INVOKE_NOTIFY_URL": company.HOOK,
        "INVOKE_POLL_REPOSITORIES": ELSEWHERE,
        "INVOKE_TARGET_KUBECONFIG": str(second),
        "INVOKE_TARGET_NAMESPACE": "shop",
    }


def test_nodes_trust_the_companys_ca_and_nothing_is_built_anew(
    product: Product, world: World, around: Company, settings: dict[str, str]
) -> None:
    node = constants.control_plane(product.name)
    pull = ("ctr", "images", "pull", f"--hosts-dir={HOSTS}", f"{around.address}/there/is:none")
    before = docker(world, "exec", node, *pull, check=False)
    assert "unknown authority" in before.stderr
    answer = product.run("up", env=settings)
    assert "parts to build" not in answer.text
    after = docker(world, "exec", node, *pull, check=False)
    assert "not found" in after.stderr
    assert any(each.startswith("/v2/there/is/manifests/none") for each in around.asked)


def test_a_run_builds_behind_the_proxy_and_deploys_to_the_second_cluster(
    product: Product,
    world: World,
    repository: Repository,
    around: Company,
    second: Path,
    settings: dict[str, str],
) -> None:
    """Its build sees the proxy and the CA; its notification goes through the one and trusts the other."""
    line = around.ca.read_text().splitlines()[-2]
    dockerfile = repository.folder / "Dockerfile"
    plain = dockerfile.read_text()
    checks = (
        f'RUN test "$http_proxy" = {around.proxy}\n'
        f"RUN grep -qxF '{line}' {BUNDLE} && test $(wc -l < {BUNDLE}) -gt 100\n"
    )
    dockerfile.write_text(plain.replace(WITHIN, WITHIN + checks))
    repository.git("commit", "--quiet", "--all", "--message=Build as it is done in the company")
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")
    answer = product.run("test-run", env=settings)
    assert f"/version answers {repository.head[:7]}" in answer.last
    assert "ok   notify      sent" in answer.out
    assert f"{company.ROBOT}:443" in around.proxied
    assert "/hook" in around.asked
    deployment = Kube(second, read_current_context(second.read_text())).get("apps/v1", "Deployment", "go-echo", "shop")
    assert deployment
    assert deployment["status"]["readyReplicas"] == 2
    assert "demo/go-echo@sha256:" in deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert world.kube.get("v1", "Namespace", "shop") is None
    dockerfile.write_text(plain)
    repository.git("commit", "--quiet", "--all", "--message=Build as anywhere again")
    repository.git("push", "--quiet", "--push-option=no-webhook", "origin", "main")


def test_what_leaves_the_cluster_goes_through_the_proxy_and_nothing_else_does(
    product: Product, around: Company, settings: dict[str, str]
) -> None:
    product.run("poll", env=settings, code=1)
    assert any(each.startswith(ELSEWHERE) for each in around.proxied)
    assert not [each for each in around.proxied if "svc" in each or constants.REGISTRY_HOST in each]


def test_without_the_settings_all_is_as_it_was(
    product: Product, world: World, around: Company, second: Path, settings: dict[str, str]
) -> None:
    product.run("up")
    assert docker(world, "exec", constants.control_plane(product.name), "ls", OTHERS, check=False).code != 0
    app.await_rollout(world)
