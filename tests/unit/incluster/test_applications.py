"""Applications: what is filled in, what is found at fault, and runs whose names nobody shares."""

from __future__ import annotations

import random
import re
import string
from typing import Any

import pytest

from bootstrap.incluster.applications import (
    Application,
    ApplicationFault,
    Environment,
    fill_run,
    find_faults,
    make_parameters,
    make_run,
    make_run_name,
    make_run_prefix,
    make_target_name,
    overlaps,
    parse_duration,
    read_application,
)
from bootstrap.incluster.run_names import LABEL_LENGTH

REGISTRY = "registry.tekton.internal:5000"
COMMIT = "84a81d2f01d3" + "0" * 28
NAME, LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?"), re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")


def declare(name: str = "orders", **spec: Any) -> Application:
    return read_application({"metadata": {"name": name}, "spec": spec}, REGISTRY)


def place(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


# -- what is filled in -------------------------------------------------------------------------------


@pytest.mark.parametrize("obj", [{}, {"spec": None}, {"spec": {}}, {"spec": {"repository": None, "build": None}}])
def test_a_name_says_all(obj: dict[str, Any]) -> None:
    found = read_application({"metadata": {"name": "orders"}, **obj}, REGISTRY)
    assert found == Application(
        name="orders",
        url="http://git.git.svc.cluster.local/orders.git",
        image=f"{REGISTRY}/apps/orders",
        environments=(Environment("default", "orders", "orders", "orders", ("main",)),),
    )
    assert (found.webhook, found.poll, found.context, found.dockerfile, found.port) == (
        True,
        0,
        ".",
        "Dockerfile",
        8080,
    )
    assert found.is_hosted
    assert found.repository == "orders"
    assert found.get_environment().creates


def test_what_is_said_counts() -> None:
    spec = {
        "owner": "team-sales",
        "repository": {"url": "https://git.example.com/sales/orders.git"},
        "arrive": {"webhook": False, "poll": "5m"},
        "build": {
            "context": "services/orders",
            "dockerfile": "prod.Dockerfile",
            "target": "prod",
            "args": {"B": "two words", "A": "1"},
            "image": "hub.example.com/sales/o",
        },
        "port": 9000,
        "environments": [
            place("staging", namespace="sales-staging", branches=["main", "release/*"], rollout="90s"),
            place("production", namespace="sales", promote=True, deployment="web", container="main"),
        ],
    }
    metadata = {"name": "orders", "uid": "u-1"}
    assert read_application({"metadata": metadata, "spec": spec}, REGISTRY) == Application(
        name="orders",
        url="https://git.example.com/sales/orders.git",
        image="hub.example.com/sales/o",
        environments=(
            Environment("staging", "sales-staging", "orders", "orders", ("main", "release/*"), rollout=90),
            Environment("production", "sales", "web", "main", (), promote=True, creates=False),
        ),
        owner="team-sales",
        webhook=False,
        poll=300,
        context="services/orders",
        dockerfile="prod.Dockerfile",
        target="prod",
        args=(("A", "1"), ("B", "two words")),
        port=9000,
        uid="u-1",
    )


def test_a_repository_elsewhere_is_not_hosted() -> None:
    found = declare(repository={"url": "https://git.example.com/sales/orders.git/"})
    assert not found.is_hosted
    assert found.repository == "sales/orders"
    assert not declare(repository={"url": "http://git.git.svc.cluster.local.example.com/a/b"}).is_hosted


@pytest.mark.parametrize(
    ("fields", "branches"),
    [
        ({}, ("main",)),
        ({"branches": []}, ()),
        ({"branches": ["a", "b"]}, ("a", "b")),
        ({"promote": True}, ()),
        ({"promote": False}, ("main",)),
    ],
)
def test_which_branches_go_there(fields: dict[str, Any], branches: tuple[str, ...]) -> None:
    assert declare(environments=[place("staging", **fields)]).get_environment().branches == branches


def test_the_container_is_called_as_the_deployment_is() -> None:
    found = declare(environments=[place("staging", deployment="web")]).get_environment()
    assert (found.deployment, found.container, found.creates) == ("web", "web", False)


def test_environments_by_name() -> None:
    found = declare(environments=[place("staging"), place("production", namespace="sales")])
    assert found.get_environment().name == "staging"
    assert found.get_environment("production").namespace == "sales"
    with pytest.raises(ApplicationFault, match="orders has no environment prod; it has staging, production"):
        found.get_environment("prod")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("0s", 0), ("100m", 6000)])
