"""The kind Application and a real API server: it is accepted, it takes what people write, it refuses the rest."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Object, Pending, Ready, Verdict
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.incluster.applications import API_VERSION, KIND, Application, read_application
from bootstrap.incluster.git_login import BASIC_AUTH, LoginFault
from bootstrap.incluster.kube_api import ApiFailure
from bootstrap.incluster.path_patterns import find_path_fault
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.incluster.run_queue import Number, Phase, Release, read_run
from bootstrap.manager.application_status import make_status
from bootstrap.manager.cluster import Cluster
from bootstrap.manager.derived_objects import make_deployer
from bootstrap.objects.login_grant import make_login_grant
from bootstrap.world.kube.client import Kube
from tests.integration.agent_door import agent_door, definition
from tests.integration.control_plane import ControlPlane
from tests.integration.patience import await_kind

pytestmark = pytest.mark.integration
CRD = PROJECT / "manifests/manager/application-crd.yaml"
MANAGER, TRIGGERS = "manager/manager.yaml", "triggers.tekton.dev/v1beta1"
COMPANY = """
apiVersion: tekton-bootstrap.dev/v1alpha1
kind: Application
metadata:
  name: orders
spec:
  owner: team-sales
  repository:
    url: https://git.example.com/sales/orders.git
  paths: [services/orders/**, libs/**]
  arrive: {webhook: true, poll: 5m}
  build:
    context: services/orders
    dockerfile: Dockerfile
    target: prod
    args: {APP_ENV: staging, FLAGS: -s -w 生产}
    image: ""
  port: 9000
  environments:
  - name: staging
    namespace: sales-staging
    branches: [main, release/*]
    deployment: orders
    container: web
    rollout: 5m
  - name: production
    namespace: sales
    promote: true
"""


def define_trigger() -> Object:
    """The kind of Triggers, as much of it as the manager sees."""
    made = definition("Trigger")
    made["metadata"]["name"] = "triggers.triggers.tekton.dev"
    made["spec"]["group"] = "triggers.tekton.dev"
    made["spec"]["versions"][0]["name"] = "v1beta1"
    return made


@pytest.fixture(scope="module", autouse=True)
def _kind(kube: Kube) -> None:
    kube.apply([yaml.safe_load(CRD.read_text())])
    await_kind(kube, API_VERSION, KIND)


def application(namespace: str, spec: Any = None, name: str = "orders") -> Object:
    made: Object = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
    }
    return made if spec is None else made | {"spec": spec}


def place(**fields: Any) -> Object:
    return {"environments": [{"name": "staging", **fields}]}


def test_a_name_alone_is_an_application(kube: Kube, namespace: str) -> None:
    [made] = kube.apply([application(namespace)])
    assert made["spec"] == {"arrive": {"webhook": True}, "build": {}, "repository": {}}
    found = read_application(made, "registry:5000")
    assert (found.url, found.uid) == ("http://git.git.svc.cluster.local/orders.git", made["metadata"]["uid"])


def test_what_a_company_writes_stays_as_it_is(kube: Kube, namespace: str) -> None:
    wanted = yaml.safe_load(COMPANY)
    wanted["metadata"]["namespace"] = namespace
    [made] = kube.apply([copy.deepcopy(wanted)])
    assert made["spec"] == wanted["spec"]
    found = read_application(made, "registry:5000")
    assert [(each.name, each.promote, each.rollout) for each in found.environments] == [
        ("staging", False, 300),
        ("production", True, 0),
    ]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("a", None),
        ("a" * 40, None),
        ("orders-2", {}),
        ("orders", {"repository": {"url": ""}, "build": {"image": ""}, "arrive": {"poll": ""}}),
        ("orders", {"repository": {"url": "http://10.0.0.1:3000/a/b"}}),
        ("orders", {"repository": {"url": "https://git.example.com/Sales/~me/or_ders.x.git/"}}),
        *[
            ("orders", {"repository": {"url": each, "login": "sales-git"}})
            for each in (
                "https://git.example.com/sales/orders.git",
                "ssh://git@git.example.com/sales/orders.git",
                "ssh://git@git.example.com:2222/~me/or_ders.git/",
                "git@git.example.com:sales/orders.git",
                "git@git.example.com:/srv/git/orders",
                "ci.bot_2@10.0.0.1:orders",
            )
        ],
        ("orders", {"repository": {"url": "https://git.example.com/a/b", "login": ""}}),
        ("orders", {"repository": {"url": "", "login": ""}}),
        ("orders", {"arrive": {"webhook": False, "poll": "1h"}}),
        ("orders", {"build": {"context": ".", "dockerfile": "build/Dockerfile.prod"}}),
        ("orders", {"build": {"context": "a..b/...", "dockerfile": "..Dockerfile"}}),
        ("orders", {"build": {"image": "registry.example.com:5000/sales/orders"}}),
        ("orders", {"port": 65535}),
        ("git", place(namespace="sales")),
        ("orders", place(branches=["*", "feature/#1", "release/*", "größe"])),
        ("orders", place(branches=[])),
        ("orders", place(promote=True, branches=[])),
        ("orders", place(promote=False, branches=["main"])),
        ("orders", place(namespace="kubernetes", deployment="web.v1", container="3scale", rollout="90s")),
    ],
)
def test_it_takes(kube: Kube, namespace: str, name: str, spec: Any) -> None:
    kube.apply([application(namespace, spec, name)], dry_run=True)


DIGITS = "the name must be of lower case letters, digits and single dashes, with a letter first"
ADDRESS = "the address must begin with http://, https:// or ssh://, or be such as git@git.example.com:sales/orders.git"
NO_LOGIN = "the address must hold no login; repository.login names the Secret with it"
NO_PASSWORD = "the address must hold no password; by ssh a key is the login"
BY_SSH = (
    "an address of ssh needs repository.login, the name of a Secret of type kubernetes.io/ssh-auth with known_hosts"
)
OWN = "repository.login is for a repository elsewhere; the environment's own git server needs none"
REPOSITORY = (
    "the address must be that of a repository, such as https://git.example.com/sales/orders.git "
    "or ssh://git@git.example.com/sales/orders.git"
)
TIME = "the time must be such as 5m or 1h"
IMAGE = r"the image must be HOST\[:PORT\]/PATH without a tag"
SYSTEM = "the namespace must not be one of the system"
SYSTEM_NAMESPACES = (
    "cicd",
    "cicd-build",
    "git",
    "default",
    "local-path-storage",
    "kube-system",
    "tekton-pipelines",
)
BOTH = "an environment has branches, or is promoted to by hand"


@pytest.mark.parametrize(
    ("name", "spec", "why"),
    [
        ("a" * 41, None, "the name must have at most 40 characters"),
        ("orders.v2", None, DIGITS),
        ("2orders", None, DIGITS),
        ("orders--x", None, DIGITS),
        ("git", None, SYSTEM),
        ("tekton-x", None, SYSTEM),
        ("orders", {"owner": "x" * 101}, "may not be more than 100"),
        ("orders", {"repository": {"url": "git@git.example.com:sales/orders.git"}}, BY_SSH),
        ("orders", {"repository": {"url": "ssh://git@git.example.com/a/b", "login": ""}}, BY_SSH),
        ("orders", {"repository": {"url": "git.example.com:a/b", "login": "x"}}, ADDRESS),
        ("orders", {"repository": {"url": "git@git.example.com", "login": "x"}}, ADDRESS),
        ("orders", {"repository": {"url": "-oProxyCommand=id@git.example.com:a/b", "login": "x"}}, ADDRESS),
        ("orders", {"repository": {"url": "ssh://-oProxyCommand=id/a/b", "login": "x"}}, ADDRESS),
        ("orders", {"repository": {"url": "git:secret@git.example.com:a/b", "login": "x"}}, ADDRESS),
        ("orders", {"repository": {"url": "ssh://git:secret@git.example.com/a/b", "login": "x"}}, NO_PASSWORD),
        ("orders", {"repository": {"url": "https://me:secret@git.example.com/a/b", "login": "x"}}, NO_LOGIN),
        ("orders", {"repository": {"url": "ssh://git.example.com/a/b", "login": "x"}}, REPOSITORY),
        ("orders", {"repository": {"url": "ssh://git@git.example.com", "login": "x"}}, REPOSITORY),
        ("orders", {"repository": {"url": "ssh://git@-git.example.com/a", "login": "x"}}, REPOSITORY),
        ("orders", {"repository": {"url": "git@git.example.com:a/$(params.x)", "login": "x"}}, REPOSITORY),
        ("orders", {"repository": {"url": "git@git.example.com:a b", "login": "x"}}, REPOSITORY),
        ("orders", {"repository": {"url": "git@git.example.com:a//b", "login": "x"}}, REPOSITORY),
        ("orders", {"repository": {"login": "x"}}, OWN),
        (
            "orders",
            {"repository": {"url": "https://git.example.com/a/b", "login": "Sales"}},
            "the Secret must be a name",
        ),
        (
            "orders",
            {"repository": {"url": "https://git.example.com/a/b", "login": "../x"}},
            "the Secret must be a name",
        ),
        ("orders", {"repository": {"url": "file:///etc"}}, ADDRESS),
        ("orders", {"repository": {"url": "https://me:secret@git.example.com/a/b"}}, "the address must hold no login"),
        ("orders", {"repository": {"url": "https://git.example.com"}}, REPOSITORY),
        ("orders", {"repository": {"url": "https://git.example.com/a/b?x=1"}}, REPOSITORY),
        ("orders", {"repository": {"url": "https://git.example.com/a/$(params.x)"}}, REPOSITORY),
        ("orders", {"arrive": {"poll": "5"}}, TIME),
        ("orders", {"arrive": {"poll": "90s"}}, TIME),
        ("orders", {"arrive": {"poll": "0m"}}, TIME),
        ("orders", {"build": {"context": "/etc"}}, "the directory must be within the repository"),
        ("orders", {"build": {"context": "a/../.."}}, "the directory must be within the repository"),
        ("orders", {"build": {"dockerfile": "../Dockerfile"}}, "the Dockerfile must be within the repository"),
        ("orders", {"build": {"dockerfile": "/Dockerfile"}}, "the Dockerfile must be within the repository"),
        ("orders", {"build": {"target": "a b"}}, "the target must be the name of a stage"),
        ("orders", {"build": {"args": {"app-env": "x"}}}, "the name of a build argument must be of letters"),
        ("orders", {"build": {"args": {"COMMIT": "x"}}}, "COMMIT is set by each build"),
        ("orders", {"build": {"args": {"A": "x\ny"}}}, "should match"),
        ("orders", {"build": {"image": "orders"}}, IMAGE),
        ("orders", {"build": {"image": "registry:5000/orders:latest"}}, IMAGE),
        ("orders", {"build": {"image": "registry:5000/Orders"}}, IMAGE),
        ("orders", {"port": 0}, "should be greater than or equal to 1"),
        ("orders", {"port": 65536}, "should be less than or equal to 65535"),
        ("orders", {"port": "http"}, "expected numeric"),
        ("orders", {"environments": []}, "should have at least 1 items"),
        ("orders", {"environments": [{"name": f"e{each}"} for each in range(11)]}, "must have at most 10 items"),
        ("orders", {"environments": [{"namespace": "sales"}]}, "name"),
        ("orders", {"environments": [{"name": "a"}, {"name": "a"}]}, "duplicate"),
        ("orders", {"environments": [{"name": "Staging"}]}, "should match"),
        ("orders", {"environments": [{"name": "a--b"}]}, "should match"),
        ("orders", {"environments": [{"name": "a" * 21}]}, "may not be more than 20"),
        *[
            ("orders", place(namespace=each), SYSTEM)
            for each in (
                "cicd",
                "cicd-build",
                "git",
                "default",
                "local-path-storage",
                "kube-system",
                "tekton-pipelines",
            )
        ],
        ("orders", place(namespace="Sales"), "should match"),
        ("orders", place(namespace="a" * 51), "may not be more than 50"),
        ("orders", place(promote=True, branches=["main"]), BOTH),
        ("orders", place(branches=["a b"]), "should match"),
        ("orders", place(branches=["a^b"]), "should match"),
        ("orders", place(branches=["a\\b"]), "should match"),
        ("orders", place(branches=["a[b]"]), "should match"),
        ("orders", place(branches=[""]), "should be at least 1 chars long"),
        ("orders", place(branches=["b"] * 21), "must have at most 20 items"),
        ("orders", place(deployment="-web"), "should match"),
        ("orders", place(container="web.v1"), "should match"),
        ("orders", place(rollout="5"), "should match"),
        ("orders", place(rollout="0s"), "should match"),
        ("orders", {"enviroments": []}, "field not declared in schema"),
    ],
)
def test_it_refuses(kube: Kube, namespace: str, name: str, spec: Any, why: str) -> None:
    with pytest.raises(ApiError, match=why) as caught:
        kube.apply([application(namespace, spec, name)], dry_run=True)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "path",
    [
        *(
            "services/orders/**",
            "libs/",
            "**",
            "**/*.go",
            ".github/x",
            "a..b/...",
            "a b",
            "größe",
            "*/*/*/*",
            "a" * 200,
        ),
        *("", "a" * 201, "/a", "/", "../a", "a/..", "a/../b", ".", "./a", "a/./", "a//b", "a//", "a**", "a/**b", "***"),
        *("!a", "a?", "[ab]", "a]", "{a", "a}", "a\\b", "a\nb", "a\x7f", "**/a/**/b/**", "*a*b*", "a/*b*c*/d"),
    ],
)
def test_a_path_is_refused_by_the_schema_as_by_the_commands(kube: Kube, namespace: str, path: str) -> None:
    wanted = [application(namespace, {"paths": [path]})]
    fault = find_path_fault(path)
    if not fault:
        kube.apply(wanted, dry_run=True)
        return
    sized = "chars long|may not be more than 200"
    with pytest.raises(ApiError, match=sized if "characters" in fault else re.escape(fault)):
        kube.apply(wanted, dry_run=True)


