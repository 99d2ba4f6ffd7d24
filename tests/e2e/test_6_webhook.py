"""Deliveries as git hosts sign and send them, through `invoke listener`: judged by the runs that they make.

The listener answers 202 whatever becomes of a delivery, so the answer proves nothing.
"""

from __future__ import annotations

import http.client
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Object, Pending, Ready, Secret, Verdict
from bootstrap.core.wait import until
from bootstrap.devtools import bench_webhook
from bootstrap.incluster.run_names import make_triggered_run_name
from bootstrap.objects.readiness import judge
from bootstrap.world import World
from tests.e2e import app
from tests.e2e.events import Event, compose, events
from tests.e2e.examples import examples
from tests.e2e.product import Product
from tests.npm import Missing

pytestmark = pytest.mark.e2e

TEKTON = "tekton.dev/v1"


class Hook:
    """Sends to the listener. secret: the one that it shares with us."""

    def __init__(self, url: str, secret: str) -> None:
        self.secret = secret
        self._url = url

    def send(self, event: Event) -> None:
        request = urllib.request.Request(self._url, event.body, dict(event.headers))  # noqa: S310
        with app.DIRECT.open(request, timeout=10) as answer:
            assert answer.status == 202, event.name

    def post(self, body: bytes) -> int:
        """The status of a body that nobody signed; 413 too where the connection ends before all of it was sent."""
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with app.DIRECT.open(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ConnectionError):
            return http.client.REQUEST_ENTITY_TOO_LARGE

    def answered(self, event: Event) -> bool:
        """Whether it was accepted, of a listener that may be going."""
        try:
            self.send(event)
        except (OSError, http.client.HTTPException, AssertionError):
            return False
        return True

    def push(self, commit: str = "") -> Event:
        """A push to main as GitHub sends it, in order. commit: "" is one that nobody has."""
        row = {"is": "a push", "of": "github-push", "body": {"after": commit} if commit else {}}
        return compose(row, self.secret)


@pytest.fixture(scope="module")
def hook(product: Product, world: World) -> Iterator[Hook]:
    with product.running("listener", "--set", "listener.port=0") as command:
        command.until_said("connected to pod")
        found = re.search(r"http://127\.0\.0\.1:\d+", command.text)
        assert found, command.text
        yield Hook(found[0], world.identity.ensure_password("webhook", Secret("")).reveal())


@pytest.fixture(scope="module")
def resting(world: World) -> Iterator[None]:
    """Runs are made and none is started: most are of commits that nobody has."""
    with bench_webhook.stop_controller(world):
        yield


def runs(world: World) -> set[str]:
    return {run["metadata"]["name"] for run in world.kube.list(TEKTON, "PipelineRun", constants.RUNS)}


def wait_for(world: World, what: str, limit: float, probe: Any) -> None:
    verdict = until(probe, clock=world.clock, limit=limit, what=what)
    assert isinstance(verdict, Ready), verdict


def wait_for_refusal(world: World, name: str) -> None:
    """Until the listener has said that the run is there already."""

    def probe() -> Verdict:
        logs = [world.kube.read_log(constants.RUNS, pod["metadata"]["name"]) for pod in listener_pods(world)]
        said = [line for log in logs for line in log.splitlines() if "already exists" in line and name in line]
        return Ready() if said else Pending("nothing said yet")

    wait_for(world, "refusal", 60, probe)


def run_of(event: Event) -> str:
    return make_triggered_run_name(constants.GIT_URL, event.commit)


def wait_for_names(world: World, wanted: set[str]) -> None:
    def probe() -> Verdict:
        missing = wanted - runs(world)
        return Pending(f"{len(missing)} are missing") if missing else Ready()

    wait_for(world, "runs", 180, probe)


def delete_runs(world: World, names: set[str]) -> None:
    for name in names:
        world.kube.delete(TEKTON, "PipelineRun", name, constants.RUNS)


@pytest.mark.usefixtures("resting")
def test_of_all_events_those_start_a_run_that_are_to_and_only_once(product: Product, world: World, hook: Hook) -> None:
    """That such a run builds and deploys is proved by pushes to the environment's own server."""
    commit, before = secrets.token_hex(20), runs(world)
    first, sent = hook.push(commit), [*events(hook.secret)]
    for event in sorted(sent, key=lambda event: not event.stops):
        hook.send(event)
    wanted = {run_of(event) for event in sent if not event.stops}
    wait_for_names(world, wanted)
    assert runs(world) - before == wanted
    hook.send(first)
    wait_for_names(world, {run_of(first)})
    hook.send(hook.push(commit))
    wait_for_refusal(world, run_of(first))
    assert runs(world) - before == wanted | {run_of(first)}
    row = app.run_of(product, commit)
    assert (row["run"], row["commit"], row["branch"], row["by"]) == (run_of(first), commit, "main", "push")
    delete_runs(world, wanted | {run_of(first)})


