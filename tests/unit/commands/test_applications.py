"""`invoke app-add`, `app-list`, `app-show`, `app-remove`: what is typed, written and seen."""

from __future__ import annotations

import base64
import copy
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.commands import applications
from bootstrap.commands.find_application import find_application
from bootstrap.core import constants, terminal_layout
from bootstrap.core.errors import ApiError, NotFound, PreconditionError, TimedOut, UsageError
from bootstrap.core.model import Object
from bootstrap.core.text import format_age
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.objects.login_grant import make_login_grant
from tests.unit.step_world import FakeKube, StepWorld, make

WIDTH = 80
URL = "https://git.example.com/sales/orders.git"
SETTLED = {"type": "Ready", "status": "True", "reason": "Settled", "message": "pushes to main start runs"}


def condition(reason: str, message: str) -> dict[str, str]:
    return {"type": "Ready", "status": "False", "reason": reason, "message": message}


@dataclass
class AppKube(FakeKube):
    """conditions: what the manager says of an Application each time that it is read; the last one stays.

    refuse_apply: raised for a dry run, as by the schema.
    """

    conditions: list[Any] = field(default_factory=lambda: [SETTLED])
    refuse_apply: ApiError | None = None
    dry: int = 0

    def apply(self, objects: Iterable[Object], *, dry_run: bool = False) -> Any:
        given = [*objects]
        self.dry += dry_run
        if dry_run and self.refuse_apply:
            raise self.refuse_apply
        return super().apply(given, dry_run=dry_run)

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Object | None:
        found = super().get(api_version, kind, name, namespace)
        if found is None or kind != KIND:
            return found
        assert (api_version, namespace) == (API_VERSION, constants.RUNS)
        now = self.conditions.pop(0) if len(self.conditions) > 1 else self.conditions[0]
        if isinstance(now, ApiError):
            raise now
        return {**found, "status": {"conditions": [now] if now else []}}


@pytest.fixture
def world(tmp_path: Path) -> StepWorld:
    made = make(tmp_path)
    made.project = tmp_path
    made.kube = AppKube()
    return made


def get_kube(world: StepWorld) -> AppKube:
    assert isinstance(world.kube, AppKube)
    return world.kube


def list_lines(world: StepWorld) -> list[str]:
    """What is seen, tables as the terminal prints them."""
    lines: list[str] = []
    for kind, *rest in world.report.printed:
        lines += terminal_layout.format_table(*rest) if kind == "table" else [rest[0]]
    return lines


def declare(name: str = "orders", *, status: Any = None, ready: Any = SETTLED, **spec: Any) -> Object:
    conditions = {"conditions": [ready]} if ready else {}
    metadata = {"name": name, "namespace": constants.RUNS}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": spec,
        "status": conditions | (status or {}),
    }


# -- app-add -----------------------------------------------------------------------------------------


def test_a_name_is_all_that_it_needs(world: StepWorld) -> None:
    assert applications.app_add(world.open(), source="orders") == 0
    file = world.project / "apps/orders.yaml"
    assert yaml.safe_load(file.read_text()) == {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "orders"},
    }
    applied = world.kube.objects[KIND, "cicd", "orders"]["metadata"]
    assert (applied["name"], applied["namespace"]) == ("orders", "cicd")
    assert list_lines(world) == [
        f"written    {file}",
        "applied    Application orders: deploys to orders",
        "clone      invoke clone --app orders",
        "ready in 0 s.  next: git push · invoke test-run --app orders",
    ]


def test_the_flags_are_what_is_written(world: StepWorld) -> None:
    applications.app_add(
        world.open(),
        source=URL,
        namespace="sales",
        branch="release/*",
        context="services/orders",
        dockerfile="prod.Dockerfile",
        deployment="web",
        port=9000,
        poll="5m",
        paths="services/orders/**, libs/common",
    )
    assert yaml.safe_load((world.project / "apps/orders.yaml").read_text())["spec"] == {
        "repository": {"url": URL},
        "paths": ["services/orders/**", "libs/common"],
        "arrive": {"poll": "5m"},
        "build": {"context": "services/orders", "dockerfile": "prod.Dockerfile"},
        "port": 9000,
        "environments": [{"name": "default", "namespace": "sales", "deployment": "web", "branches": ["release/*"]}],
    }
    assert any(line.startswith("git host   webhook:") for line in list_lines(world))


