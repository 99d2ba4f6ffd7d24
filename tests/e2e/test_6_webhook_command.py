"""`invoke webhook`: a try leads to a run, and the fate of every delivery can be told."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.core import constants
from bootstrap.core.clock import SystemClock
from bootstrap.core.errors import ApiError
from bootstrap.core.model import Pending, Ready, Secret, Verdict
from bootstrap.core.wait import until
from bootstrap.world import World, webhook_sender
from bootstrap.world.kube.service_forward import Forward
from tests.e2e import app
from tests.e2e.events import push, signature
from tests.e2e.product import Answer, Product
from tests.e2e.repository import Repository
from tests.e2e.test_6_webhook import TEKTON, runs

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def listener(world: World) -> Iterator[str]:
    with Forward(world.kube, constants.RUNS, constants.LISTENER, 8080, 0) as forward:
        yield f"http://127.0.0.1:{forward.local_port}/"


@pytest.fixture(scope="module")
def secret(product: Product, world: World) -> str:
    return world.identity.ensure_password("webhook", Secret("")).reveal()


def send(listener: str, event: dict[str, Any], secret: str, **headers: str) -> tuple[str, str]:
    """The two ids of the delivery: the git host's and the listener's."""
    body, id_ = json.dumps(event).encode(), str(uuid.uuid4())
    given = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": id_,
        "X-Hub-Signature-256": signature(body, secret) if secret else "",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    sent = {name: value for name, value in given.items() if value}
    status, answer = webhook_sender.post_webhook(listener, body, sent)
    assert status == 202
    return id_, str(json.loads(answer)["eventID"])


def why(product: Product, id_: str) -> dict[str, Any]:
    """Its fate, once that is known: the log comes after the answer, and a drop is told after some seconds' silence."""
    rows: list[dict[str, Any]] = []

    def known() -> Verdict:
        with product.running("webhook", "--why", id_, "--json") as command:
            answer = command.end(60)
        if answer.code:
            return Pending(answer.err)
        rows.append(json.loads(answer.last))
        return Pending(rows[-1]["told"]) if rows[-1]["stage"] == "under way" else Ready()

    assert isinstance(until(known, clock=SystemClock(), limit=30, what=f"the fate of {id_}"), Ready)
    return rows[-1]


def test_the_secret_is_printed_alone_and_nowhere_else(product: Product, world: World, secret: str) -> None:
    answer = product.run("webhook", "--show-secret")
    assert (answer.out, answer.err) == (f"{secret}\n", "")
    assert secret not in product.run("webhook").text
    assert secret not in product.run("webhook", "--json").text


def test_a_try_leads_to_a_run_and_a_second_one_to_the_same(
    product: Product, world: World, repository: Repository, secret: str
) -> None:
    commit = repository.push("main", "Try the webhook", "README.md", "\nTried.\n")
    first = product.run("webhook", "--test")
    assert secret not in first.text
    found = re.search(r"^run (\S+) (?:created|exists already)", first.out, re.MULTILINE)
    assert found, first
    assert app.run_of(product, commit)["run"] == found[1]
    again = product.run("webhook", "--test", "--branch", "main", "--commit", commit)
    assert f"run {found[1]} exists already" in again.out
    rows = [row for row in json.loads(product.run("runs", "--json").last) if row["commit"] == commit]
    assert len(rows) == 1
    ids = re.findall(r"delivery (\S+) · event (\S+)", first.out + again.out)
    assert len(ids) == 2
    assert {why(product, each)["run"] for pair in ids for each in pair} == {found[1]}, "by either id"
    world.kube.delete(TEKTON, "PipelineRun", found[1], constants.RUNS)


def test_the_fate_of_each_delivery_can_be_told(product: Product, world: World, listener: str, secret: str) -> None:
    before = runs(world)
    commit = secrets.token_hex(20)
    sent = {
        "unsigned": send(listener, push(commit), ""),
        "wrong": send(listener, push(commit), "another secret"),
        "ping": send(listener, push(commit), secret, X_GitHub_Event="ping"),
        "deletion": send(listener, push("0" * 40, deleted=True), secret),
        "branch": send(listener, push(commit, ref="refs/heads/main-2"), secret),
        "repository": send(listener, push(commit, url="https://example.org/other.git"), secret),
    }
    told = {name: why(product, id_) for name, (id_, _) in sent.items()}
    assert {name: row["stage"] for name, row in told.items()} == {
        "unsigned": "signed",
        "wrong": "signed",
        "ping": "event",
        "deletion": "arrived",
        "branch": "watched",
        "repository": "watched",
    }
    assert "no signature" in told["unsigned"]["why"]
    assert "another secret" in told["wrong"]["why"]
    assert "refs/heads/main-2" in told["branch"]["why"]
    assert "https://example.org/other.git" in told["repository"]["why"]
    assert runs(world) == before
    listed = json.loads(product.run("webhook", "--json").last)["deliveries"]
    assert {id_ for id_, _ in sent.values()} <= {row["id"] for row in listed}
    text = product.run("webhook").out
    assert f"{sent['wrong'][0]}  dropped at signed" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_try_for_a_branch_that_is_not_watched_ends_with_1(product: Product, world: World) -> None:
    commit = secrets.token_hex(20)
    answer = product.run("webhook", "--test", "--branch", "main-2", "--commit", commit, code=1)
    assert "dropped at watched: refs/heads/main-2" in answer.last


def test_an_unknown_delivery_is_said_to_be_unknown(product: Product, world: World, listener: str, secret: str) -> None:
    unknown: Answer = product.run("webhook", "--why", str(uuid.uuid4()), code=3)
    assert "nothing is known of delivery" in unknown.err
    assert "Traceback" not in unknown.text
    id_, event = send(listener, push(secrets.token_hex(20)), "another secret")
    assert why(product, id_)["stage"] == "signed"
    assert "X-GitHub-Delivery" in product.run("webhook", "--why", event, code=3).err


def test_no_log_holds_the_secret(world: World, secret: str) -> None:
    for namespace in (constants.RUNS, constants.TEKTON, constants.GIT):
        for pod in world.kube.list("v1", "Pod", namespace):
            for container in pod["spec"]["containers"]:
                with contextlib.suppress(ApiError):  # a Job's pod may be deleted meanwhile
                    assert secret not in world.kube.read_log(namespace, pod["metadata"]["name"], container["name"])
