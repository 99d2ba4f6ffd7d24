"""`invoke clone`: of the demo, and of an application."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.commands.clone import clone
from bootstrap.core import constants
from bootstrap.core.errors import NotFound, PreconditionError, UsageError
from bootstrap.core.model import Object
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell
from tests.unit.step_world import Box, StepWorld, make


def declare(name: str, url: str = "") -> Object:
    spec = {"repository": {"url": url}}
    metadata = {"name": name, "namespace": constants.RUNS}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepWorld:
    """An environment whose git server is on port 4000."""
    made = make(tmp_path)
    made.shell = FakeShell({"git": ""}, {"git": "/usr/bin/git"})
    node = constants.control_plane(made.cluster)
    made.engine.add(Box(node, "node", ports={constants.GIT_NODE_PORT: 4000}))
    monkeypatch.chdir(tmp_path)
    return made


def get_clone(world: StepWorld) -> str:
    [found] = [each for each in world.shell.ran if " clone " in each]
    return str(found).partition(" clone ")[2]


def test_the_demo(world: StepWorld, tmp_path: Path) -> None:
    assert clone(world.open()) == 0
    assert get_clone(world) == f"--quiet http://127.0.0.1:4000/go-echo.git {tmp_path / 'go-echo'}"
    assert world.report.printed[-1][1].endswith("invoke test-run follows the run")


@pytest.mark.parametrize(
    ("url", "path"),
    [("", "orders"), ("http://git.git.svc.cluster.local/sales/orders.git", "sales/orders")],
)
def test_an_application(world: StepWorld, tmp_path: Path, url: str, path: str) -> None:
    world.kube.put(declare("orders", url))
    assert clone(world.open(), app="orders") == 0
    assert get_clone(world) == f"--quiet http://127.0.0.1:4000/{path}.git {tmp_path / 'orders'}"
    assert world.report.printed[-1][1].endswith("invoke test-run --app orders follows the run")


@pytest.mark.parametrize("given", ["team/platform", "team/platform.git"])
def test_one_by_its_name(world: StepWorld, tmp_path: Path, given: str) -> None:
    assert clone(world.open(), repository=given) == 0
    assert get_clone(world) == f"--quiet http://127.0.0.1:4000/team/platform.git {tmp_path / 'platform'}"
    assert world.report.printed[-1][1] == "next: cd platform · git commit · git push"


@pytest.mark.parametrize("given", ["../platform", "-x", "https://git.example.com/a.git", "a//b", "/a", "a b"])
def test_a_name_that_is_none_is_refused(world: StepWorld, given: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a repository"):
        clone(world.open(), repository=given)


def test_an_application_and_a_name_are_refused(world: StepWorld) -> None:
    with pytest.raises(UsageError, match="names its repository itself"):
        clone(world.open(), app="orders", repository="platform")


def test_into_another_folder(world: StepWorld, tmp_path: Path) -> None:
    world.kube.put(declare("orders"))
    clone(world.open(), app="orders", into="there")
    assert get_clone(world).endswith(str(tmp_path / "there"))
    (tmp_path / "orders").mkdir()
    with pytest.raises(PreconditionError, match="orders exists already"):
        clone(world.open(), app="orders")


def test_the_password_is_in_no_command(world: StepWorld) -> None:
    world.kube.put(declare("orders"))
    clone(world.open(), app="orders")
    password = world.identity.ensure_git_password(world.config.git).reveal()
    assert password not in " ".join(world.shell.ran)


def test_one_elsewhere_is_its_hosts_affair(world: StepWorld) -> None:
    world.kube.put(declare("orders", "https://git.example.com/sales/orders.git"))
    with pytest.raises(UsageError, match=r"orders is at https://git.example.com/sales/orders.git, not on"):
        clone(world.open(), app="orders")
    assert world.shell.ran == []


BY_SSH = "ssh://git@git.example.com/sales/orders.git"


def test_one_by_ssh_is_cloned_by_the_users_own_ssh(world: StepWorld, tmp_path: Path) -> None:
    declared = declare("orders", "git@git.example.com:sales/orders.git")
    declared["spec"]["repository"]["login"] = "orders-git"
    world.kube.put(declared)
    assert clone(world.open(), app="orders") == 0
    assert world.shell.ran == [f"git clone --quiet -- {BY_SSH} {tmp_path / 'orders'}"], "no key of ours, no helper"
    assert world.report.printed[0][1] == f"cloned {BY_SSH} into orders"
    world.shell = FakeShell({"git": Output(128, "", "Permission denied (publickey).")}, {"git": "/usr/bin/git"})
    with pytest.raises(PreconditionError, match=f"{BY_SSH} cannot be cloned") as caught:
        clone(world.open(), app="orders", into="there")
    assert "Permission denied" in caught.value.evidence
    assert caught.value.hint == f"git ls-remote {BY_SSH} has to work with your own ssh"


def test_one_that_is_not(world: StepWorld) -> None:
    world.kube.put(declare("orders"))
    with pytest.raises(NotFound, match=r"no application order; did you mean orders\?"):
        clone(world.open(), app="order")
    assert world.shell.ran == []
