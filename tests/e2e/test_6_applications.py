"""Applications beside the demo: declared, pushed to, in order, each in its own namespace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core import constants
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.product import Product
from tests.e2e.receiver import received
from tests.e2e.repository import WHO, Repository

pytestmark = pytest.mark.e2e
TEKTON = "tekton.dev/v1"
SLOW = "RUN sleep 40\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("apps")


@pytest.fixture(scope="module")
def given(folder: Path) -> dict[str, str]:
    """The environment variables of every command here: the checkout's own folder of applications is left alone."""
    return {"INVOKE_APPS_FOLDER": str(folder / "apps")}


@pytest.fixture(scope="module")
def orders(product: Product, folder: Path, given: dict[str, str]) -> Repository:
    """The repository of application `orders`, with the demo's source in it and one push that serves."""
    added = product.run("app-add", "orders", env=given)
    assert "written" in added.out
    assert (folder / "apps/orders.yaml").exists()
    product.run("clone", "--app", "orders", "--into", str(folder / "orders"), env=given)
    repository = Repository(folder / "orders", product.environ | WHO)
    for path in (PROJECT / "demo/go-echo").iterdir():
        if path.is_file() and not path.name.startswith("go-echo"):
            shutil.copy(path, folder / "orders")
    repository.git("checkout", "--quiet", "-B", "main")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message=The first of orders")
    repository.git("push", "--quiet", "origin", "main")
    return repository


def status_of(world: World, name: str) -> dict[str, Any]:
    found = world.kube.get(API_VERSION, KIND, name, constants.RUNS) or {}
    status: dict[str, Any] = found.get("status") or {}
    return status


def await_settled(world: World, name: str) -> None:
    """Until its pushes start runs."""

    def probe() -> Verdict:
        [condition, *_] = status_of(world, name).get("conditions") or [{}]
        return Ready() if condition.get("reason") == "Settled" else Pending(str(condition))

    until(probe, clock=world.clock, limit=30, what=f"the application {name}")


def await_serving(world: World, name: str, commit: str, limit: float = 200) -> dict[str, Any]:
    """The status once that commit serves."""

    def probe() -> Verdict:
        status = status_of(world, name)
        [first, *_] = status.get("environments") or [{}]
        told = f"{status.get('state')}: {first}"
        return Ready() if (status.get("state"), first.get("commit")) == ("ready", commit) else Pending(told)

    until(probe, clock=world.clock, limit=limit, what=f"{commit[:7]} of {name}", every=0.3)
    return status_of(world, name)


def runs_of(world: World, name: str) -> list[dict[str, Any]]:
    return world.kube.list(TEKTON, "PipelineRun", constants.RUNS, labels=f"{APPLICATION}={name}")


def served_by(world: World, name: str) -> str:
    return str(json.loads(world.kube.get_from_service(name, name, 80, "/version"))["commit"])


def test_a_name_alone_is_an_application_whose_first_push_serves(
    product: Product, world: World, orders: Repository, given: dict[str, str]
) -> None:
    await_serving(world, "orders", orders.head)
    assert served_by(world, "orders") == orders.head
    [run] = runs_of(world, "orders")
    assert run["metadata"]["labels"]["tekton-bootstrap.dev/trigger"] == "push"
    listed = json.loads(product.run("app-list", "--json", env=given).last)
    assert [(each["app"], each["state"], each["commit"]) for each in listed] == [("orders", "ready", orders.head[:7])]
    assert orders.head[:7] in product.run("app-list", env=given).out
    assert "orders/orders" in product.run("app-show", "orders", env=given).out


def test_of_two_pushes_the_newer_serves_though_the_older_is_slow(
    product: Product, world: World, orders: Repository, given: dict[str, str]
) -> None:
    dockerfile = orders.folder / "Dockerfile"
    plain = dockerfile.read_text()
    first, rest = plain.split("\n", 1)
    dockerfile.write_text(
        f"{first}\n{SLOW}{rest}" if first.startswith("FROM") else plain.replace("\nRUN", f"\n{SLOW}RUN", 1)
    )
    orders.git("commit", "--quiet", "--all", "--message=Slow to build")
    orders.git("push", "--quiet", "origin", "main")
    older = orders.head
    dockerfile.write_text(plain)
    orders.git("commit", "--quiet", "--all", "--message=Quick again")
    orders.git("push", "--quiet", "origin", "main")
    await_serving(world, "orders", orders.head)
    assert served_by(world, "orders") == orders.head
    rows = json.loads(product.run("runs", "--app", "orders", "--json", env=given).last)
    assert [each["state"] for each in rows if each["commit"] == older] == ["Superseded"]


SHOP = [
    {"name": "staging", "namespace": "sales-staging", "branches": ["main"]},
    {"name": "production", "namespace": "sales", "promote": True},
]


