"""An application whose repository is reached by ssh alone: it is cloned, looked at, and started by an event."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Pending, Ready, Secret, Verdict
from bootstrap.core.paths import PROJECT
from bootstrap.core.wait import until
from bootstrap.incluster.applications import API_VERSION, KIND
from bootstrap.incluster.run_names import APPLICATION
from bootstrap.world import World
from tests import sshd
from tests.e2e import app
from tests.e2e.docker_client import inspect
from tests.e2e.events import compose
from tests.e2e.product import Product
from tests.git_host import Bare

pytestmark = pytest.mark.e2e


@pytest.fixture
def host(product: Product, world: World, tmp_path: Path) -> Iterator[sshd.Sshd]:
    """On this machine, where pods reach it: at the gateway of the environment's network."""
    network = inspect(world, "network", constants.network(product.name))
    assert network
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    with sshd.serving(tmp_path / "sshd", gateway, AcceptEnv="GIT_PROTOCOL") as server:
        yield server


def push(bare: Bare, work: Path, message: str) -> str:
    """The demo's sources and a note, as a commit that main is then at."""
    if not work.exists():
        Bare.run("init", "--quiet", "--initial-branch=main", str(work))
        for path in (PROJECT / "demo/go-echo").iterdir():
            if path.is_file() and not path.name.startswith("go-echo"):
                shutil.copy(path, work)
    (work / "notes.txt").write_text(f"{message}\n")
    Bare.run("-C", str(work), "add", "--all")
    Bare.run("-C", str(work), "commit", "--quiet", f"--message={message}")
    bare.git("fetch", "--quiet", str(work), "+main:main")
    return bare.git("rev-parse", "main")


def served(world: World) -> str:
    return str(json.loads(world.kube.get_from_service("letters", "letters", 80, "/version"))["commit"])


def test_it_is_cloned_by_its_key_and_started_by_an_event_that_tells_its_address(
    product: Product, world: World, host: sshd.Sshd, tmp_path: Path
) -> None:
    given = {"INVOKE_APPS_FOLDER": str(tmp_path / "apps")}
    bare = Bare(tmp_path / "letters.git")
    url = f"ssh://{host.login}:{host.port}{bare.folder}"
    first = push(bare, tmp_path / "work", "The first of letters")
    wrong = tmp_path / "wrong"
    wrong.write_text("git.example.com ssh-ed25519 AAAA\n")
    key = ("--identity", str(host.folder / "user"))
    refused = product.run("app-add", url, *key, "--known-hosts", str(wrong), code=2, env=given)
    assert "the host has to be pinned" in refused.text
    added = product.run("app-add", url, *key, "--known-hosts", str(host.known), env=given)
    assert "Secret cicd/letters-git" in added.out
    assert "PRIVATE KEY" not in added.text
    by_hand = product.run("test-run", "--app", "letters", "--revision", first, env=given)
    assert served(world) == first
    assert "PRIVATE KEY" not in by_hand.text
    second = push(bare, tmp_path / "work", "The second of letters")
    said = {"after": second, "repository": {"clone_url": "https://git.example.com/letters.git", "ssh_url": url}}
    secret = world.identity.ensure_password("webhook", Secret("")).reveal()
    event = compose({"is": "a push", "of": "github-push", "body": said}, secret)
    with product.running("listener", "--set", "listener.port=0") as command:
        command.until_said("connected to pod")
        found = re.search(r"http://127\.0\.0\.1:\d+", command.text)
        assert found, command.text
        request = urllib.request.Request(found[0], event.body, dict(event.headers))  # noqa: S310
        with app.DIRECT.open(request, timeout=10) as answer:
            assert answer.status == 202

    def probe() -> Verdict:
        runs = world.kube.list("tekton.dev/v1", "PipelineRun", constants.RUNS, labels=f"{APPLICATION}=letters")
        by = {
            each["metadata"]["labels"]["tekton-bootstrap.dev/trigger"]
            for each in runs
            if each["metadata"]["annotations"]["tekton-bootstrap.dev/commit"] == second
        }
        return Ready() if by == {"push"} and served(world) == second else Pending(str(by))

    until(probe, clock=world.clock, limit=200, what="the second commit of letters")
    status = (world.kube.get(API_VERSION, KIND, "letters", constants.RUNS) or {})["status"]
    assert status["conditions"][0]["reason"] == "Settled", "the manager reads it by the same key"
    product.run("app-remove", "letters", env=given)
    world.kube.delete("v1", "Secret", "letters-git", constants.RUNS)
    world.kube.delete("v1", "Namespace", "letters")