def test_times(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5h", "5 m", "5d", "1h30m", "5m\n", "9999999s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ApplicationFault, match="is not a time such as 90s, 5m or 1h"):
        parse_duration(text)


@pytest.mark.parametrize("spec", [{"arrive": {"poll": "soon"}}, {"environments": [place("a", rollout="soon")]}])
def test_a_time_that_is_none_is_the_applications_fault(spec: dict[str, Any]) -> None:
    with pytest.raises(ApplicationFault, match='"soon"'):
        declare(**spec)


# -- what the schema cannot see ----------------------------------------------------------------------


def test_one_that_is_alone_has_no_fault() -> None:
    found = declare(environments=[place("a", namespace="a"), place("b", namespace="b", branches=["release/*"])])
    assert find_faults(found, []) == []
    assert find_faults(found, [found]) == [], "it claims what is its own"


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("main", "main", True),
        ("main", "master", False),
        ("release/*", "release/1", True),
        ("release/1", "release/*", True),
        ("release/1/2", "release/*", False),
        ("*", "main", True),
        ("feature.x", "feature*x", True),
        ("featurex", "feature.x", False),
        ("release/*", "release/*", True),
        ("a*", "*b", False),
    ],
)
def test_a_branch_goes_to_one_environment(one: str, other: str, *, shared: bool) -> None:
    assert overlaps(one, other) is overlaps(other, one) is shared
    found = declare(
        environments=[place("a", namespace="a", branches=[one]), place("b", namespace="b", branches=[other])]
    )
    wanted = [f"branch {other} of environment b goes to a already ({one})"] if shared else []
    assert find_faults(found, []) == wanted


def test_environments_have_deployments_of_their_own() -> None:
    """By default all of them have the application's name and namespace."""
    found = declare(environments=[place("staging"), place("production", promote=True)])
    assert find_faults(found, []) == ["environments staging and production are both Deployment orders/orders"]


def test_what_another_application_claims() -> None:
    older = declare("invoices", environments=[place("a", namespace="sales", deployment="web")])
    assert find_faults(declare(environments=[place("b", namespace="sales", deployment="web")]), [older]) == [
        "Deployment sales/web is application invoices's"
    ]
    assert find_faults(declare(environments=[place("b", namespace="sales", deployment="api")]), [older]) == []
    assert find_faults(declare(environments=[place("b", namespace="shop", deployment="web")]), [older]) == []
    assert find_faults(declare(build={"image": older.image}), [older]) == [
        f"image {REGISTRY}/apps/invoices is application invoices's"
    ]


# -- the names of runs -------------------------------------------------------------------------------


def test_a_runs_name() -> None:
    single = declare()
    assert make_run_name(single, single.get_environment(), COMMIT, "3c1e9a7b") == "orders-84a81d2f01d3-3c1e9a7b"
    several = declare(environments=[place("staging"), place("production", promote=True)])
    name = make_run_name(several, several.get_environment("staging"), COMMIT, "3c1e9a7b")
    assert name == "orders--staging-84a81d2f01d3-3c1e9a7b"


def pick_name(source: random.Random, length: int, of: str) -> str:
    """As the schema lets one be: no dash at an end, no two of them together."""
    text = "".join(source.choice(of) for _ in range(length))
    text = re.sub("-+", "-", text).strip("-").lstrip(string.digits + "-")
    return text or "a"


