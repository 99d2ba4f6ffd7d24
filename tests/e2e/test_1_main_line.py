"""From nothing to a commit that serves, and what happens when a commit is no good."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from bootstrap.core import constants
from bootstrap.core.paths import PROJECT
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.bringup import ENDS, BringUp
from tests.e2e.product import Product
from tests.e2e.receiver import received
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e
STEPS = re.findall(
    r"^\| `(?!dashboard)(\w+)` \| .*\| `bootstrap/steps/", (PROJECT / "docs/architecture.md").read_text(), re.MULTILINE
)
"""Of supply source; a unit test holds the page against the code."""


def test_an_up_may_be_ended_at_any_point(up: BringUp) -> None:
    for answer, (_, _, number) in zip(up.ended, ENDS, strict=True):
        assert answer.code == (130 if number == signal.SIGTERM else -number)
        assert not re.search(r"^(error:|  FAIL)", answer.text, re.MULTILINE), answer
        assert "Traceback" not in answer.text
    assert up.strays == []


def test_what_they_began_is_gone_on_with_by_two_at_once(up: BringUp) -> None:
    """Of the two one waits for the other."""
    assert (up.last.code, up.beside.code) == (0, 0)
    assert "waiting for another command" in up.beside.err


def test_up_says_each_step_and_what_to_type_next(up: BringUp) -> None:
    """Its end may be missing where the command was killed meanwhile. Without applications nothing is done for them."""
    for step in set(STEPS) - {"engine", "images", "preload", "prune", "applications"}:
        assert re.search(rf"^  (ok |\.\.\.)  {step}\b", up.out, re.MULTILINE), step
    assert up.last.last.startswith("ready in ")
    assert "invoke test-run" in up.last.last
    assert "\r" not in up.out
    assert "\x1b" not in up.out


def test_status_tells_machines_the_same(product: Product, up: BringUp) -> None:
    found = app.status(product)
    facts = {"name", "context", "kubeconfig", "supply", "appsRepository", "endpoints", "disk", "expires", "steps"}
    assert set(found) == facts
    assert found["appsRepository"] is None
    assert "certificate" in found["expires"]["what"]
    assert 0 < found["disk"]["freeBytes"] < found["disk"]["totalBytes"]
    assert (found["name"], found["context"], found["supply"]) == (product.name, f"kind-{product.name}", "source")
    assert [step["name"] for step in found["steps"]] == STEPS
    assert {step["verdict"] for step in found["steps"]} == {"ready"}
    assert all(set(step) == {"name", "verdict", "why", "seconds"} for step in found["steps"])


def test_the_users_kubeconfig_has_the_context_and_is_private(product: Product, up: BringUp) -> None:
    assert f"name: kind-{product.name}" in product.kubeconfig.read_text()
    assert product.kubeconfig.stat().st_mode & 0o077 == 0


def test_the_demo_answers_before_any_run(product: Product, up: BringUp) -> None:
    base = app.address(product)
    assert app.ask(f"{base}/ping").strip()
    echo = json.loads(app.ask(f"{base}/echo?b=c", body=b"hello"))
    assert echo["method"] == "POST"
    assert echo["query"] == {"b": ["c"]}
    assert echo["body"] == "hello"


def test_a_run_proves_what_it_deployed(product: Product, world: World, repository: Repository) -> None:
    commit = repository.push("main", "Say more", "README.md", "\nA line more.\n")
    answer = product.run("test-run")
    assert f"/version answers {commit[:7]}" in answer.last
    assert app.version(product) == commit
    run = app.run_of(product, commit)
    assert run["state"] == "Succeeded"
    digest = run["image"].rpartition("@")[2]
    pods = world.kube.list("v1", "Pod", "demo", labels="app.kubernetes.io/name=go-echo")
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    assert {pod["status"]["containerStatuses"][0]["imageID"].rpartition("@")[2] for pod in alive} == {digest}
    sent = received(world)[-1]
    assert (sent["status"], sent["commit"], sent["digest"]) == ("succeeded", commit, digest)
    assert sent["author"] == "Ada Example <ada@example.org>"


def test_a_commit_that_does_not_compile_ends_with_its_cause(
    product: Product, world: World, repository: Repository
) -> None:
    before = app.version(product)
    commit = repository.push("broken", "Break it", "main.go", "\nfunc broken() { fmt.Printn() }\n")
    answer = product.run("test-run", "--revision", "broken", code=1)
    assert "fmt.Printn" in answer.text
    assert f"still serves {before[:7]}" in answer.text
    assert app.version(product) == before
    sent = received(world)[-1]
    assert (sent["status"], sent["commit"], sent["failedTask"]) == ("failed", commit, "build-image")
    assert "fmt.Printn" in sent["logTail"]


@pytest.fixture
def impatient(world: World) -> Iterator[None]:
    """The Deployment gives a rollout up sooner than the demo's own does."""

    def set_deadline(seconds: int) -> None:
        spec = {"progressDeadlineSeconds": seconds}
        world.kube.patch("apps/v1", "Deployment", "go-echo", constants.DEMO, patch={"spec": spec})

    set_deadline(15)
    yield
    set_deadline(60)


@pytest.mark.usefixtures("impatient")
def test_a_commit_that_does_not_start_is_undone(product: Product, world: World, repository: Repository) -> None:
    before = app.version(product)
    last_words = "DATABASE_URL is not set"
    crash = f'func init() {{ println("{last_words}"); os.Exit(3) }}'
    repository.push("crash", "Crash", "main.go", f"\n{crash}\n")
    answer = product.run("test-run", "--revision", "crash", code=1)
    assert "going back to" in answer.text
    assert last_words in answer.text
    assert app.version(product) == before
    sent = received(world)[-1]
    assert sent["failedTask"] == "deploy"
    assert last_words in sent["logTail"]


def test_a_revision_that_is_not_there_is_named(product: Product, repository: Repository) -> None:
    answer = product.run("test-run", "--revision", "no-such-branch", code=1)
    assert "no-such-branch could not be fetched" in answer.text


def test_ctrl_c_leaves_the_run_which_can_be_cancelled(product: Product, repository: Repository) -> None:
    with product.running("test-run") as command:
        command.until_said("run go-echo-")
        command.signal(signal.SIGINT)
        answer = command.end(20)
    assert answer.code == 130
    name = answer.out.split("run ", 1)[1].split()[0]
    product.run("cancel", "--run", name)
    state = next(row["state"] for row in json.loads(product.run("runs", "--json").last) if row["run"] == name)
    assert state in ("Running", "Cancelled")


def test_logs_and_rerun_of_the_newest_good_run(product: Product, repository: Repository) -> None:
    name = app.run_of(product, repository.git("rev-parse", "main"), "Succeeded")["run"]
    assert "[git-clone]" in product.run("logs", "--run", name).out
    product.run("rerun", "--run", name)
    assert app.version(product) == repository.git("rev-parse", "main")
