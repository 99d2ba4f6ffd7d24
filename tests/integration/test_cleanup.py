"""The cleanup against a real API server, with the rights of its own Role and nothing more."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Object
from bootstrap.incluster.cleanup import Cleanup, CleanupOptions
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.patient_api import PAGE, TRIES
from bootstrap.world.kube.client import Kube
from tests.integration.agent_door import agent_door, definition
from tests.integration.control_plane import ControlPlane
from tests.integration.front import Fault, front
from tests.integration.patience import await_kind

API = "tekton.dev/v1"
ENDED = "2026-01-01T00:00:00Z"
MANY = 2 * PAGE + 50
LISTENER = "triggers.tekton.dev/eventlistener"


@pytest.fixture(scope="module")
def _kinds(kube: Kube) -> None:
    kube.apply([definition("PipelineRun"), definition("TaskRun")])
    for kind in ("PipelineRun", "TaskRun"):
        await_kind(kube, API, kind)


@pytest.fixture
def api(kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path, _kinds: None) -> Iterator[Api]:
    """As the ServiceAccount of manifests/cleanup, whose Role is put into the test's namespace."""
    with closing(agent_door(kube, plane, "cleanup", namespace, tmp_path, manifest="cleanup/cleanup.yaml")) as door:
        yield door


def run(name: str, status: str = "True", kind: str = "PipelineRun", **labels: str) -> Object:
    """status: of the condition Succeeded."""
    done = {} if status == "Unknown" else {"completionTime": ENDED}
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name, "labels": {"tekton.dev/pipeline": "git-cicd", **labels}},
        "status": {"conditions": [{"type": "Succeeded", "status": status}], **done},
    }


def create(kube: Kube, namespace: str, runs: Sequence[Object]) -> None:
    def one(each: Object) -> None:
        each["metadata"]["namespace"] = namespace
        kube.create(each)
        status = {"status": each["status"]}
        kube.patch(API, each["kind"], each["metadata"]["name"], namespace, patch=status, subresource="status")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, runs))


def left(kube: Kube, namespace: str, kind: str = "PipelineRun") -> set[str]:
    return {each["metadata"]["name"] for each in kube.list(API, kind, namespace)}


Clean = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def clean(api: Api, namespace: str) -> Clean:
    def cleaned(door: Any = api, sleep: Callable[[float], None] = time.sleep, **settings: Any) -> tuple[int, list[str]]:
        """It waits as in earnest: a server that has just heard of a kind asks for patience."""
        said: list[str] = []
        cleanup = Cleanup(door, namespace, said.append, sleep=sleep)
        return cleanup.run(CleanupOptions(**({"keep": 1, "days": 3} | settings))), said

    return cleaned


def test_pages_of_runs_go_and_what_runs_is_not_touched(kube: Kube, namespace: str, clean: Clean) -> None:
    running = [run(f"running-{number}", "Unknown") for number in range(3)]
    create(kube, namespace, [run(f"r{number:04}") for number in range(MANY)] + running)
    before = {each["metadata"]["name"]: each["metadata"] for each in kube.list(API, "PipelineRun", namespace)}
    assert clean(dry_run=True)[1][-1] == f"{MANY + 3} runs, {MANY - 1} to delete"
    assert len(left(kube, namespace)) == MANY + 3
    code, said = clean()
    assert (code, said[-1]) == (0, f"{MANY + 3} runs, {MANY - 1} deleted")
    after = {each["metadata"]["name"]: each["metadata"] for each in kube.list(API, "PipelineRun", namespace)}
    assert len(after) == 4
    for name in ("running-0", "running-1", "running-2"):
        assert after[name] == before[name]


@pytest.mark.parametrize(
    ("selector", "stay"),
    [
        ("tier=gold", {"a"}),
        ("tier==gold", {"a"}),
        ("tier!=gold", {"b", "c"}),
        ("tier in (gold, tin)", {"a", "b"}),
        ("tier notin (gold, tin)", {"c"}),
        ("tier", {"a", "b"}),
        ("!tier", {"c"}),
        ("tier,tier!=tin", {"a"}),
    ],
)
def test_the_server_reads_the_selector(kube: Kube, namespace: str, clean: Clean, selector: str, stay: set[str]) -> None:
    create(kube, namespace, [run("a", tier="gold"), run("b", tier="tin"), run("c")])
    assert clean(keep=0, exclude=selector)[0] == 0
    assert left(kube, namespace) == stay