@pytest.mark.parametrize("paths", ["/a", "a,../b", "a,,b", "a?"])
def test_paths_that_are_none_are_refused(world: StepWorld, paths: str) -> None:
    with pytest.raises(UsageError, match=r'--paths: ".*": a path must'):
        applications.app_add(world.open(), source="orders", paths=paths)
    assert not (world.project / "apps/orders.yaml").exists()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://git.example.com/sales/orders", "orders"),
        ("https://git.example.com/sales/orders.git/", "orders"),
        ("https://git.example.com/sales/Order_Service.git", "order-service"),
        (f"https://git.example.com/sales/{'x' * 60}", "x" * 40),
    ],
)
def test_an_address_gives_the_name(source: str, name: str) -> None:
    made = applications.make_object(
        source, namespace="", branch="", port=0, context="", dockerfile="", deployment="", poll="", paths=""
    )
    assert made["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("Orders", "invoke app-add orders"),
        ("sales/orders", "invoke app-add orders"),
        ("orders--x", "invoke app-add orders-x"),
        ("git.example.com/sales/orders.git", "invoke app-add orders"),
        ("", "invoke app-add https://git.example.com/sales/orders.git"),
        ("https://git.example.com/", "invoke app-add https://git.example.com/sales/orders.git"),
        ("größe", "invoke app-add gr-e"),
    ],
)
def test_what_is_neither_a_name_nor_an_address(world: StepWorld, source: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        applications.app_add(world.open(), source=source)
    assert caught.value.hint == hint
    assert world.kube.objects == {}


@pytest.mark.parametrize(
    "source",
    [
        "https://me:s3cret@git.example.com/sales/orders.git",
        "https://s3cret@git.test/a",
        "ssh://git:s3cret@git.test/a",
        "git:s3cret@git.test:a/b",
    ],
)
def test_an_address_with_a_login_is_refused_and_not_repeated(world: StepWorld, source: str) -> None:
    """Before anything is asked: the API server's answers, and its logs, would have it."""
    with pytest.raises(UsageError, match=r"login|begins with the user") as caught:
        applications.app_add(world.open(), source=source)
    assert "s3cret" not in caught.value.message + caught.value.hint
    assert get_kube(world).dry == 0
    assert not (world.project / "apps").exists()


def test_what_the_api_server_refuses_is_not_written(world: StepWorld) -> None:
    get_kube(world).refuse_apply = ApiError("spec.arrive.poll: the time must be such as 5m or 1h", status=422)
    with pytest.raises(ApiError, match="the time must be such as 5m or 1h"):
        applications.app_add(world.open(), source="orders", poll="soon")
    assert not (world.project / "apps").exists()
    assert world.kube.objects == {}
    assert world.report.printed == []


def test_a_file_that_is_there_stays(world: StepWorld) -> None:
    file = world.project / "apps/orders.yaml"
    file.parent.mkdir()
    file.write_text("mine")
    with pytest.raises(UsageError, match=r"orders\.yaml is there already"):
        applications.app_add(world.open(), source="orders")
    assert file.read_text() == "mine"


def test_an_application_that_is_there_stays(world: StepWorld) -> None:
    world.kube.put(declare(port=9000))
    with pytest.raises(UsageError, match="there is an application orders already") as caught:
        applications.app_add(world.open(), source="orders")
    assert caught.value.hint == "invoke app-show orders"
    assert world.kube.objects[KIND, "cicd", "orders"]["spec"] == {"port": 9000}
    assert not (world.project / "apps").exists()


def test_it_waits_until_the_manager_has_made_all(world: StepWorld) -> None:
    unsettled = condition("Unsettled", "git does not answer")
    get_kube(world).conditions = [None, ApiError("away", status=0), unsettled, SETTLED]
    applications.app_add(world.open(), source="orders")
    assert len(world.clock.slept) == 3


def test_what_the_manager_refuses_is_told_at_once(world: StepWorld) -> None:
    get_kube(world).conditions = [condition("Refused", "image x is application y's")]
    with pytest.raises(PreconditionError, match="application orders: image x is application y's") as caught:
        applications.app_add(world.open(), source="orders")
    assert caught.value.hint == "invoke app-remove orders"
    assert world.clock.slept == []


@pytest.mark.parametrize(
    ("now", "why"),
    [(None, "the manager has not looked at it yet"), (condition("Unsettled", "git is away"), "git is away")],
)
def test_a_manager_that_does_not_come_to_it(world: StepWorld, now: Any, why: str) -> None:
    get_kube(world).conditions = [now]
    with pytest.raises(TimedOut, match="application orders was not ready within 60 s") as caught:
        applications.app_add(world.open(), source="orders")
    assert caught.value.evidence == why


# -- app-add: the login of the repository ------------------------------------------------------------

BY_SSH = "git@git.example.com:sales/orders.git"
FILE = "apps/orders.yaml"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a key, the same with a passphrase, and known_hosts with two hosts."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name, passphrase in (("key", ""), ("locked", "open sesame")):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(folder / name)]
        subprocess.run(words, check=True)
    (folder / "known_hosts").write_text("git.example.com ssh-ed25519 AAAA\nother.test ssh-ed25519 BBBB\n")
    (folder / "other_hosts").write_text("other.test ssh-ed25519 BBBB\n")
    (folder / "binary").write_bytes(b"\xff\xfe")
    return folder


def list_grants(world: StepWorld) -> list[tuple[str, str]]:
    return sorted((kind, name) for kind, _, name in world.kube.objects if kind in ("Role", "RoleBinding"))


def test_a_key_becomes_a_secret_that_the_manager_may_read(world: StepWorld, keys: Path) -> None:
    files: dict[str, Any] = {"identity": str(keys / "key"), "known_hosts": str(keys / "known_hosts")}
    assert applications.app_add(world.open(), source=BY_SSH, **files) == 0
    secret = world.kube.objects["Secret", "cicd", "orders-git"]
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert secret["type"] == "kubernetes.io/ssh-auth"
    assert data == {"ssh-privatekey": (keys / "key").read_text(), "known_hosts": "git.example.com ssh-ed25519 AAAA\n"}
    assert secret["metadata"]["labels"] == {"tekton-bootstrap.dev/login": "git"}, "prune passes over it"
    assert list_grants(world) == [("Role", "git-login.orders-git"), ("RoleBinding", "git-login.orders-git")]
    declared = yaml.safe_load((world.project / FILE).read_text())["spec"]["repository"]
    assert declared == {"url": BY_SSH, "login": "orders-git"}
    lines = list_lines(world)
    assert f"git host   deploy key, read only: {keys / 'key.pub'}" in lines
    assert "login      Secret cicd/orders-git, made of the key and the host's lines of known_hosts" in lines
    assert not any("PRIVATE" in line or "AAAA" in line for line in lines)


def test_a_secret_that_is_there_is_used(world: StepWorld, keys: Path) -> None:
    metadata = {"name": "sales-git", "namespace": "cicd"}
    encoded = {
        "ssh-privatekey": base64.b64encode((keys / "key").read_bytes()).decode(),
        "known_hosts": base64.b64encode((keys / "known_hosts").read_bytes()).decode(),
    }
    world.kube.put({"kind": "Secret", "type": "kubernetes.io/ssh-auth", "metadata": metadata, "data": encoded})
    applications.app_add(world.open(), source=f"ssh://{BY_SSH.replace(':', '/')}", login="sales-git")
    assert yaml.safe_load((world.project / FILE).read_text())["spec"]["repository"]["login"] == "sales-git"
    assert "login      Secret cicd/sales-git" in list_lines(world)
    assert list_grants(world) == [("Role", "git-login.sales-git"), ("RoleBinding", "git-login.sales-git")]
    files: dict[str, Any] = {"identity": str(keys / "key"), "known_hosts": str(keys / "known_hosts")}
    with pytest.raises(UsageError, match="Secret cicd/sales-git is there already") as caught:
        applications.app_add(world.open(), source="git@git.example.com:sales/stock.git", login="sales-git", **files)
    assert "--login sales-git alone" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "flags", "why", "hint"),
    [
        (BY_SSH, {}, "a repository by ssh needs a login", "--identity FILE --known-hosts FILE makes one"),
        (BY_SSH, {"identity": "key"}, "--identity needs --known-hosts", "ssh-keyscan git.example.com > known_hosts"),
        (BY_SSH, {"login": "a", "known_hosts": "known_hosts"}, "--known-hosts belongs to a key", "--identity FILE"),
        (BY_SSH, {"identity": "locked", "known_hosts": "known_hosts"}, "locked has a passphrase", ""),
        (BY_SSH, {"identity": "key.pub", "known_hosts": "known_hosts"}, "key.pub is a public key", ""),
        (BY_SSH, {"identity": "none", "known_hosts": "known_hosts"}, "none cannot be read: No such file", ""),
        (BY_SSH, {"identity": "binary", "known_hosts": "known_hosts"}, "binary is no text", ""),
        (BY_SSH, {"identity": "", "known_hosts": ""}, "a repository by ssh needs a login", ""),
        (
            BY_SSH,
            {"identity": "key", "known_hosts": "other_hosts"},
            "other_hosts has no key of git.example.com: the host has to be pinned",
            "compare the fingerprints",
        ),
        (
            BY_SSH,
            {"login": "sales-git"},
            "Secret sales-git is not there",
            "kubectl -n cicd create secret generic sales",
        ),
        (URL, {"login": "sales-git"}, "Secret sales-git is not there", "--type=kubernetes.io/basic-auth"),
        (URL, {"identity": "key", "known_hosts": "known_hosts"}, "is no address of ssh", "invoke app-add git@HOST"),
        ("orders", {"login": "sales-git"}, "the environment's own git server needs no login", ""),
        ("git.example.com:sales/orders", {"login": "sales-git"}, "an address of ssh begins with the user", "git@HOST"),
    ],
)
def test_what_is_no_login_is_told_before_anything_is_made(
    world: StepWorld, keys: Path, source: str, flags: dict[str, str], why: str, hint: str
) -> None:
    given: dict[str, Any] = {
        key: str(keys / value) if value and key != "login" else value for key, value in flags.items()
    }
    with pytest.raises(UsageError) as caught:
        applications.app_add(world.open(), source=source, **given)
    assert why in caught.value.message
    assert hint in caught.value.hint
    assert world.kube.objects == {}
    assert get_kube(world).dry == 0
    assert not (world.project / "apps").exists()


