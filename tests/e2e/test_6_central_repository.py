"""The central repository: what is pushed to it becomes the environment's applications."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Pending, Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.incluster.application_source import APPLIED, REFUSED, STATE
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.world import World
from tests.e2e.product import Product
from tests.e2e.repository import WHO, Repository

pytestmark = pytest.mark.e2e
PARTS = "apiVersion: tekton-bootstrap.dev/v1alpha1\nkind: Application\nmetadata:\n  name: parts\n"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of every command here."""
    folder = tmp_path_factory.mktemp("none") / "apps"
    return {
        "INVOKE_APPS_REPOSITORY": "platform",
        "INVOKE_APPS_INTERVAL": "5",
        "INVOKE_APPS_FOLDER": str(folder),
    }


@pytest.fixture(scope="module")
def platform(
    product: Product, world: World, given: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Repository]:
    """A clone of the central repository, which the environment was told of; afterwards it knows of none."""
    product.run("up", env=given)
    wait_for(world, lambda told: bool(told.get("state")))
    folder = tmp_path_factory.mktemp("platform") / "platform"
    product.run("clone", "--repository", "platform", "--into", str(folder), env=given)
    repository = Repository(folder, product.environ | WHO)
    repository.git("checkout", "--quiet", "-B", "main")
    (folder / "apps").mkdir()
    yield repository
    product.run("up")


def wait_for(world: World, is_reached: Callable[[Mapping[str, str]], bool]) -> dict[str, str]:
    """What the manager says of the repository, once that is what is waited for."""
    told: dict[str, str] = {}

    def probe() -> Verdict:
        found = world.kube.get("v1", "ConfigMap", STATE, constants.RUNS) or {}
        told.clear()
        told.update(found.get("data") or {})
        return Ready() if is_reached(told) else Pending(str(told))

    verdict = until(probe, clock=world.clock, limit=90, what="the central repository", every=0.5)
    assert isinstance(verdict, Ready), verdict
    return told


def push(platform: Repository, message: str, files: Mapping[str, str]) -> str:
    """Write these files, "" for one that goes, and push them; the commit."""
    for name, text in files.items():
        path: Path = platform.folder / name
        if text:
            path.write_text(text)
        else:
            path.unlink()
    platform.git("add", "--all")
    platform.git("commit", "--quiet", f"--message={message}")
    platform.git("push", "--quiet", "origin", "main")
    return platform.head


def find_names(world: World) -> set[str]:
    return {each["metadata"]["name"] for each in world.kube.list(API_VERSION, KIND, constants.RUNS)}


def test_what_is_pushed_is_declared_as_a_whole_or_not_at_all(
    product: Product, world: World, platform: Repository, given: dict[str, str]
) -> None:
    before = find_names(world)
    first = push(platform, "Declare parts", {"apps/parts.yaml": PARTS})
    wait_for(world, lambda told: told.get("applied") == first)
    assert find_names(world) - before == {"parts"}
    listed = product.run("app-list", env=given).out
    assert first[:7] in listed
    second = push(
        platform,
        "A field that is none",
        {
            "apps/parts.yaml": PARTS + "spec:\n  port: 9000\n",
            "apps/more.yaml": PARTS.replace("parts", "more") + "spek: 1\n",
        },
    )
    told = wait_for(world, lambda told: told.get("commit") == second and told["state"] == REFUSED)
    assert told["applied"] == first
    assert "apps/more.yaml:5" in told["faults"]
    assert find_names(world) - before == {"parts"}
    found = world.kube.get(API_VERSION, KIND, "parts", constants.RUNS)
    assert found
    assert "port" not in found.get("spec", {}), "nothing of that commit was applied"
    for command in ("app-list", "status"):
        assert "apps/more.yaml:5" in product.run(command, env=given).text, command
    refused = product.run("app-remove", "parts", code=2, env=given).text
    assert "apps/parts.yaml" in refused


def test_what_leaves_it_is_removed(world: World, platform: Repository) -> None:
    last = push(
        platform, "Declare none", {"apps/parts.yaml": "", "apps/more.yaml": "", "apps/README.md": "None yet.\n"}
    )
    wait_for(world, lambda told: told.get("applied") == last and told["state"] == APPLIED)
    assert not find_names(world) & {"parts", "more"}
    world.kube.delete("v1", "Namespace", "parts")