def served_in(world: World, namespace: str) -> str:
    return str(json.loads(world.kube.get_from_service(namespace, "shop", 80, "/version"))["commit"])


def test_an_image_is_promoted_and_rolled_back_without_a_build(
    product: Product, world: World, orders: Repository, given: dict[str, str]
) -> None:
    """A second application of the same repository, with two environments and a chat of its own."""
    url = "http://git.git.svc.cluster.local/orders.git"
    metadata = {"name": "shop", "namespace": constants.RUNS}
    spec = {"repository": {"url": url}, "environments": SHOP, "notify": {"secret": "notify-shop"}}
    chat = {"kind": "wecom", "url": "http://receiver.e2e.svc.cluster.local:8080/wecom/robot?token=shop"}
    secret = {"name": "notify-shop", "namespace": constants.RUNS}
    world.kube.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": chat}])
    world.kube.apply([{"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}])
    await_settled(world, "shop")
    first = orders.head
    by_hand = product.run("test-run", "--app", "shop", env=given)
    assert f"sales-staging/shop runs {first[:7]}" in by_hand.out
    [message] = [str(each["robot"]) for each in received(world) if "shop-" in str(each.get("robot"))]
    assert "succeeded" in message
    answer = product.run("promote", "shop", "--to", "production", env=given)
    assert "build-image" not in answer.out
    assert served_in(world, "sales") == served_in(world, "sales-staging") == first
    second = orders.push("main", "Another version", "main.go", "// another\n", told=True)
    await_serving(world, "shop", second)
    assert served_in(world, "sales") == first, "nothing goes there by itself"
    product.run("rollback", "shop", env=given)
    assert served_in(world, "sales-staging") == first
    told = json.loads(product.run("deployments", "--app", "shop", "--json", env=given).last)
    assert {each["environment"] for each in told} == {"staging", "production"}
    assert [each["commit"] for each in told if each["environment"] == "staging"][:2] == [first, second]
    world.kube.delete(API_VERSION, KIND, "shop", constants.RUNS)
    world.kube.delete("v1", "Secret", "notify-shop", constants.RUNS)
    for namespace in ("sales", "sales-staging"):
        world.kube.delete("v1", "Namespace", namespace)
    await_serving(world, "orders", second)


def test_of_two_applications_of_one_repository_a_push_starts_only_the_one_that_it_concerns(
    product: Product, world: World, orders: Repository, given: dict[str, str]
) -> None:
    url = "http://git.git.svc.cluster.local/orders.git"
    for name in ("left", "right"):
        metadata = {"name": name, "namespace": constants.RUNS}
        spec = {"repository": {"url": url}, "paths": [f"{name}/**"]}
        world.kube.apply([{"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}])
        await_settled(world, name)
        (orders.folder / name).mkdir()
    commits = {}
    for name in ("left", "right"):
        (orders.folder / name / "notes.txt").write_text(f"{name}\n")
        orders.git("add", name)
        commits[name] = orders.push("main", f"A change of {name}", f"{name}/notes.txt", "more\n", told=True)
        await_serving(world, name, commits[name])
    for name, commit in commits.items():
        annotations = [each["metadata"]["annotations"] for each in runs_of(world, name)]
        assert [each["tekton-bootstrap.dev/commit"] for each in annotations] == [commit], name
    assert "concerns   changes of left/**" in product.run("app-show", "left", env=given).out
    for name in commits:
        world.kube.delete(API_VERSION, KIND, name, constants.RUNS)
        world.kube.delete("v1", "Namespace", name)
    await_serving(world, "orders", orders.head)


def test_the_stage_that_is_declared_is_built_with_the_arguments_that_are_declared(
    product: Product, world: World, orders: Repository, given: dict[str, str]
) -> None:
    """The last stage holds no program, and the build asks for its argument."""
    build = (orders.folder / "Dockerfile").read_text()
    first, *stages = build.split("\nFROM ")
    asks = first.replace("\nARG COMMIT", "\nARG APP_ENV\nRUN test \"$APP_ENV\" = 'two words'\nARG COMMIT", 1)
    staged = "\nFROM ".join([asks, *stages]).rstrip() + "\n\nFROM scratch AS developer\nCOPY go.mod /\n"
    head, _, last = staged.rpartition("\nFROM scratch\n")
    (orders.folder / "Dockerfile.staged").write_text(f"{head}\nFROM scratch AS prod\n{last}")
    orders.git("add", "Dockerfile.staged")
    orders.git("commit", "--quiet", "--message=A Dockerfile of three stages")
    orders.git("push", "--quiet", "origin", "main")
    options = {"dockerfile": "Dockerfile.staged", "target": "prod", "args": {"APP_ENV": "two words"}}
    spec = {"repository": {"url": "http://git.git.svc.cluster.local/orders.git"}, "build": options}
    metadata = {"name": "staged", "namespace": constants.RUNS}
    world.kube.apply([{"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}])
    await_settled(world, "staged")
    answer = product.run("test-run", "--app", "staged", env=given)
    assert f"staged/staged runs {orders.head[:7]}" in answer.out
    assert served_by(world, "staged") == orders.head
    world.kube.delete(API_VERSION, KIND, "staged", constants.RUNS)
    world.kube.delete("v1", "Namespace", "staged")
    await_serving(world, "orders", orders.head)


def test_it_may_deploy_to_its_own_namespace_only(world: World, orders: Repository) -> None:
    def may(namespace: str, verb: str, resource: str) -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": {
                "user": "system:serviceaccount:orders:pipeline-deployer",
                "resourceAttributes": {"namespace": namespace, "verb": verb, "resource": resource, "group": "apps"},
            },
        }
        return bool(world.kube.create(review)["status"]["allowed"])

    assert may("orders", "patch", "deployments")
    assert not any(may(each, "patch", "deployments") for each in (constants.DEMO, constants.RUNS, "kube-system"))


def test_what_one_object_shows_is_refused_at_once(
    product: Product, world: World, folder: Path, given: dict[str, str]
) -> None:
    answer = product.run("app-add", "payments", "--namespace", "kube-system", code=1, env=given)
    assert "must not be one of the system" in answer.text
    assert "Traceback" not in answer.text
    assert not (folder / "apps/payments.yaml").exists()
    assert status_of(world, "payments") == {}


def test_what_two_claim_is_the_firsts(world: World, orders: Repository) -> None:
    wanted = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "thief", "namespace": constants.RUNS},
        "spec": {"environments": [{"name": "default", "namespace": "orders", "deployment": "orders"}]},
    }
    world.kube.apply([wanted])

    def probe() -> Verdict:
        conditions = status_of(world, "thief").get("conditions") or [{}]
        return Ready() if conditions[0].get("reason") == "Refused" else Pending(str(conditions[0]))

    until(probe, clock=world.clock, limit=30, what="the refusal")
    [condition] = status_of(world, "thief")["conditions"]
    assert condition["message"] == "Deployment orders/orders is application orders's"
    assert runs_of(world, "thief") == []
    world.kube.delete(API_VERSION, KIND, "thief", constants.RUNS)


def test_a_file_in_the_folder_is_applied_by_up_and_changes_nothing_twice(
    product: Product, world: World, folder: Path, given: dict[str, str], orders: Repository
) -> None:
    declared = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "invoices"}}
    (folder / "apps/invoices.yaml").write_text(yaml.safe_dump(declared))
    product.run("up", env=given)
    assert status_of(world, "invoices")["state"] == "new"
    assert "plan" not in product.run("up", env=given).out, "it changes nothing"
    found = world.kube.get(API_VERSION, KIND, "invoices", constants.RUNS)
    assert found
    assert found["metadata"]["generation"] == 1


def test_a_namespace_that_was_deleted_comes_back(world: World, orders: Repository) -> None:
    """Of an application that has not been deployed yet; with what its first run needs."""
    before = world.kube.get("v1", "Namespace", "invoices")
    assert before
    world.kube.delete("v1", "Namespace", "invoices")

    def probe() -> Verdict:
        now = world.kube.get("v1", "Namespace", "invoices") or before
        there = world.kube.get("rbac.authorization.k8s.io/v1", "RoleBinding", "pipeline-deployer", "invoices")
        again = now["metadata"]["uid"] != before["metadata"]["uid"]
        return Ready() if again and there else Pending("not yet")

    until(probe, clock=world.clock, limit=120, what="the namespace")


def test_what_is_removed_starts_nothing_and_goes_on_serving(
    product: Product, world: World, folder: Path, given: dict[str, str], orders: Repository
) -> None:
    product.run("app-remove", "invoices", env=given)
    answer = product.run("app-remove", "orders", env=given)
    assert "stays      Deployment orders/orders" in answer.out
    assert not (folder / "apps/orders.yaml").exists()

    def probe() -> Verdict:
        left = world.kube.list("triggers.tekton.dev/v1beta1", "Trigger", constants.RUNS, labels=APPLICATION)
        return Pending(str([each["metadata"]["name"] for each in left])) if left else Ready()

    until(probe, clock=world.clock, limit=60, what="the end of its triggers")
    assert served_by(world, "orders") == orders.head
    for namespace in ("orders", "invoices"):
        world.kube.delete("v1", "Namespace", namespace)
    assert app.status(product)["steps"]


def test_one_that_is_not_there_is_told_with_a_suggestion(product: Product, world: World, given: dict[str, str]) -> None:
    answer = product.run("test-run", "--app", "ordesr", code=3, env=given)
    assert "there is no application ordesr" in answer.text
    with pytest.raises(ApiError):
        world.kube.get_from_service("orders", "none", 80, "/")