def test_as_many_paths_as_may_be(kube: Kube, namespace: str) -> None:
    """The longest are within what the API server spends on a rule."""
    longest = "*" + "/a" * 98 + "b/*"
    kube.apply([application(namespace, {"paths": [longest] * 20})], dry_run=True)
    with pytest.raises(ApiError, match="must have at most 20 items"):
        kube.apply([application(namespace, {"paths": ["a"] * 21})], dry_run=True)


def test_a_chat_is_named_by_a_name(kube: Kube, namespace: str) -> None:
    with pytest.raises(ApiError, match=r"spec\.notify\.secret: .*the Secret must be a name of lower case letters"):
        kube.apply([application(namespace, {"notify": {"secret": "Sales"}})], dry_run=True)
    [made] = kube.apply([application(namespace, {"notify": {"secret": "notify-sales"}})], dry_run=True)
    assert read_application(made, "registry:5000").notify == "notify-sales"


def test_a_status_is_written_apart_from_what_is_declared(kube: Kube, namespace: str) -> None:
    kube.apply([application(namespace, {"port": 9000})])
    status = {"state": "ready", "environments": [{"name": "default", "waits": 0, "commit": "84a81d2"}]}
    patch = {"status": status, "spec": {"port": 1}}
    kube.patch(API_VERSION, KIND, "orders", namespace, patch=patch, subresource="status")
    found = kube.get(API_VERSION, KIND, "orders", namespace)
    assert found is not None
    assert (found["status"], found["spec"]["port"]) == (status, 9000)
    assert found["metadata"]["generation"] == 1, "a status is no change of what is wanted"


