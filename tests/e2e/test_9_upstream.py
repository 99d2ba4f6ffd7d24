"""From public hosts, for which a registry and a web server of this machine stand in: with TLS and a login, and nothing
else in reach but Debian's packages.

They publish what supply source has built, under the names that the public ones use: our node stands for kind's, our
base for Debian, and go-echo, which is a small web server, for Tekton Dashboard. All but the node have other digests
than what the node holds, so that nothing comes from there by chance. What becomes of an environment whose engine ends
is tried with this one, which lives alone in its engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.cli.dispatch import make_world
from bootstrap.core.model import Object, Ready
from bootstrap.core.paths import PROJECT, Paths
from bootstrap.settings.config import Config
from bootstrap.supply import oci_layout, tekton_build, upstream_lock
from bootstrap.supply.source import Source
from bootstrap.supply.tekton_releases import DASHBOARD, PART_OF
from bootstrap.world import World
from bootstrap.world.file_locks import hold_engine_while_needed
from bootstrap.world.probe import read_local_status
from bootstrap.world.terminal import TerminalReport
from tests import publishing
from tests.e2e.footprint import footprint, leftovers
from tests.e2e.foreigners import ONE_NODE
from tests.e2e.machine import Machine
from tests.e2e.product import Product
from tests.publishing import Host

pytestmark = pytest.mark.e2e
NOWHERE = "http://127.0.0.1:9"
LABELS = {PART_OF: DASHBOARD, "app": DASHBOARD}
ROLE = {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["get", "list", "delete"]}


def dashboard() -> list[Object]:
    """As its release is made up; with a right too many, which it must not be given."""
    place = {"name": DASHBOARD, "namespace": "tekton-pipelines", "labels": LABELS}
    rbac = "rbac.authorization.k8s.io"
    container = {
        "name": DASHBOARD,
        "image": f"image.local/{DASHBOARD}",
        "args": ["--read-only=false"],
        "ports": [{"containerPort": 8080}],
    }
    subject = {"kind": "ServiceAccount", "name": DASHBOARD, "namespace": "tekton-pipelines"}
    template = {"metadata": {"labels": LABELS}, "spec": {"serviceAccountName": DASHBOARD, "containers": [container]}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": DASHBOARD, "labels": LABELS}}
        | {"rules": [ROLE]},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": DASHBOARD, "labels": LABELS}}
        | {"roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": DASHBOARD}, "subjects": [subject]},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place}
        | {"spec": {"selector": {"matchLabels": {"app": DASHBOARD}}, "template": template}},
        {"apiVersion": "v1", "kind": "Service", "metadata": place}
        | {"spec": {"selector": {"app": DASHBOARD}, "ports": [{"port": 9097, "targetPort": 8080}]}},
    ]


@pytest.fixture(scope="module")
def hosts(product: Product) -> Iterator[Host]:
    world = product.world()
    source = world.images
    assert isinstance(source, Source)
    arch, layouts, folder = world.config.architecture, source.list_layouts(), product.folder / "published"
    with publishing.host(source.find_tool("crane")) as host:
        with hold_engine_while_needed(world):  # the environments before may have been its last users
            world.engine.ensure(lambda _: None)
            node = saved(world, source.read_lock().node_image, folder / "node")
            debian = saved(world, source.get_engine_image("base"), folder / "debian")
        made = {
            "node": node,
            "debian": debian,
            "golang": source.list_seeds()["library/golang:1"],
            "pause": layouts["pause"],
            "kubectl": programs(source, folder / "kubectl", arch, "bin", go_kubernetes=["kubectl"]),
            "buildkit": programs(source, folder / "buildkit", arch, "usr/bin", go_buildkit=["buildkitd", "buildctl"]),
        }
        for name, reference in upstream_lock.read_wanted(PROJECT).images.items():
            host.publish(
                reference.domain,
                reference.path,
                reference.tag,
                {arch: made[name]},
                label="" if name == "node" else "stand-in=yes",
            )
        released = {name: {arch: layouts[name]} for name in tekton_build.NAMES} | {
            DASHBOARD: {arch: layouts["go-echo"]}
        }
        host.publish_release([*source.list_tekton_objects(), *dashboard()], released)
        yield host


def saved(world: World, image: str, folder: Path) -> Path:
    """An image of the engine as a layout."""
    folder.mkdir(parents=True)
    archive = folder / "image.tar"
    world.engine.save_image(image, archive)
    oci_layout.convert_engine_archive(archive, folder, packed=False)
    archive.unlink()
    return folder


def programs(source: Source, folder: Path, arch: str, inside: str, **parts: list[str]) -> Path:
    """Programs of a part as an image that others take them out of."""
    files = {
        f"{inside}/{program}": source.get_program(part.replace("_", "-"), program).read_bytes()
        for part, some in parts.items()
        for program in some
    }
    return publishing.image(folder, arch, files)


@pytest.fixture(scope="module")
def apart(product: Product, hosts: Host) -> Iterator[dict[str, str]]:
    """Another engine, and settings that name the stand-ins."""
    given = {f"INVOKE_UPSTREAM_{key.upper()}": value for key, value in hosts.settings.items()} | {
        "XDG_STATE_HOME": str(product.folder / "upstream"),
        "INVOKE_CLUSTER_CONFIG": str(ONE_NODE),
        "INVOKE_SUPPLY": "upstream",
        "INVOKE_UPSTREAM_LOCK": str(product.folder / "upstream.lock.json"),
        "INVOKE_REGISTRY_PASSWORD": "",
        "GOPROXY": "off",
        "NO_PROXY": "127.0.0.1,localhost",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
    }
    yield given
    there = product.world(f"{product.name}-upstream", given)
    before = footprint(there)
    product.run("down", name=f"{product.name}-upstream", env=given)
    assert leftovers(there, before, (product.kubeconfig,)) == []
    assert not isinstance(there.engine.check(), Ready), "its engine has nothing left to do"
    # Not `down --purge`: its cache is everybody's.
    make_world(Config(name=f"{product.name}-upstream"), Paths.of("any", given), TerminalReport()).engine.purge()


def test_without_a_lock_nothing_comes_up(product: Product, apart: dict[str, str]) -> None:
    answer = product.run("up", name=f"{product.name}-upstream", env=apart, code=3)
    assert "nothing is taken on trust" in answer.err
    assert "invoke images --lock" in answer.err


def test_the_whole_environment_comes_from_the_public_hosts(product: Product, apart: dict[str, str]) -> None:
    name = f"{product.name}-upstream"
    locked = product.run("images", "--lock", name=name, env=apart)
    assert "23 changes" in locked.last
    answer = product.run("up", name=name, env=apart, limit=1200)
    assert "19 images, from public registries, each as locked" in answer.out
    assert "/version answers" in product.run("test-run", name=name, env=apart).last
    assert "nothing changed" in product.run("up", name=name, env=apart).last
    assert publishing.PASSWORD not in locked.text + answer.text
    rows = json.loads(product.run("images", "--json", name=name, env=apart).out)
    assert {row["supply"] for row in rows} == {"upstream"}


def test_dashboard_is_there_and_may_only_read(product: Product, apart: dict[str, str]) -> None:
    name = f"{product.name}-upstream"
    world = make_world(Config(name=name, supply="upstream"), Paths.of(name, apart), TerminalReport())
    deployment = world.kube.get("apps/v1", "Deployment", DASHBOARD, "tekton-pipelines") or {}
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--read-only=true"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    role = world.kube.get("rbac.authorization.k8s.io/v1", "ClusterRole", DASHBOARD) or {}
    assert [rule["verbs"] for rule in role["rules"]] == [["get", "list"]]


def test_dashboard_is_forwarded(product: Product, apart: dict[str, str]) -> None:
    free = ("--set", "dashboard.port=0", "--set", "dashboard.tekton_port=0")
    with product.running("dashboard", *free, name=f"{product.name}-upstream", env=apart) as command:
        command.until_said("which only reads")
        [port] = re.findall(r"which only reads: http://127\.0\.0\.1:(\d+)", command.text)
        assert read_local_status(int(port), "/ping", 10) == 200


@pytest.fixture
def machine(product: Product, apart: dict[str, str]) -> Machine:
    return Machine(product, f"{product.name}-upstream", apart)


def test_an_engine_that_was_killed_comes_back_under_what_runs_in_it(machine: Machine) -> None:
    world, serving, starts = machine.world, machine.version(), machine.starts()
    assert len(starts) == 2
    kept = world.open_registry().push(world.images.list_layouts()["pause"], "e2e/kept:1")
    machine.kill_engine()
    verdicts = machine.steps(code=1)
    assert verdicts.pop("engine") == "pending"
    assert set(verdicts.values()) <= {"unknown", "ready"}
    assert "ok   engine" in machine.run("up")
    assert (machine.starts(), machine.version()) == (starts, serving)
    assert world.open_registry().read_digest("e2e/kept:1") == kept


def test_a_machine_that_was_started_anew_has_it_all_again(machine: Machine) -> None:
    world, serving, starts = machine.world, machine.version(), machine.starts()
    kept = world.open_registry().read_digest("e2e/kept:1")
    machine.cut_power()
    assert machine.steps(code=1)["engine"] == "pending"
    machine.run("up")
    assert set(machine.steps(code=0).values()) == {"ready"}
    assert not set(machine.starts().values()) & set(starts.values()), "everything was started"
    assert (machine.version(), world.open_registry().read_digest("e2e/kept:1")) == (serving, kept)
