"""The page's server, asked over HTTP on a port of its own; the world behind it is a small fake one."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bootstrap.console.advice import advise
from bootstrap.console.cache import REST, Cache
from bootstrap.console.masking import presentable
from bootstrap.console.readings import LATEST_RUNS, LOG_CHARACTERS, Readings
from bootstrap.console.server import POLICY, STATIC, Server
from bootstrap.converge import Outcome
from bootstrap.errors import ApiError, PreconditionError
from bootstrap.model import Failed, Pending, Ready, Secret, Unknown
from bootstrap.runs import parse_run
from bootstrap.world.forward import listen
from tests.unit import page_world as stage
from tests.unit.fakes import FakeClock, FakeReport
from tests.unit.page_world import COMMIT, DIGEST, PASSWORD, FakeKube

EVIL = '<img src=x onerror=alert(1)></script><script>alert("2")</script>'
RUN = "go-echo-9ab01cd-m2x8q"


class Page:
    """A running server and the means to ask it."""

    def __init__(self, port: int, clock: FakeClock) -> None:
        self.port = port
        self.clock = clock

    def ask(
        self, path: str, *, method: str = "GET", host: str | None = "", headers: dict[str, str] | None = None
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """host: the Host header, "" for the right one, None for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if host is not None:
                connection.putheader("Host", host or f"127.0.0.1:{self.port}")
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

    def json(self, path: str, status: int = 200) -> Any:
        found, body, headers = self.ask(path)
        assert (found, headers["Content-Type"]) == (status, "application/json")
        return json.loads(body)

    def send(self, request: bytes) -> bytes:
        """Bytes as they are, for what no client would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(1 << 16), b""))


@contextlib.contextmanager
def serving(
    folder: Path, kube: FakeKube, look: Callable[[], Sequence[Outcome]] = stage.ready_steps, *, warnings: int = 0
) -> Iterator[Page]:
    """warnings: how many faults of its own the server may tell of."""
    report, clock = FakeReport(), FakeClock()
    world = stage.make_world(folder, kube, report=report, clock=clock)
    with Server(listen(0), Readings(world, look), report.warn) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield Page(server.socket.getsockname()[1], clock)
        finally:
            server.shutdown()
            thread.join(5)
    assert len(report.printed) == warnings, report.printed


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with serving(tmp_path, stage.busy_kube()) as found:
        yield found


# what is shown


def test_status_says_how_things_are_what_serves_and_what_to_type(page: Page) -> None:
    status = page.json("/api/status")
    assert (status["name"], status["context"]) == ("demo", "kind-demo")
    assert status["endpoints"]["app"] == "http://127.0.0.1:40880"
    assert [step["name"] for step in status["steps"]] == [*stage.STEPS]
    assert {step["verdict"] for step in status["steps"]} == {"ready"}
    assert status["serving"] == {
        "deployment": "go-echo",
        "namespace": "demo",
        "image": f"registry.tekton.internal:5000/demo/go-echo@{DIGEST}",
        "pods": "2 of 2 ready",
        "answer": {"commit": COMMIT, "version": "1.0.0"},
        "why": "",
    }
    assert status["next"]["command"] == f"invoke logs --run {RUN}"


def test_runs_are_listed_newest_first(page: Page) -> None:
    answer = page.json("/api/runs")
    assert answer["left_out"] == 0
    first, second = answer["runs"][:2]
    assert (first["run"], first["branch"], first["by"], first["state"]) == (RUN, "feature/greeting", "hand", "Running")
    assert (second["state"], second["why"]) == ("Failed", "failed in build-image: exit 1 in step run")
    assert answer["runs"][3]["image"].endswith(DIGEST)


def test_only_the_latest_runs_are_sent(tmp_path: Path) -> None:
    kube = stage.kube(*(stage.pipeline_run(f"run-{i}", age=60 + i) for i in range(LATEST_RUNS + 7)))
    with serving(tmp_path, kube) as page:
        answer = page.json("/api/runs")
    assert (len(answer["runs"]), answer["left_out"]) == (LATEST_RUNS, 7)
    assert answer["runs"][0]["run"] == "run-0"


def test_one_run_has_its_tasks_in_order(page: Page) -> None:
    run = page.json(f"/api/runs/{RUN}")
    assert [(task["name"], task["state"], task["has_log"]) for task in run["tasks"]] == [
        ("git-clone", "Succeeded", True),
        ("build-image", "Running", True),
        ("deploy", "Pending", False),
        ("notify", "Pending", False),
    ]
    assert run["over"] is False
    assert run["tasks"][0]["results"]["author"] == "Ada Lovelace"
    assert run["tasks"][1]["seconds"] >= 5


def test_a_log_is_text_of_one_task_or_of_all(page: Page) -> None:
    status, text, headers = page.ask(f"/api/runs/{RUN}/log?task=build-image")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert text.splitlines()[:3] == [
        "--- step prepare",
        "cache: 9 of 11 layers",
        "--- step build",
    ]
    _, whole, _ = page.ask(f"/api/runs/{RUN}/log")
    assert whole.splitlines()[:2] == [
        "[git-clone] HEAD is now at 9ab01cd Greet people by name",
        "[build-image] --- step prepare",
    ]


def test_a_growing_log_is_read_again(tmp_path: Path) -> None:
    kube = stage.busy_kube()
    with serving(tmp_path, kube) as page:
        path = f"/api/runs/{RUN}/log?task=build-image"
        before = page.ask(path)[1]
        kube.logs[f"{RUN}-build-image-pod", "step-build"] += "#60 DONE\n"
        assert page.ask(path)[1] == before
        page.clock.time += 2
        assert page.ask(path)[1] == before + "\n#60 DONE"


def test_of_a_long_log_the_end_is_sent(tmp_path: Path) -> None:
    kube = stage.busy_kube()
    line = "0123456789" * 10
    kube.logs[f"{RUN}-git-clone-pod", "step-run"] = f"{line}\n" * 5000 + "the end\n"
    with serving(tmp_path, kube) as page:
        text = page.ask(f"/api/runs/{RUN}/log?task=git-clone")[1]
        whole = page.ask(f"/api/runs/{RUN}/log")[1]
    first, second, *_, last = text.splitlines()
    assert (first, second, last) == (
        f"(earlier lines are left out; all of them: invoke logs --run {RUN})",
        line,
        "the end",
    )
    assert len(text) <= LOG_CHARACTERS + 200
    assert whole.count(line) == 5000


def test_a_pod_that_is_gone_says_so_in_place_of_its_log(tmp_path: Path) -> None:
    kube = stage.busy_kube()
    kube.logs.clear()
    with serving(tmp_path, kube) as page:
        assert "(no log: pods" in page.ask(f"/api/runs/{RUN}/log?task=git-clone")[1]


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/go-echo-none",
        "/api/runs/go-echo-none/log",
        f"/api/runs/{RUN}/log?task=none",
        f"/api/runs/{RUN}/log?task=../x",
    ],
)
def test_what_does_not_exist_is_404_with_its_reason(page: Page, path: str) -> None:
    answer = page.json(path, 404)
    assert "there is no run" in answer["error"] or "has no task" in answer["error"]


# nothing runs, nothing deployed, nothing answers


def test_an_empty_environment(tmp_path: Path) -> None:
    kube = stage.kube()
    kube.objects["Deployment"] = []
    with serving(tmp_path, kube) as page:
        assert page.json("/api/runs") == {"runs": [], "left_out": 0}
        status = page.json("/api/status")
    assert status["serving"]["why"] == "it is not deployed yet"
    assert status["next"]["command"] == "invoke test-run"


def test_while_the_api_is_down_each_answer_says_why_and_it_comes_back(tmp_path: Path) -> None:
    kube = stage.busy_kube()
    kube.error = ApiError("https://127.0.0.1:6443 does not answer: connection refused", status=0)
    steps = [
        Outcome("cluster", Pending("demo-control-plane is stopped"), 0.1),
        Outcome("git", Unknown("needs cluster"), 0),
    ]
    with serving(tmp_path, kube, lambda: steps) as page:
        for path in ("/api/runs", f"/api/runs/{RUN}", f"/api/runs/{RUN}/log"):
            assert "connection refused" in page.json(path, 503)["error"]
        status = page.json("/api/status")
        assert "connection refused" in status["serving"]["why"]
        assert status["next"] == {"command": "invoke up", "why": "cluster: demo-control-plane is stopped"}
        kube.error = None
        page.clock.time += 2
        assert page.json("/api/runs")["runs"][0]["run"] == RUN


def test_when_the_look_itself_is_refused_the_hint_is_given(tmp_path: Path) -> None:
    def look() -> list[Outcome]:
        raise PreconditionError("there is no kubeconfig", hint="invoke up")

    with serving(tmp_path, stage.kube(), look) as page:
        assert page.json("/api/status", 503) == {"error": "there is no kubeconfig", "hint": "invoke up"}


def test_a_fault_of_ours_does_not_show_its_text(tmp_path: Path) -> None:
    def look() -> list[Outcome]:
        raise KeyError(PASSWORD)

    with serving(tmp_path, stage.kube(), look, warnings=1) as page:
        status, body, _ = page.ask("/api/status")
    assert (status, PASSWORD in body, "KeyError" in body) == (500, False, True)


@pytest.mark.parametrize("version", ["<html>", "", '"1.0"', "[1]"])
def test_an_app_of_another_kind_may_answer_anything(tmp_path: Path, version: str) -> None:
    kube = stage.kube()
    kube.version = version
    with serving(tmp_path, kube) as page:
        serves = page.json("/api/status")["serving"]
    assert serves["pods"] == "2 of 2 ready"
    assert serves["answer"] or serves["why"] == "/version does not answer JSON"


# who may ask, and for what


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9097", "127.0.0.1", "127.0.0.1:1"])
def test_own_names_are_served(page: Page, host: str) -> None:
    assert page.ask("/api/runs", host=host)[0] == 200


@pytest.mark.parametrize("path", ["/", "/api/status", "/api/runs", f"/api/runs/{RUN}/log", "/nothing"])
@pytest.mark.parametrize(
    "host",
    [
        None,
        "evil.example",
        "evil.example:9097",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "0.0.0.0",  # noqa: S104
        "[::1]",
        "localhost:x",
        "localhost, evil.example",
    ],
)
def test_a_foreign_host_reads_nothing(page: Page, path: str, host: str | None) -> None:
    status, body, _ = page.ask(path, host=host)
    assert status == 403
    assert "go-echo" not in body


def test_two_hosts_are_one_too_many(page: Page) -> None:
    assert page.ask("/api/runs", headers={"Host": "localhost"})[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(page: Page, method: str) -> None:
    status, body, headers = page.ask("/api/runs", method=method)
    assert (status, headers["Allow"], "go-echo" in body) == (405, "GET, HEAD", False)
    assert headers["Content-Security-Policy"] == POLICY


def test_head_is_get_without_the_body(page: Page) -> None:
    status, body, headers = page.ask("/page.js", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) == (STATIC / "page.js").stat().st_size


@pytest.mark.parametrize(
    "path",
    ["/", "/style.css", "/page.js", "/icon.svg", "/api/status", "/api/runs/none", "/none", f"/api/runs/{RUN}/log"],
)
def test_every_answer_has_the_headers(page: Page, path: str) -> None:
    _, _, headers = page.ask(path)
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "tekton-bootstrap"
    assert not [name for name in headers if name.lower().startswith("access-control-")]


def test_the_policy_allows_no_inline_script_and_no_other_host() -> None:
    assert POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "*" not in POLICY


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/static/../server.py",
        "/..%2f..%2fserver.py",
        "//etc/passwd",
        "/style.css/../../server.py",
        "/%2e%2e/server.py",
        "/index.html",
        "http://evil.example/api/runs",
        "/api/runs/",
        "/api/runs/../../secrets",
        "/api/runs/..%2f..%2fsecrets",
        f"/api/runs/{RUN}/log/",
        f"/api/runs/{RUN}%00",
        f"/api/runs/{RUN.upper()}",
        f"/api/runs/{'a' * 300}",
        "/api/secrets",
    ],
)
def test_nothing_but_the_table_is_served(page: Page, path: str) -> None:
    status, body, _ = page.ask(path)
    assert (status, json.loads(body)["error"]) == (404, "there is no such page")


def test_names_that_match_no_table_never_reach_the_cluster(tmp_path: Path) -> None:
    kube = stage.busy_kube()
    with serving(tmp_path, kube) as page:
        page.ask("/api/runs/../../api/v1/secrets")
        page.ask("/api/runs/a%2fb/log")
    assert kube.asked == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.0\r\n\r\n", b"414"),
        (b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_malformed_requests_are_answered_shortly(page: Page, request_: bytes, code: bytes) -> None:
    answer = page.send(request_)
    assert answer.startswith(b"HTTP/1.0 " + code)
    assert b"Content-Security-Policy" in answer
    assert b"nonsense" not in answer
    assert page.ask("/")[0] == 200


# foreign text


def evil_kube() -> FakeKube:
    run = stage.pipeline_run(RUN, "Failed", branch=EVIL + "\u202egnp")
    task = stage.task_run(RUN, "build-image", "Failed")
    task["status"]["results"] = [{"name": "subject", "value": EVIL}]
    task["status"]["conditions"][0]["message"] = EVIL
    log = f"{EVIL}\n\x1b]0;title\x07\x1b[31mred\x1b[0m\n"
    return stage.kube(run, tasks=[task], logs={(f"{RUN}-build-image-pod", "step-run"): log})


def test_markup_travels_as_data_and_controls_not_at_all(tmp_path: Path) -> None:
    with serving(tmp_path, evil_kube()) as page:
        run = page.json(f"/api/runs/{RUN}")
        status, log, headers = page.ask(f"/api/runs/{RUN}/log")
    assert run["branch"] == EVIL + "gnp"
    assert run["tasks"][1]["results"]["subject"] == EVIL
    assert (status, log) == (200, f"[build-image] {EVIL}\n[build-image] red")
    assert (headers["Content-Type"], headers["X-Content-Type-Options"]) == ("text/plain; charset=utf-8", "nosniff")


def test_the_script_never_makes_markup_of_text() -> None:
    script = (STATIC / "page.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert way not in script
    assert re.findall(r"href: (\S+)", script) == ["value,", "`#run/${run.run}`"]


def test_the_page_has_no_inline_script_or_style_and_no_foreign_address() -> None:
    html = (STATIC / "index.html").read_text()
    assert re.findall(r"<script\b[^>]*>", html) == ['<script src="/page.js" defer>']
    assert not re.search(r"\son\w+=|\sstyle=|<style", html)
    for file in STATIC.iterdir():
        addresses = set(re.findall(r"https?:[\\/]+([\w.\\]+)", file.read_text()))
        assert addresses <= {"www.w3.org", r"127\.0\.0\.1"}, file.name


def test_every_element_that_the_script_looks_for_is_there() -> None:
    wanted = set(re.findall(r'byId\("([\w-]+)"\)', (STATIC / "page.js").read_text()))
    there = re.findall(r'id="([\w-]+)"', (STATIC / "index.html").read_text())
    assert wanted <= set(there)
    assert len(there) == len(set(there))


def test_known_secrets_are_masked_wherever_they_show(tmp_path: Path) -> None:
    kube = evil_kube()
    made = "kept-in-a-file-0123"
    kube.logs[f"{RUN}-build-image-pod", "step-run"] = f"user:{PASSWORD} {made}\nhttps://me:hunter2@git.example/x\n"
    kube.version = json.dumps({"commit": PASSWORD})
    folder = stage.make_world(tmp_path, kube).paths.env
    folder.mkdir(parents=True)
    (folder / "registry.password").write_text(made)
    with serving(tmp_path, kube) as page:
        seen = [page.ask(path)[1] for path in ("/api/status", f"/api/runs/{RUN}/log?task=build-image")]
    assert not [text for text in seen if PASSWORD in text or made in text or "hunter2" in text]
    assert seen[1].splitlines() == ["user:*** ***", "https://***@git.example/x"]


def test_reading_makes_no_secret(tmp_path: Path) -> None:
    with serving(tmp_path, stage.busy_kube()) as page:
        page.json("/api/status")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ('"authorization": "Basic dXNlcjpwYXNz"', '"authorization": "Basic ***"'),
        ("token eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWI.c2lnbmF0dXJl end", "token *** end"),
        ("http://git.example/a@b", "http://git.example/a@b"),
        ("Basic authentication failed for abc", "Basic authentication failed for abc"),
        ("sesame and sesame2", "*** and ***2"),
    ],
)
def test_masking(text: str, shown: str) -> None:
    assert presentable({"a": [text, 1, None, True]}, [Secret("sesame"), Secret("a")]) == {"a": [shown, 1, None, True]}


# the cache


def test_many_tabs_cost_one_read(tmp_path: Path) -> None:
    kube = stage.busy_kube()
    with serving(tmp_path, kube) as page:
        tabs = [threading.Thread(target=page.json, args=("/api/runs",)) for _ in range(8)]
        for tab in tabs:
            tab.start()
        for tab in tabs:
            tab.join(5)
    assert kube.asked == ["list PipelineRun", "list TaskRun"]


def test_a_slow_read_rests_in_proportion_and_a_refusal_is_kept_too() -> None:
    clock, reads = FakeClock(), []

    def read() -> int:
        reads.append(1)
        clock.sleep(4)
        if len(reads) == 2:
            raise ApiError("down", status=0)
        return len(reads)

    cache = Cache(clock.now)
    assert cache.get("a", read) == 1
    clock.time += 4 * REST - 0.1
    assert cache.get("a", read) == 1
    clock.time += 0.2
    for _ in range(2):
        with pytest.raises(ApiError):
            cache.get("a", read)
    clock.time += 4 * REST
    assert cache.get("a", read) == 3


# what to type next

READY = [Outcome("engine", Ready(), 0), Outcome("cluster", Ready(), 0)]


@pytest.mark.parametrize(
    ("outcomes", "runs", "command"),
    [
        (READY, [], "invoke test-run --name x"),
        (READY, None, "invoke doctor --name x"),
        (READY, [stage.pipeline_run("r1", "Running")], "invoke logs --run r1 --name x"),
        (READY, [stage.pipeline_run("r1", "Failed"), stage.pipeline_run("r0")], "invoke rerun --run r1 --name x"),
        (READY, [stage.pipeline_run("r1"), stage.pipeline_run("r0", "Failed")], "invoke test-run --name x"),
        ([Outcome("a", Unknown("needs b"), 0), Outcome("b", Pending("absent"), 0)], [], "invoke up --name x"),
        (
            [Outcome("a", Pending("absent"), 0), Outcome("b", Failed("foreign", hint="invoke down"), 0)],
            [],
            "invoke down",
        ),
        ([Outcome("a", Failed("broken"), 0)], [], "invoke up --name x"),
    ],
)
def test_the_next_command(outcomes: list[Outcome], runs: list[dict[str, Any]] | None, command: str) -> None:
    found = None if runs is None else [parse_run(run) for run in runs]
    advice = advise(outcomes, found, " --name x")
    assert advice.command == command
    assert advice.why