# -- the manager's rights ----------------------------------------------------------------------------


@pytest.fixture
def cluster(kube: Kube, plane: ControlPlane, tmp_path: Path) -> Iterator[Cluster]:
    """The manager's effects by the manager's own account, with the rights that are installed."""
    kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cicd"}}])
    kube.apply([define_trigger(), definition("PipelineRun")])
    await_kind(kube, TRIGGERS, "Trigger")
    await_kind(kube, "tekton.dev/v1", "PipelineRun")
    rights = yaml.safe_load_all((PROJECT / "manifests" / MANAGER).read_text())
    kube.apply([each for each in rights if each["kind"] in ("ClusterRole", "ClusterRoleBinding")])
    with closing(agent_door(kube, plane, "manager", "cicd", tmp_path, manifest=MANAGER)) as api:
        yield Cluster(api, "cicd", token_seconds=3600, login=tmp_path, account=tmp_path)


def test_the_manager_may_do_its_work(kube: Kube, cluster: Cluster) -> None:
    spec = {
        "repository": {"url": "https://git.example.com/sales/orders.git"},
        "environments": [
            {"name": "a", "namespace": "sales-a"},
            {"name": "b", "namespace": "sales-b", "branches": ["b"]},
        ],
    }
    [made] = kube.apply([application("cicd", spec)])
    found = read_application(made, "registry:5000")
    until(lambda: _try(lambda: cluster.settle(found)), clock=SystemClock(), limit=20, what="the manager's rights")
    assert cluster.settle(found) > time.time() + 60, "again, over what is there"
    for name in ("a", "b"):
        account = kube.get("v1", "ServiceAccount", "pipeline-deployer", f"sales-{name}")
        assert account is not None
        secret = kube.get("v1", "Secret", f"target-orders.{name}", "cicd")
        assert secret is not None
        assert kube.get(TRIGGERS, "Trigger", f"orders.{name}", "cicd") is not None
    cluster.refuse(found)
    assert kube.list(TRIGGERS, "Trigger", "cicd") == []