def test_what_the_api_server_refuses_leaves_no_secret(world: StepWorld, keys: Path) -> None:
    get_kube(world).refuse_apply = ApiError("spec.arrive.poll: the time must be such as 5m or 1h", status=422)
    files: dict[str, Any] = {"identity": str(keys / "key"), "known_hosts": str(keys / "known_hosts")}
    with pytest.raises(ApiError):
        applications.app_add(world.open(), source=BY_SSH, poll="soon", **files)
    assert world.kube.objects == {}


def test_the_login_is_shown_and_stays_when_its_application_goes(world: StepWorld) -> None:
    for name in ("orders", "stock"):
        world.kube.put(declare(name, repository={"url": BY_SSH, "login": "sales-git"}))
    world.kube.put({"kind": "Secret", "metadata": {"name": "sales-git", "namespace": "cicd"}})
    world.kube.apply(make_login_grant("sales-git"))
    applications.app_show(world.open(), app="orders")
    assert "repository ssh://git@git.example.com/sales/orders.git" in list_lines(world)
    assert "login      Secret cicd/sales-git" in list_lines(world)
    applications.app_remove(world.open(), app="orders")
    assert "stays      Secret cicd/sales-git" in list_lines(world)
    assert len(list_grants(world)) == 2, "another one names it"
    applications.app_remove(world.open(), app="stock")
    assert list_grants(world) == []
    assert ("Secret", "cicd", "sales-git") in world.kube.objects


