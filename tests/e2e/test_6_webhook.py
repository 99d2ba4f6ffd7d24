"""A delivery as GitHub signs and sends it, through `invoke listener`: judged by the runs that it makes.

The listener answers 202 whatever becomes of a delivery, so the answer proves nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap import names
from bootstrap.model import Pending, Ready, Secret, Verdict
from bootstrap.readiness import readiness
from bootstrap.wait import until
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.product import Product
from tests.e2e.repository import Repository

pytestmark = pytest.mark.e2e

TEKTON = "tekton.dev/v1"
OTHER_SECRET = "another secret"


def push(commit: str, *, ref: str = "refs/heads/main", url: str = names.GIT_URL, **other: Any) -> dict[str, Any]:
    """The part of GitHub's push event that counts, and some that does not."""
    repository = {"full_name": "developer/go-echo", "clone_url": url, "private": False}
    head = {"id": commit, "message": 'Say $(params.REPO) "and" `id`', "author": {"name": "$(tt.params.commit)"}}
    before = {"ref": ref, "before": "1" * 40, "after": commit, "created": False, "deleted": False}
    return {**before, "repository": repository, "head_commit": head, **other}


class Hook:
    """Sends to the listener. secret: the one that it shares with us."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret

    def send(self, event: dict[str, Any] | bytes, **headers: str) -> None:
        """headers: over those of a delivery in order; "" leaves one out."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        given = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-Hub-Signature-256": signature(body, self._secret),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = urllib.request.Request(self._url, body, {name: value for name, value in given.items() if value})  # noqa: S310
        with app.DIRECT.open(request, timeout=10) as answer:
            assert answer.status == 202


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture(scope="module")
def hook(product: Product, world: World) -> Iterator[Hook]:
    with product.running("listener", "--set", "listener.port=0") as command:
        command.until_said("connected to pod")
        found = re.search(r"http://127\.0\.0\.1:\d+", command.text)
        assert found, command.text
        yield Hook(found[0], world.identity.password("webhook", Secret("")).reveal())


def runs(world: World) -> set[str]:
    return {run["metadata"]["name"] for run in world.kube.list(TEKTON, "PipelineRun", names.RUNS)}


def some_commit() -> str:
    """Another one for each delivery that must not pass: those of one commit would hide behind one run."""
    return secrets.token_hex(20)


def send_what_must_not_pass(hook: Hook) -> None:
    for headers in (
        {"X_Hub_Signature_256": ""},
        {"X_Hub_Signature_256": "sha256="},
        {"X_Hub_Signature_256": signature(b"another body", OTHER_SECRET)},
        {"X_GitHub_Event": "ping"},
        {"X_GitHub_Event": "pull_request"},
        {"X_GitHub_Event": ""},
        {"Content_Type": "application/x-www-form-urlencoded"},
    ):
        hook.send(push(some_commit()), **headers)
    for secret in (OTHER_SECRET, ""):
        body = json.dumps(push(some_commit())).encode()
        hook.send(body, X_Hub_Signature_256=signature(body, secret))
    for name in ("work", "feature/main", "main-2", "main/2", "Main", "mai", "refs/heads/main", "main\n", "$(id)"):
        hook.send(push(some_commit(), ref=f"refs/heads/{name}"))
    for ref in ("refs/tags/main", "refs/tags/v1", "main", "refs/heads/", ""):
        hook.send(push(some_commit(), ref=ref))
    hook.send(push(some_commit(), deleted=True))
    commit = some_commit()
    for after in ("0" * 40, "0" * 64, commit[:39], f"{commit}\n", f"A{commit[1:]}", "--upload-pack=id", "$(id)", ""):
        hook.send(push(after))
    other = ("http://git.git.svc.cluster.local/other.git", "http://localhost/go-echo.git", "-oProxyCommand=id", "")
    for url in (*other, f"{names.GIT_URL}?x", f"{names.GIT_URL}/", names.GIT_URL.replace("//", "//user:pass@")):
        hook.send(push(some_commit(), url=url))
    hook.send({"zen": "Keep it logically awesome.", "hook_id": 1})
    hook.send({"ref": "refs/heads/main", "after": some_commit()})


def wait_for(world: World, what: str, limit: float, probe: Any) -> None:
    verdict = until(probe, clock=world.clock, limit=limit, what=what)
    assert isinstance(verdict, Ready), verdict


def wait_for_run(world: World, name: str, *, limit: float) -> None:
    wait_for(world, name, limit, lambda: readiness(world.kube.get(TEKTON, "PipelineRun", name, names.RUNS)))


def wait_for_refusal(world: World, name: str) -> None:
    """Until the listener has said that the run is there already."""

    def probe() -> Verdict:
        pods = world.kube.list("v1", "Pod", names.RUNS, labels="eventlistener=demo-listener")
        logs = [world.kube.log(names.RUNS, pod["metadata"]["name"]) for pod in pods]
        said = [line for log in logs for line in log.splitlines() if "already exists" in line and name in line]
        return Ready() if said else Pending("nothing said yet")

    wait_for(world, "refusal", 20, probe)


def test_only_a_signed_push_of_the_watched_branch_starts_a_run_and_only_once(
    product: Product, world: World, hook: Hook, repository: Repository
) -> None:
    commit = repository.push("main", "Arrive by itself", "README.md", "\nPushed.\n")
    name = f"go-echo-{commit[:12]}"
    before = runs(world)
    send_what_must_not_pass(hook)
    hook.send(push(commit))
    wait_for(world, "run", 20, lambda: Ready() if name in runs(world) else Pending(""))
    hook.send(push(commit))
    wait_for_refusal(world, name)
    wait_for_run(world, name, limit=300)
    assert runs(world) - before == {name}
    row = app.run_of(product, commit)
    assert (row["run"], row["commit"], row["branch"], row["by"]) == (name, commit, "main", "push")
    assert app.version(product) == commit


def test_the_listener_is_confined(world: World) -> None:
    [pod] = world.kube.list("v1", "Pod", names.RUNS, labels="eventlistener=demo-listener")
    [container] = pod["spec"]["containers"]
    assert container["image"] in {image.reference for image in world.images.lock().images.values()}
    assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsUser"] == 65532