def test_the_manager_orders_runs_and_writes_states(kube: Kube, cluster: Cluster) -> None:
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "orders-1", "namespace": "cicd", "labels": {APPLICATION: "orders"}},
        "spec": {"status": "PipelineRunPending"},
    }
    until(lambda: _try(lambda: cluster.create_run(run)), clock=SystemClock(), limit=20, what="the manager's rights")
    assert cluster.create_run(run) is False
    cluster.act(Number("orders-1", 7))
    cluster.act(Release("orders-1"))
    cluster.act(Release("gone"))
    found = kube.get("tekton.dev/v1", "PipelineRun", "orders-1", "cicd")
    assert found is not None
    assert read_run(found).phase is Phase.BUILDS
    assert read_run(found).arrival == 7
    [made] = kube.apply([application("cicd", {"repository": {"url": "https://git.example.com/sales/orders.git"}})])
    declared = read_application(made, "registry:5000")
    status = make_status(declared, [read_run(found)], [])
    ready = {"type": "Ready", "status": "True", "reason": "Settled", "message": "x"}
    conditions = [ready | {"lastTransitionTime": "2027-01-15T08:00:00Z"}]
    cluster.write_status("orders", {**status, "conditions": conditions})
    cluster.write_status("gone", status)
    live = kube.get(API_VERSION, KIND, "orders", "cicd")
    assert live is not None
    assert live["status"] == {**status, "conditions": conditions}, "nothing of it is dropped by the schema"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/namespaces/cicd/secrets"),
        ("GET", "/api/v1/namespaces/cicd/secrets/target-orders.a"),
        ("GET", "/api/v1/namespaces/kube-system/serviceaccounts/pipeline-deployer-x"),
        ("POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token"),
        ("DELETE", "/apis/tekton-bootstrap.dev/v1alpha1/namespaces/default/applications/orders"),
        ("DELETE", "/apis/tekton-bootstrap.dev/v1alpha1/namespaces/cicd/applications"),
        ("GET", "/api/v1/namespaces/cicd/configmaps/manager"),
        ("DELETE", "/api/v1/namespaces/cicd/configmaps/apps-repository"),
    ],
)
def test_the_manager_may_do_no_more(cluster: Cluster, method: str, path: str) -> None:
    with pytest.raises(ApiFailure) as caught:
        cluster._api.request(method, path, {} if method == "POST" else None)
    assert caught.value.status == 403


