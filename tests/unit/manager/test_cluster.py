"""What the manager changes in a cluster, against an API server that refuses what a real one may."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.incluster.application_source import SourceState
from bootstrap.incluster.applications import Application, read_application
from bootstrap.incluster.git_server import RepositoryRefused
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.run_names import ARRIVAL, SUPERSEDED_BY
from bootstrap.incluster.run_queue import Action, Number, Release, Supersede
from bootstrap.manager import cluster as cluster_module
from bootstrap.manager.cluster import Cluster, ClusterFailure, make_patch
from tests.unit.manager.fake_api import FakeApi

NOW = 1_784_937_600.0
"""25 July 2026, midnight in UTC: summer time in Europe."""
EXPIRES = "2026-07-25T12:00:00Z"
TOKEN, PASSWORD = "t0ken-of-the-deployer", "s3cret-of-git"
MANAGER = "?fieldManager=tekton-bootstrap-manager&force=true"
TRIGGERS = "/apis/triggers.tekton.dev/v1beta1/namespaces/cicd/triggers"
LISTED = f"GET {TRIGGERS}?labelSelector=tekton-bootstrap.dev/application%3Dorders"
RUNS = "/apis/tekton.dev/v1/namespaces/cicd/pipelineruns"
STATUS = "/apis/tekton-bootstrap.dev/v1alpha1/namespaces/cicd/applications/orders/status"


def declare(**spec: Any) -> Application:
    return read_application({"metadata": {"name": "orders", "uid": "u-1"}, "spec": spec}, "registry:5000")


@pytest.fixture
def api() -> FakeApi:
    """A cluster that has nothing of `orders` yet but its namespace."""
    made = FakeApi()
    prepare(made, "orders")
    made.on(f"PATCH {TRIGGERS}/orders.default{MANAGER}")
    made.on(f"PATCH /api/v1/namespaces/cicd/secrets/target-orders.default{MANAGER}")
    made.on(LISTED, {"items": []})
    return made


def prepare(api: FakeApi, namespace: str) -> None:
    inside = f"namespaces/{namespace}"
    api.on(f"GET /api/v1/{inside}")
    api.on(f"PATCH /api/v1/{inside}/serviceaccounts/pipeline-deployer{MANAGER}")
    api.on(f"PATCH /apis/rbac.authorization.k8s.io/v1/{inside}/rolebindings/pipeline-deployer{MANAGER}")
    api.on(f"POST {make_token_path(namespace)}", {"status": {"token": TOKEN, "expirationTimestamp": EXPIRES}})


def make_token_path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/serviceaccounts/pipeline-deployer/token"


@pytest.fixture(autouse=True)
def made_repositories(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """(address, username, password) of those that were made on the git server."""
    made: list[tuple[str, str, str]] = []
    monkeypatch.setattr(cluster_module, "create_repository", lambda *given: made.append(given))
    return made


@pytest.fixture
def cluster(api: FakeApi, tmp_path: Path) -> Cluster:
    for name, text in (("username", "me"), ("password", PASSWORD), ("ca.crt", "PEM")):
        (tmp_path / name).write_text(text)
    return Cluster(cast(Api, api), "cicd", token_seconds=86400, login=tmp_path, account=tmp_path, clock=lambda: NOW)


def refuse(status: int) -> ApiFailure:
    return ApiFailure(status, f"HTTP {status} from the API")


# -- settling ----------------------------------------------------------------------------------------


def test_everything_is_made_before_what_starts_runs(
    cluster: Cluster, api: FakeApi, made_repositories: list[tuple[str, str, str]]
) -> None:
    assert cluster.settle(declare()) == NOW + 6 * 3600, "after half of the token's life"
    assert made_repositories == [("http://git.git.svc.cluster.local/orders.git", "me", PASSWORD)]
    assert api.requests == [
        "GET /api/v1/namespaces/orders",
        f"PATCH /api/v1/namespaces/orders/serviceaccounts/pipeline-deployer{MANAGER}",
        f"PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/orders/rolebindings/pipeline-deployer{MANAGER}",
        f"POST {make_token_path('orders')}",
        f"PATCH /api/v1/namespaces/cicd/secrets/target-orders.default{MANAGER}",
        f"PATCH {TRIGGERS}/orders.default{MANAGER}",
        LISTED,
    ]
    request = api.get_body(f"POST {make_token_path('orders')}")
    assert request["spec"] == {"expirationSeconds": 86400}
    secret = api.get_body(f"PATCH /api/v1/namespaces/cicd/secrets/target-orders.default{MANAGER}")
    kubeconfig = json.loads(secret["stringData"]["kubeconfig"])
    assert kubeconfig["users"][0]["user"] == {"token": TOKEN}
    [inside] = [each["cluster"] for each in kubeconfig["clusters"]]
    assert base64.b64decode(inside["certificate-authority-data"]) == b"PEM"


def test_a_repository_elsewhere_is_not_made(cluster: Cluster, made_repositories: list[tuple[str, str, str]]) -> None:
    cluster.settle(declare(repository={"url": "https://git.example.com/sales/orders.git"}))
    assert made_repositories == []


SECRET = "GET /api/v1/namespaces/cicd/secrets/sales-git"
BY_SSH = {"repository": {"url": "git@git.example.com:sales/orders.git", "login": "sales-git"}}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (refuse(404), "Secret sales-git is not there: kubectl -n cicd create secret generic sales-git --type="),
        (refuse(403), "the manager is not let read Secret sales-git yet: invoke up"),
        ({"type": "Opaque", "metadata": {}}, "Secret sales-git is of type Opaque; ssh://git@git.example.com/"),
    ],
)
def test_nothing_is_made_without_the_login_that_is_named(cluster: Cluster, api: FakeApi, answer: Any, why: str) -> None:
    api.on(SECRET, answer)
    with pytest.raises(ClusterFailure) as caught:
        cluster.settle(declare(**BY_SSH))
    assert str(caught.value).startswith(why)
    assert api.requests == [SECRET]


def test_a_login_is_read_by_its_name_alone(cluster: Cluster, api: FakeApi) -> None:
    data = {"username": "YWRh", "password": "c2VzYW1l"}
    annotations = {"tekton.dev/git-0": "https://git.example.com"}
    api.on(SECRET, {"type": "kubernetes.io/basic-auth", "metadata": {"annotations": annotations}, "data": data})
    found = declare(repository={"url": "https://git.example.com/sales/orders", "login": "sales-git"})
    assert cluster.read_login(found).files == {"username": "ada", "password": "sesame"}
    assert cluster.settle(found) == NOW + 6 * 3600
    api.on(SECRET, refuse(500))
    with pytest.raises(ApiFailure):
        cluster.settle(found)


def test_namespaces_are_told_with_what_makes_them_different(cluster: Cluster, api: FakeApi) -> None:
    api.on("GET /api/v1/namespaces", {"items": [{"metadata": {"name": "orders", "uid": "u1"}}]})
    assert cluster.read_namespaces() == {"orders": "u1"}


def test_a_namespace_that_is_there_is_used_as_it_is(cluster: Cluster, api: FakeApi) -> None:
    cluster.settle(declare())
    assert not any(each == "POST /api/v1/namespaces" for each in api.requests)


@pytest.mark.parametrize("answer", [{}, refuse(409)], ids=["made", "somebody was faster"])
def test_a_namespace_that_is_missing_is_made(cluster: Cluster, api: FakeApi, answer: Any) -> None:
    api.on("GET /api/v1/namespaces/orders", refuse(404))
    api.on("POST /api/v1/namespaces", answer)
    cluster.settle(declare())
    assert api.get_body("POST /api/v1/namespaces")["metadata"]["name"] == "orders"


@pytest.mark.parametrize("status", [0, 403, 500])
def test_one_that_cannot_be_looked_at_is_not_made(cluster: Cluster, api: FakeApi, status: int) -> None:
    api.on("GET /api/v1/namespaces/orders", refuse(status))
    with pytest.raises(ApiFailure):
        cluster.settle(declare())
    assert api.requests == ["GET /api/v1/namespaces/orders"]


def test_a_namespace_that_may_not_be_made_ends_it(cluster: Cluster, api: FakeApi) -> None:
    api.on("GET /api/v1/namespaces/orders", refuse(404))
    api.on("POST /api/v1/namespaces", refuse(403))
    with pytest.raises(ApiFailure):
        cluster.settle(declare())


def test_triggers_of_environments_that_are_no_more_go(cluster: Cluster, api: FakeApi) -> None:
    names = ["orders.default", "orders.staging"]
    api.on(LISTED, {"items": [{"metadata": {"name": name}} for name in names]})
    api.on(f"DELETE {TRIGGERS}/orders.staging")
    cluster.settle(declare())
    assert api.requests[-1] == f"DELETE {TRIGGERS}/orders.staging"


def test_a_trigger_that_is_gone_already_is_gone(cluster: Cluster, api: FakeApi) -> None:
    """The garbage collector may be faster, when the Application is deleted in the same moment."""
    api.on(LISTED, {"items": [{"metadata": {"name": "orders.staging"}}]})
    api.on(f"DELETE {TRIGGERS}/orders.staging", refuse(404))
    cluster.settle(declare())


def test_what_is_refused_has_no_triggers(cluster: Cluster, api: FakeApi) -> None:
    api.on(LISTED, {"items": [{"metadata": {"name": "orders.default"}}]})
    api.on(f"DELETE {TRIGGERS}/orders.default")
    cluster.refuse(declare())
    assert api.requests == [LISTED, f"DELETE {TRIGGERS}/orders.default"]
    api.on(LISTED, {})
    cluster.refuse(declare())


# -- tokens ------------------------------------------------------------------------------------------


@pytest.fixture
def summer_time() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("summer_time")
def test_when_a_token_ends_does_not_depend_on_where_the_clock_hangs(cluster: Cluster) -> None:
    assert cluster.renew_tokens(declare()) == NOW + 6 * 3600


def test_of_several_tokens_the_first_to_end_counts(cluster: Cluster, api: FakeApi) -> None:
    found = declare(environments=[{"name": "a", "namespace": "x"}, {"name": "b", "namespace": "y"}])
    for name, ends in (("x", "2026-07-25T04:00:00Z"), ("y", EXPIRES)):
        api.on(f"POST {make_token_path(name)}", {"status": {"token": f"t-{name}", "expirationTimestamp": ends}})
    for each in found.environments:
        api.on(f"PATCH /api/v1/namespaces/cicd/secrets/target-orders.{each.name}{MANAGER}")
    assert cluster.renew_tokens(found) == NOW + 2 * 3600


def test_a_clock_that_is_wrong_does_not_ask_without_end(cluster: Cluster, api: FakeApi) -> None:
    ended = {"status": {"token": TOKEN, "expirationTimestamp": "2020-01-01T00:00:00Z"}}
    api.on(f"POST {make_token_path('orders')}", ended)
    assert cluster.renew_tokens(declare()) >= NOW + 30


# -- no secret in a message --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_of",
    [
        f"POST {make_token_path('orders')}",
        f"PATCH /api/v1/namespaces/cicd/secrets/target-orders.default{MANAGER}",
        f"PATCH {TRIGGERS}/orders.default{MANAGER}",
    ],
)
def test_a_refusal_has_no_token_in_it(cluster: Cluster, api: FakeApi, request_of: str) -> None:
    api.on(request_of, refuse(422))
    with pytest.raises(ApiFailure) as caught:
        cluster.settle(declare())
    for told in (str(caught.value), repr(caught.value), str(caught.value.strerror)):
        assert TOKEN not in told
        assert PASSWORD not in told


@pytest.mark.parametrize("answer", [{}, {"status": {}}, {"status": {"token": TOKEN}}, {"status": None}])
def test_an_answer_without_a_token_is_a_failure_that_is_tried_again(
    cluster: Cluster, api: FakeApi, answer: Any
) -> None:
    api.on(f"POST {make_token_path('orders')}", answer)
    with pytest.raises(ClusterFailure, match="orders") as caught:
        cluster.settle(declare())
    assert TOKEN not in str(caught.value)


def test_a_git_server_that_refuses_is_told_without_the_login(
    cluster: Cluster, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(url: str, username: str, password: str) -> None:
        raise RepositoryRefused("git.git.svc.cluster.local makes no repository /orders.git: HTTP 401")

    monkeypatch.setattr(cluster_module, "create_repository", deny)
    with pytest.raises(ClusterFailure, match=r"makes no repository /orders.git: HTTP 401") as caught:
        cluster.settle(declare())
    assert PASSWORD not in str(caught.value)
    assert api.asked == [], "nothing is made of one that has no repository"


# -- runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "patch"),
    [
        (Number("r", 42), {"metadata": {"annotations": {ARRIVAL: "42"}}}),
        (Release("r"), {"spec": {"status": None}}),
        (
            Supersede("r", "s", begun=False),
            {"metadata": {"annotations": {SUPERSEDED_BY: "s"}}, "spec": {"status": "Cancelled"}},
        ),
        (
            Supersede("r", "s", begun=True),
            {"metadata": {"annotations": {SUPERSEDED_BY: "s"}}, "spec": {"status": "CancelledRunFinally"}},
        ),
    ],
)
def test_what_an_action_changes(cluster: Cluster, api: FakeApi, action: Action, patch: Any) -> None:
    assert make_patch(action) == patch
    api.on(f"PATCH {RUNS}/r")
    cluster.act(action)
    assert api.asked == [("PATCH", f"{RUNS}/r", patch)]


ONCE: list[tuple[str, Callable[[Cluster], None]]] = [
    (f"PATCH {RUNS}/r", lambda cluster: cluster.act(Release("r"))),
    (f"PATCH {RUNS}/r", lambda cluster: cluster.cancel("r")),
    (f"PATCH {STATUS}", lambda cluster: cluster.write_status("orders", {"state": "ready"})),
]


@pytest.mark.parametrize(("request_of", "do"), ONCE)
def test_what_is_gone_needs_nothing(
    cluster: Cluster, api: FakeApi, request_of: str, do: Callable[[Cluster], None]
) -> None:
    api.on(request_of, refuse(404))
    do(cluster)


@pytest.mark.parametrize("status", [0, 403, 409, 500])
@pytest.mark.parametrize(("request_of", "do"), ONCE)
def test_every_other_refusal_is_told(
    cluster: Cluster, api: FakeApi, request_of: str, do: Callable[[Cluster], None], status: int
) -> None:
    api.on(request_of, refuse(status))
    with pytest.raises(ApiFailure) as caught:
        do(cluster)
    assert caught.value.status == status


def test_a_run_is_cancelled(cluster: Cluster, api: FakeApi) -> None:
    api.on(f"PATCH {RUNS}/r")
    cluster.cancel("r")
    assert api.get_body(f"PATCH {RUNS}/r") == {"spec": {"status": "Cancelled"}}


def test_a_status_is_merged(cluster: Cluster, api: FakeApi) -> None:
    api.on(f"PATCH {STATUS}")
    cluster.write_status("orders", {"state": "ready"})
    assert api.get_body(f"PATCH {STATUS}") == {"status": {"state": "ready"}}


def test_a_run_is_created_once(cluster: Cluster, api: FakeApi) -> None:
    api.on(f"POST {RUNS}")
    assert cluster.create_run({"metadata": {"name": "r"}}) is True
    api.on(f"POST {RUNS}", refuse(409))
    assert cluster.create_run({"metadata": {"name": "r"}}) is False
    api.on(f"POST {RUNS}", refuse(422))
    with pytest.raises(ApiFailure):
        cluster.create_run({"metadata": {"name": "r"}})


# -- the central repository --------------------------------------------------------------------------

APPLICATIONS = "/apis/tekton-bootstrap.dev/v1alpha1/namespaces/cicd/applications"
STRICT = "?fieldManager=tekton-bootstrap-repository&force=true&fieldValidation=Strict"
STATE = "/api/v1/namespaces/cicd/configmaps/apps-repository"


def test_an_application_of_the_repository_is_applied_strictly(api: FakeApi, cluster: Cluster) -> None:
    obj = {"metadata": {"name": "orders"}}
    api.on(f"PATCH {APPLICATIONS}/orders{STRICT}&dryRun=All")
    api.on(f"PATCH {APPLICATIONS}/orders{STRICT}")
    cluster.declare(obj, dry_run=True)
    assert api.requests == [f"PATCH {APPLICATIONS}/orders{STRICT}&dryRun=All"]
    cluster.declare(obj)
    assert api.get_body(f"PATCH {APPLICATIONS}/orders{STRICT}") == obj


def test_applications_are_listed_and_deleted(api: FakeApi, cluster: Cluster) -> None:
    api.on(f"GET {APPLICATIONS}", {"items": [{"metadata": {"name": "orders"}}]})
    assert cluster.list_applications() == [{"metadata": {"name": "orders"}}]
    api.on(f"DELETE {APPLICATIONS}/orders", refuse(404))
    cluster.delete_application("orders")
    api.on(f"DELETE {APPLICATIONS}/orders", refuse(403))
    with pytest.raises(ApiFailure):
        cluster.delete_application("orders")


def test_how_far_the_repository_is_applied_is_kept_and_told(api: FakeApi, cluster: Cluster) -> None:
    state = SourceState("https://git.example.com/p.git main apps", "Applied", "a", "a", "2027-01-15T08:00:00Z", 2)
    api.on(f"GET {STATE}", {"data": state.to_data()})
    assert cluster.read_source_state() == state
    api.on(f"PATCH {STATE}")
    cluster.write_source_state(state)
    assert api.get_body(f"PATCH {STATE}") == {"data": state.to_data()}
    api.on("POST /api/v1/namespaces/cicd/events")
    cluster.write_source_event("Refused", "x" * 2000, warns=True)
    event = api.get_body("POST /api/v1/namespaces/cicd/events")
    assert (event["type"], event["reason"], len(event["message"])) == ("Warning", "Refused", 1000)
    assert event["involvedObject"]["name"] == "apps-repository"
    assert event["firstTimestamp"] == "2026-07-25T00:00:00Z"