# -- app-list ----------------------------------------------------------------------------------------


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls(2027, 1, 15, 10, 0, 0, tzinfo=UTC)

    monkeypatch.setattr(applications, "datetime", Clock)


def environment(name: str = "default", **more: Any) -> Object:
    empty = {"namespace": "orders", "state": "ready", "commit": "", "run": "", "since": "", "why": "", "waits": 0}
    return {"name": name, **empty, **more}


SERVES = {
    "repository": "(own server)",
    "state": "ready",
    "branch": "main",
    "commit": "84a81d2",
    "environments": [environment(commit="84a81d2" + "0" * 33, since="2027-01-15T08:00:00Z")],
}


@pytest.mark.usefixtures("now")
def test_applications_are_listed(world: StepWorld) -> None:
    failed = {
        **SERVES,
        "repository": URL,
        "state": "failed",
        "environments": [environment(state="failed", why="main.go:31", since="2027-01-14T08:00:00Z", commit="f")],
    }
    waits = {**SERVES, "state": "queued", "environments": [environment(waits=3)]}
    world.kube.put(
        declare("orders", status=failed),
        declare("go", status=SERVES),
        declare("new", ready=None),
        declare("stock", status=waits),
        declare("claims", status={"state": "refused"}, ready=condition("Refused", "image x is application y's")),
    )
    assert applications.app_list(world.open()) == 0
    assert list_lines(world) == [
        "app     repository             serves            state                   queue",
        "claims  (own server)           nothing yet       refused: image x is a…",
        "go      (own server)           main 84a81d2 2 h  ready",
        "new     (own server)           nothing yet       new: the manager has …",
        "orders  git.example.com/sale…  main 84a81d2 1 d  failed: main.go:31",
        "stock   (own server)           main 84a81d2      queued                  1 waits",
    ]


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize("branch", ["main", "release/" + "x" * 60])
@pytest.mark.parametrize("name", ["a", "a" * 40])
def test_the_list_fits_80_columns_whatever_the_names_are(world: StepWorld, name: str, branch: str) -> None:
    long = {
        **SERVES,
        "repository": "https://git.example.com/" + "x" * 200,
        "branch": branch,
        "state": "failed",
        "environments": [environment(why="y" * 200, since="2027-01-15T09:59:00Z", waits=2)],
    }
    world.kube.put(declare(name, status=long), declare("b", status=SERVES))
    applications.app_list(world.open())
    lines = list_lines(world)
    assert max(map(len, lines)) <= WIDTH, "\n".join(lines)
    assert lines[1].startswith(f"{name} ")
    assert "84a81d2" in lines[1] or len(name) > 1
    assert "1 waits" in lines[1]