def test_a_selector_that_is_none_deletes_nothing_and_is_told(kube: Kube, namespace: str, clean: Clean) -> None:
    create(kube, namespace, [run("a")])
    code, said = clean(keep=0, exclude="tier in gold")
    assert code == 1
    assert "HTTP 400" in said[-1]
    assert "unable to parse" in said[-1]
    assert left(kube, namespace) == {"a"}
    [event] = [each for each in kube.list("v1", "Event", namespace) if each["reason"] == "CleanupFailed"]
    assert event["message"] == said[-1]


class Meddling:
    """Something happens right before a request that deletes."""

    def __init__(self, api: Api, meddle: Callable[[str], None]) -> None:
        self._api = api
        self._meddle = meddle

    def read(self, path: str) -> bytes:
        return self._api.read(path)

    def request(self, method: str, path: str, body: Any = None) -> Object:
        if method == "DELETE":
            self._meddle(path.rpartition("/")[2])
        return self._api.request(method, path, body)


def test_what_changes_between_the_look_and_the_deletion_stays(
    kube: Kube, api: Api, namespace: str, clean: Clean
) -> None:
    create(kube, namespace, [run("a"), run("b"), run("c")])

    def meddle(name: str) -> None:
        if name == "a":
            kube.patch(API, "PipelineRun", "a", namespace, patch={"metadata": {"labels": {"keep": "yes"}}})
        if name == "b":  # another run of the same name
            kube.delete(API, "PipelineRun", "b", namespace)
            create(kube, namespace, [run("b", "Unknown")])

    code, said = clean(Meddling(api, meddle), keep=0)
    assert (code, said[-1]) == (0, "3 runs, 1 deleted, 2 changed meanwhile")
    assert left(kube, namespace) == {"a", "b"}


def test_a_busy_server_is_borne(kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path, clean: Clean) -> None:
    create(kube, namespace, [run(f"r{number}") for number in range(30)])
    faults = {
        "GET": [Fault(429, "7"), Fault(503), Fault()],
        "DELETE": [Fault(429, "9"), Fault(500), Fault(), Fault(503, "11")],
    }
    slept: list[float] = []
    with front(plane, faults) as port, closing(Api("127.0.0.1", port, tmp_path)) as door:
        code, said = clean(door, slept.append, keep=0)
    assert (code, said[-1]) == (0, "30 runs, 30 deleted")
    assert left(kube, namespace) == set()
    assert {7.0, 9.0, 11.0} <= set(slept), "as long as the server said"


def test_a_server_that_stays_busy_is_given_up_and_asked_no_more(
    kube: Kube, plane: ControlPlane, namespace: str, tmp_path: Path, clean: Clean
) -> None:
    create(kube, namespace, [run("a")])
    with front(plane, {"GET": [Fault(429, "1")] * TRIES}) as port, closing(Api("127.0.0.1", port, tmp_path)) as door:
        code, said = clean(door, lambda _: None, keep=0)
    assert code == 1
    assert said == ["the runs could not be listed: HTTP 429 from the API"]
    assert left(kube, namespace) == {"a"}


def test_the_archive_holds_the_whole_run(kube: Kube, namespace: str, clean: Clean, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    create(kube, namespace, [run("a"), run("a-build", kind="TaskRun", **{"tekton.dev/pipelineRun": "a"})])
    assert clean(keep=0, archive=folder)[0] == 0
    [file] = folder.iterdir()
    with gzip.open(file, "rt") as text:
        kept = json.load(text)
    assert kept["run"]["metadata"]["name"] == "a"
    assert [each["metadata"]["name"] for each in kept["taskRuns"]] == ["a-build"]
    assert left(kube, namespace) == set()
    assert left(kube, namespace, "TaskRun") == {"a-build"}, "it is the garbage collector's"


def test_tasks_on_their_own_go_only_if_the_listener_made_them(kube: Kube, namespace: str, clean: Clean) -> None:
    ours = {LISTENER: "demo-listener"}
    create(
        kube,
        namespace,
        [
            run("print-event-1", kind="TaskRun", **ours),
            run("of-a-run", kind="TaskRun", **ours, **{"tekton.dev/pipelineRun": "x"}),
            run("somebodys", kind="TaskRun"),
        ],
    )
    assert clean(keep=0)[1][-1] == "1 runs, 1 deleted"
    assert left(kube, namespace, "TaskRun") == {"of-a-run", "somebodys"}


def test_its_rights_end_there(api: Api, namespace: str) -> None:
    for method, path in (("GET", "secrets"), ("GET", "configmaps"), ("POST", "pods")):
        with pytest.raises(ApiFailure, match="HTTP 403"):
            api.request(method, f"/api/v1/namespaces/{namespace}/{path}", {} if method == "POST" else None)
    with pytest.raises(ApiFailure, match="HTTP 403"):
        api.request("GET", f"/apis/{API}/namespaces/{constants.TEKTON}/pipelineruns")