def test_a_runs_name_is_a_label_and_nobody_elses() -> None:
    """Of letters so few that names are alike, long and short, with one environment and with several."""
    source = random.Random(7)  # noqa: S311  names, not secrets
    prefixes: dict[str, tuple[str, str]] = {}
    for _ in range(4000):
        of = source.choice(["ab-", "a-", string.ascii_lowercase + string.digits + "-"])
        name = pick_name(source, source.randint(1, 40), of)
        places = {pick_name(source, source.randint(1, 20), of) for _ in range(source.randint(1, 3))}
        found = declare(name, environments=[place(each) for each in sorted(places)])
        for each in found.environments:
            run = make_run_name(found, each, "f" * 40, "3c1e9a7b")
            assert len(run) <= LABEL_LENGTH
            assert NAME.fullmatch(run), run
            whose = (name, each.name if len(places) > 1 else "")
            assert prefixes.setdefault(make_run_prefix(found, each), whose) == whose


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", ["b-c", "x"]), ("a-b", ["c", "x"])),
        (("orders", ["staging", "x"]), ("orders-staging", ["default"])),
        (("a" * 30, ["b-" + "c" * 15, "x"]), ("a" * 30 + "-b", ["c" * 15, "x"])),
    ],
)
def test_one_delivery_that_starts_two_runs_names_them_apart(
    one: tuple[str, list[str]], other: tuple[str, list[str]]
) -> None:
    """Two applications may build from one repository: one push is one commit and one delivery to both."""
    names = set()
    for name, places in (one, other):
        found = declare(name, environments=[place(each) for each in places])
        names.add(make_run_name(found, found.environments[0], COMMIT, "3c1e9a7b"))
    assert len(names) == 2


def test_a_targets_name_is_nobody_elses() -> None:
    several = declare("a", environments=[place("b-c"), place("d")])
    assert [make_target_name(several, each) for each in several.environments] == ["target-a.b-c", "target-a.d"]


# -- runs --------------------------------------------------------------------------------------------


def bare_run() -> dict[str, Any]:
    return {
        "metadata": {"generateName": "go-echo-", "namespace": "cicd", "labels": {"team": "x"}},
        "spec": {
            "params": [
                {"name": "REPO", "value": "http://git.git.svc.cluster.local/go-echo.git"},
                {"name": "ROLLOUT_SECONDS", "value": "225"},
                {"name": "NEWER", "value": "stays"},
            ],
            "workspaces": [
                {"name": "shared", "persistentVolumeClaim": {"claimName": "workspace"}},
                {"name": "target", "secret": {"secretName": "target-kubeconfig"}},
            ],
        },
    }


def test_parameters_are_what_differs() -> None:
    build = {"target": "prod", "args": {"FLAGS": "-s & -w"}}
    found = declare(port=9000, build=build, environments=[place("staging", rollout="5m"), place("b", deployment="web")])
    wanted = {
        "REPO": "http://git.git.svc.cluster.local/orders.git",
        "REVISION": COMMIT,
        "IMAGE": f"{REGISTRY}/apps/orders",
        "NAMESPACE": "orders",
        "NAME": "orders",
        "CONTAINER": "orders",
        "DOCKERFILE": "Dockerfile",
        "CONTEXT": ".",
        "PORT": "9000",
        "NOTIFY": "notify",
        "LOGIN": "",
        "TARGET": "prod",
        "BUILD_ARGS": "FLAGS=-s%20%26%20-w",
        "ROLLOUT_SECONDS": "300",
    }
    assert make_parameters(found, found.get_environment("staging"), COMMIT) == wanted
    other = make_parameters(found, found.get_environment("b"), COMMIT)
    assert other["PORT"] == "", "a Deployment that is named is not made"
    assert "ROLLOUT_SECONDS" not in other, "the environment's own setting"