def test_no_application(world: StepWorld) -> None:
    applications.app_list(world.open())
    assert list_lines(world) == ["no application is declared.  next: invoke app-add NAME-OR-URL"]


def test_the_list_as_json_has_everything(world: StepWorld) -> None:
    world.kube.put(declare("orders", status=SERVES), declare("new", ready=None, repository={"url": URL}))
    applications.app_list(world.open(), as_json=True)
    [(_, rows)] = world.report.printed
    assert rows == [
        {
            "app": "new",
            "repository": URL,
            "state": "new",
            "branch": "",
            "commit": "",
            "why": "the manager has not looked at it yet",
            "environments": [],
        },
        {
            "app": "orders",
            "repository": "(own server)",
            "state": "ready",
            "branch": "main",
            "commit": "84a81d2",
            "why": "",
            "environments": SERVES["environments"],
        },
    ]


@pytest.mark.parametrize(
    ("since", "age"),
    [
        ("2027-01-15T09:59:58Z", "2 s"),
        ("2027-01-15T09:57:00Z", "3 min"),
        ("2027-01-15T07:59:00Z", "2 h"),
        ("2027-01-10T09:00:00Z", "5 d"),
        ("2027-01-15T10:00:05Z", "0 s"),
        ("", ""),
        ("soon", ""),
    ],
)
def test_how_long_ago(since: str, age: str) -> None:
    assert format_age(since, datetime(2027, 1, 15, 10, tzinfo=UTC)) == age


# -- app-show ----------------------------------------------------------------------------------------


def test_one_is_shown_with_everything_filled_in(world: StepWorld) -> None:
    several = [
        {"name": "staging", "namespace": "sales-staging", "branches": ["main", "release/*"]},
        {"name": "production", "namespace": "sales", "promote": True, "deployment": "web"},
    ]
    told = [environment("staging", state="building", commit="84a81d2" + "0" * 33)]
    world.kube.put(
        declare(
            repository={"url": URL},
            paths=["services/orders/**", "libs"],
            arrive={"poll": "1h"},
            owner="team-sales",
            notify={"secret": "notify-sales"},
            environments=several,
            status={"state": "building", "environments": told},
        )
    )
    assert applications.app_show(world.open(), app="orders") == 0
    assert list_lines(world) == [
        f"repository {URL}",
        "owner      team-sales",
        "arrives    by webhook, asked for every 60 min",
        "concerns   changes of services/orders/**, libs",
        "image      registry.tekton.internal:5000/apps/orders",
        "builds     Dockerfile in .",
        "state      building",
        "notifies   by Secret cicd/notify-sales",
        "environment  deployment            from             serves       state",
        "staging      sales-staging/orders  main, release/*  84a81d2      building",
        "production   sales/web             by hand          nothing yet  new",
    ]