@pytest.mark.usefixtures("resting")
def test_of_what_github_really_sent_branches_and_merges_start_runs(
    world: World, hook: Hook, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of 329 deliveries of 58 kinds: none while the repository is another; then those that bring a commit to main."""
    try:
        known = examples(tmp_path_factory.mktemp("npm"))
    except Missing as error:
        pytest.skip(str(error))
    ours = [each.moved(constants.GIT_URL, "main") for each in known]
    merged = [each.merged() for each in ours if each.name == "pull_request"]
    wanted = {make_triggered_run_name(constants.GIT_URL, each.commit) for each in (*ours, *merged) if each.commit}
    assert len(known) > 300
    assert len(wanted) == 2, "the commit of the pushes to a branch, and the merge commit that was put in"
    before = runs(world)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(hook.send, [each.signed(hook.secret) for each in known]))
        sentinel = hook.push()
        hook.send(sentinel)
        wait_for_names(world, {run_of(sentinel)})
        assert runs(world) - before == {run_of(sentinel)}
        list(pool.map(hook.send, [each.signed("another secret") for each in (*ours, *merged) if each.commit]))
        list(pool.map(hook.send, [each.signed(hook.secret) for each in (*ours, *merged)]))
    last = hook.push()
    hook.send(last)
    wait_for_names(world, wanted | {run_of(last)})
    made = runs(world) - before
    assert made == wanted | {run_of(sentinel), run_of(last)}
    delete_runs(world, made)


@pytest.mark.usefixtures("resting")
def test_no_push_that_was_answered_is_lost_when_the_listeners_pods_go(world: World, hook: Hook) -> None:
    """A pod that is told to go works on what it has for as long as it is let."""
    before = runs(world)
    sent = [hook.push() for _ in range(60)]
    gone = {pod["metadata"]["name"] for pod in listener_pods(world)}

    def deliver(number: int) -> bool:
        if number == 20:
            for pod in gone:
                world.kube.delete("v1", "Pod", pod, constants.RUNS)
        return hook.answered(sent[number])

    with ThreadPoolExecutor(10) as pool:
        answered = [event for event, taken in zip(sent, pool.map(deliver, range(60)), strict=True) if taken]
    assert len(answered) >= 20
    wait_for_names(world, {run_of(event) for event in answered})
    made = runs(world) - before
    assert made <= {run_of(event) for event in sent}
    delete_runs(world, made)
    wait_for(
        world,
        "listener",
        180,
        lambda: judge(world.kube.get("apps/v1", "Deployment", constants.LISTENER, constants.RUNS)),
    )


@pytest.mark.usefixtures("resting")
def test_bodies_that_take_much_memory_end_no_listener(world: World, hook: Hook) -> None:
    """They need no signature: 10 MB of numbers take 250 MB when they are parsed, 2 MB take 50."""
    large, allowed = (b'{"a":[' + b"0," * count + b"0]}" for count in (5_000_000, 1_000_000))
    wait_for(world, "listener's pods", 180, lambda: judge_pods(world))
    before = find_starts(world)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(hook.post, [large] * 8)) == {413}
        answers = set(pool.map(hook.post, [allowed] * 8))
    assert answers <= {202, 413, 500, 503}, "one that takes longer than 5 s through the forward is cut off"
    sent: set[str] = set()

    def probe() -> Verdict:
        """An event that comes while the interceptors still work on the bodies may be given up."""
        event = hook.push()
        hook.send(event)
        sent.add(run_of(event))
        return Ready() if sent & runs(world) else Pending("no event became a run yet")

    verdict = until(probe, clock=world.clock, limit=120, what="a run after the bodies", every=2)
    assert isinstance(verdict, Ready), verdict
    assert find_starts(world) == before
    delete_runs(world, sent)


def judge_pods(world: World) -> Verdict:
    """Ready where none is going any more and all that are wanted are there, whatever the Deployment says of itself."""
    pods = listener_pods(world)
    going = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]
    if going:
        return Pending(f"{', '.join(going)} is going")
    wanted = world.kube.get("apps/v1", "Deployment", constants.LISTENER, constants.RUNS)
    assert wanted
    return Ready() if len(pods) == wanted["spec"]["replicas"] else Pending(f"{len(pods)} pods")


def find_starts(world: World) -> set[tuple[str, int]]:
    """(name, how often it was started anew) of the listener's pods."""
    return {
        (pod["metadata"]["name"], status["restartCount"])
        for pod in listener_pods(world)
        for status in pod["status"]["containerStatuses"]
    }


def listener_pods(world: World) -> list[Object]:
    return world.kube.list("v1", "Pod", constants.RUNS, labels="eventlistener=demo-listener")


def test_the_listener_is_confined(world: World) -> None:
    pods = listener_pods(world)
    assert pods
    for pod in pods:
        [container] = pod["spec"]["containers"]
        assert container["image"] in {image.reference for image in world.images.read_lock().images.values()}
        assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["runAsUser"] == 65532