def test_a_run_waits_and_says_whose_it_is() -> None:
    found = declare(environments=[place("staging")])
    given = bare_run()
    run = make_run(given, found, found.get_environment(), name="orders-x", branch="release/1", commit=COMMIT, by="poll")
    assert given == bare_run(), "another run may be made of it"
    assert run["spec"]["status"] == "PipelineRunPending"
    assert run["metadata"] == {
        "name": "orders-x",
        "namespace": "cicd",
        "labels": {
            "team": "x",
            "tekton-bootstrap.dev/application": "orders",
            "tekton-bootstrap.dev/environment": "staging",
            "tekton-bootstrap.dev/trigger": "poll",
            "tekton-bootstrap.dev/commit": COMMIT,
            "tekton-bootstrap.dev/branch": "release-1",
        },
        "annotations": {"tekton-bootstrap.dev/commit": COMMIT, "tekton-bootstrap.dev/branch": "release/1"},
    }
    params = {each["name"]: each["value"] for each in run["spec"]["params"]}
    assert (params["REVISION"], params["NEWER"], params["ROLLOUT_SECONDS"]) == (COMMIT, "stays", "225")
    assert run["spec"]["workspaces"] == [
        {"name": "shared", "persistentVolumeClaim": {"claimName": "workspace"}},
        {"name": "target", "secret": {"secretName": "target-orders.staging"}},
        {"name": "git-login", "secret": {"secretName": "no-git-login", "optional": True}},
    ]


def test_another_chat_is_named_by_its_secret() -> None:
    found = declare(notify={"secret": "notify-sales"})
    assert make_parameters(found, found.get_environment(), COMMIT)["NOTIFY"] == "notify-sales"
    assert declare(notify={}).notify == declare().notify == "notify"


@pytest.mark.parametrize("url", ["git@Git.example.com:sales/orders.git", "ssh://git@Git.example.com/sales/orders.git"])
def test_a_repository_by_ssh_is_named_in_one_form_and_opened_by_its_login(url: str) -> None:
    found = declare(repository={"url": url, "login": "sales-git"})
    assert (found.url, found.login) == ("ssh://git@Git.example.com/sales/orders.git", "sales-git")
    assert (found.repository, found.is_hosted) == ("sales/orders", False)
    run = make_run(bare_run(), found, found.get_environment(), name="x", branch="main", commit=COMMIT, by="hand")
    params = {each["name"]: each["value"] for each in run["spec"]["params"]}
    assert (params["REPO"], params["LOGIN"]) == (found.url, "sales-git")
    assert run["spec"]["workspaces"][-1]["secret"] == {"secretName": "sales-git", "optional": True}


@pytest.mark.parametrize("branch", ["", "main", "a" * 200, "größe/ümläut", "-x-", "release/2.0"])
def test_labels_are_labels_whatever_the_branch(branch: str) -> None:
    found = declare()
    run = make_run(bare_run(), found, found.get_environment(), name="x", branch=branch, commit="c" * 64, by="hand")
    for value in run["metadata"]["labels"].values():
        assert len(value) <= LABEL_LENGTH
        assert LABEL.fullmatch(value)
    assert run["metadata"]["annotations"]["tekton-bootstrap.dev/branch"] == branch


def test_a_run_of_a_branch_alone_is_of_what_it_is_then() -> None:
    found = declare()
    run = make_run(bare_run(), found, found.get_environment(), name="x", branch="main", commit="", by="hand")
    assert {each["name"]: each["value"] for each in run["spec"]["params"]}["REVISION"] == "main"


def test_a_run_is_filled_in_place() -> None:
    run = bare_run()
    assert fill_run(run, {"REPO": "there", "PORT": ""}, "target-a.b", "sales-git") is run
    assert fill_run(run, {}, "target-a.b", "a-git") is run, "again"
    assert run["spec"]["workspaces"][1:] == [
        {"name": "target", "secret": {"secretName": "target-a.b"}},
        {"name": "git-login", "secret": {"secretName": "a-git", "optional": True}},
    ]
    assert run["spec"]["params"] == [
        {"name": "REPO", "value": "there"},
        {"name": "ROLLOUT_SECONDS", "value": "225"},
        {"name": "NEWER", "value": "stays"},
        {"name": "PORT", "value": ""},
    ]