def test_the_least_is_shown_too(world: StepWorld) -> None:
    world.kube.put(declare(arrive={"webhook": False}, ready=condition("Unsettled", "git is away")))
    applications.app_show(world.open(), app="orders")
    lines = list_lines(world)
    assert "arrives    by hand only" in lines
    assert "owner      nobody is named" in lines
    assert "state      new: git is away" in lines


def test_the_table_of_environments_fits_80_columns(world: StepWorld) -> None:
    many = [
        {
            "name": "e" * 20,
            "namespace": "n" * 50,
            "deployment": "d" * 60,
            "branches": [f"release/{number}/*" for number in range(20)],
        },
        {"name": "staging", "namespace": "sales"},
    ]
    world.kube.put(declare(environments=many))
    applications.app_show(world.open(), app="orders")
    lines = list_lines(world)[6:]
    assert max(map(len, lines)) <= WIDTH, "\n".join(lines)


def test_one_as_json(world: StepWorld) -> None:
    world.kube.put(declare(status=SERVES), declare("other"))
    applications.app_show(world.open(), app="orders", as_json=True)
    [(_, row)] = world.report.printed
    assert (row["app"], row["commit"]) == ("orders", "84a81d2")


Command = Callable[[StepWorld, str], object]
BY_NAME: list[Command] = [
    lambda world, app: applications.app_show(world.open(), app=app),
    lambda world, app: applications.app_remove(world.open(), app=app),
    lambda world, app: find_application(world.open(), app),
]


@pytest.mark.parametrize("command", BY_NAME)
def test_a_name_that_nobody_has_is_told_with_one_that_is_like_it(world: StepWorld, command: Command) -> None:
    world.kube.put(declare("orders"), declare("invoices"))
    before = copy.deepcopy(world.kube.objects)
    with pytest.raises(NotFound, match=r"there is no application ordres; did you mean orders\?") as caught:
        command(world, "ordres")
    assert caught.value.hint == "invoke app-list"
    with pytest.raises(NotFound, match=r"there is no application zzz$"):
        command(world, "zzz")
    assert world.kube.objects == before


def test_one_that_cannot_be_understood_is_told(world: StepWorld) -> None:
    world.kube.put(declare(arrive={"poll": "soon"}))
    with pytest.raises(UsageError, match='application orders: "soon" is not a time'):
        find_application(world.open(), "orders")


# -- app-remove --------------------------------------------------------------------------------------


def test_one_is_removed_and_what_stays_is_told(world: StepWorld) -> None:
    applications.app_add(world.open(), source="orders", namespace="sales")
    world.report.printed.clear()
    assert applications.app_remove(world.open(), app="orders") == 0
    file = world.project / "apps/orders.yaml"
    assert not file.exists()
    assert world.kube.objects == {}
    lines = list_lines(world)
    assert lines == [
        f"removed    {file}",
        "removed    Application orders: its pushes start nothing, its unfinished runs are cancelled",
        "stays      Deployment sales/orders",
        "stays      repository orders on the environment's git server",
    ]


def test_one_elsewhere_leaves_no_repository(world: StepWorld) -> None:
    world.kube.put(declare(repository={"url": URL}))
    applications.app_remove(world.open(), app="orders")
    assert not any("repository" in line or str(world.project) in line for line in list_lines(world))


def test_a_file_that_declares_others_as_well_stays_and_is_told(world: StepWorld) -> None:
    """`up` would make it again."""
    file = world.project / "apps/orders.yaml"
    file.parent.mkdir()
    text = "---\n".join(
        f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: {name}\n" for name in ("orders", "stock")
    )
    file.write_text(text)
    world.kube.put(declare("orders"), declare("stock"))
    applications.app_remove(world.open(), app="orders")
    assert file.read_text() == text
    assert f"stays      {file}, which has more in it: take orders out, or invoke up makes it again" in (
        list_lines(world)
    )


def test_a_file_of_another_name_is_removed(world: StepWorld) -> None:
    file = world.project / "apps/sales.yaml"
    file.parent.mkdir()
    file.write_text(f"apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: orders\n")
    world.kube.put(declare("orders"))
    applications.app_remove(world.open(), app="orders")
    assert not file.exists()