def test_the_manager_reads_a_login_once_it_is_let_and_no_other_secret(kube: Kube, cluster: Cluster) -> None:
    data = {"username": "YWRh", "password": "c2VzYW1l"}
    annotations = {"tekton.dev/git-0": "https://git.example.com"}
    for name in ("sales-git", "stock-git"):
        metadata = {"name": name, "namespace": "cicd", "annotations": annotations}
        kube.apply([{"apiVersion": "v1", "kind": "Secret", "type": BASIC_AUTH, "metadata": metadata, "data": data}])
    spec = {"repository": {"url": "https://git.example.com/sales/orders.git", "login": "sales-git"}}
    [made] = kube.apply([application("cicd", spec)])
    found = read_application(made, "registry:5000")
    with pytest.raises(LoginFault, match="the manager is not let read Secret sales-git yet"):
        cluster.read_login(found)
    kube.apply(make_login_grant("sales-git"))
    until(lambda: _read(cluster, found), clock=SystemClock(), limit=20, what="the manager's right")
    with pytest.raises(LoginFault, match="the manager is not let read Secret stock-git yet"):
        cluster.read_login(replace(found, login="stock-git"))


def _read(cluster: Cluster, application: Application) -> Verdict:
    try:
        assert cluster.read_login(application).files == {"username": "ada", "password": "sesame"}
    except LoginFault as fault:
        return Pending(str(fault))
    return Ready()


def test_the_manager_binds_no_other_role(cluster: Cluster) -> None:
    [_, binding] = make_deployer("default")
    binding["roleRef"]["name"] = "cluster-admin"
    with pytest.raises(ApiFailure) as caught:
        cluster.apply(binding)
    assert caught.value.status == 403


def _try(do: Callable[[], object]) -> Verdict:
    """Rights are granted a moment after they were applied."""
    try:
        do()
    except ApiFailure as error:
        return Pending(str(error.strerror))
    return Ready()
