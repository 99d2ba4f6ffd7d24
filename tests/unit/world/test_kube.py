"""The Kubernetes door against a scripted server: retries, errors, paging, streams."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core import pki
from bootstrap.core.errors import ApiError, PreconditionError
from bootstrap.core.model import Object
from bootstrap.world.kube.client import Kube
from bootstrap.world.kube.http import MESSAGE_LENGTH
from bootstrap.world.kube.login_expiry import describe_expiry
from tests.unit.api_server import Answer, Script, serving, write_kubeconfig

VERSION = Answer({"gitVersion": "v1.36.3"})
PODS = "/api/v1/namespaces/n/pods"
CORE = Answer(
    {
        "resources": [
            {"name": "pods", "kind": "Pod", "namespaced": True},
            {"name": "pods/log", "kind": "Pod", "namespaced": True},
            {"name": "secrets", "kind": "Secret", "namespaced": True},
            {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
            {"name": "namespaces", "kind": "Namespace", "namespaced": False},
        ]
    }
)


def status(code: int, reason: str, message: str, **headers: str) -> Answer:
    return Answer({"kind": "Status", "reason": reason, "message": message, "code": code}, code, headers)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.world.kube.http.BACKOFF_SECONDS", 0.01)


@pytest.fixture
def script() -> Script:
    made = Script()
    made.on("GET /api/v1", CORE)
    return made


@pytest.fixture
def kube(script: Script, tmp_path: Path) -> Iterator[Kube]:
    with serving(script, tmp_path) as kubeconfig:
        yield Kube(kubeconfig, "test")


def test_the_ambient_kubeconfig_plays_no_part(
    script: Script, kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "another"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    script.on("GET /version", VERSION)
    assert kube.read_version() == "v1.36.3"
    assert script.requests[0].headers["authorization"] == "Bearer s3cret"


def test_nothing_is_read_before_the_first_use(tmp_path: Path) -> None:
    kube = Kube(tmp_path / "later", "test")
    with pytest.raises(PreconditionError, match="there is no kubeconfig"):
        kube.read_version()


@pytest.mark.parametrize("text", ["a: [", "[]", "", "clusters: 5", "contexts: [{name: test, context: {cluster: x}}]"])
def test_a_broken_kubeconfig_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    said = r"kubeconfig(, line 2: it is not YAML| is not a kubeconfig| has no (context test|cluster x); it has: none)"
    with pytest.raises(PreconditionError, match=said):
        Kube(path, "test").read_version()


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="has no context other; it has: test"):
        Kube(write_kubeconfig(tmp_path, "http://127.0.0.1:9"), "other").read_version()


def test_a_cluster_made_again_is_connected_anew(script: Script, kube: Kube, tmp_path: Path) -> None:
    script.on("GET /version", VERSION)
    kube.read_version()
    again, folder = Script(), tmp_path / "again"
    folder.mkdir()
    again.on("GET /version", Answer({"gitVersion": "v2"}))
    with serving(again, folder) as other:
        other.replace(kube.kubeconfig)
        assert kube.read_version() == "v2"


@pytest.mark.parametrize(("code", "seconds"), [(429, 1), (503, 0)])
def test_a_busy_server_is_asked_again_when_it_says(script: Script, kube: Kube, code: int, seconds: int) -> None:
    script.on("GET /version", status(code, "Busy", "later", **{"Retry-After": str(seconds)}), VERSION)
    start = time.monotonic()
    assert kube.read_version() == "v1.36.3"
    assert time.monotonic() - start >= seconds


def test_a_server_that_stays_busy_is_given_up(script: Script, kube: Kube) -> None:
    script.on("GET /version", status(503, "ServiceUnavailable", "no leader"))
    with pytest.raises(ApiError, match="no leader") as caught:
        kube.read_version()
    assert (caught.value.status, caught.value.reason) == (503, "ServiceUnavailable")
    assert len(script.requests) == 5


def test_a_broken_connection_is_tried_again(script: Script, kube: Kube) -> None:
    script.on("GET /version", Answer(cut=True), VERSION)
    assert kube.read_version() == "v1.36.3"


def test_a_create_is_never_sent_twice(script: Script, kube: Kube) -> None:
    script.on(f"POST {PODS}?fieldManager=tekton-bootstrap", Answer(cut=True))
    with pytest.raises(ApiError) as caught:
        kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "namespace": "n"}})
    assert caught.value.status == 0
    assert len(script.seen("POST")) == 1


def test_a_json_patch_is_never_sent_twice(script: Script, kube: Kube) -> None:
    script.on(f"PATCH {PODS}/p?fieldManager=tekton-bootstrap", Answer(cut=True))
    with pytest.raises(ApiError):
        kube.patch("v1", "Pod", "p", "n", patch=[{"op": "add", "path": "/x", "value": 1}])
    assert [each.headers["Content-Type"] for each in script.seen("PATCH")] == ["application/json-patch+json"]


def test_a_merge_patch_may_be_sent_twice(script: Script, kube: Kube) -> None:
    script.on(f"PATCH {PODS}/p?fieldManager=tekton-bootstrap", Answer(cut=True), Answer({"ok": True}))
    assert kube.patch("v1", "Pod", "p", "n", patch={"x": 1}) == {"ok": True}
    assert script.seen("PATCH")[-1].headers["Content-Type"] == "application/merge-patch+json"


def test_a_server_that_is_not_there_is_named_quickly(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ApiError, match=r"http://127.0.0.1:9 did not answer: connection refused$") as caught:
        Kube(write_kubeconfig(tmp_path, "http://127.0.0.1:9"), "test").read_version()
    assert caught.value.status == 0
    assert time.monotonic() - start < 4


def test_errors_are_short_and_hold_no_token(script: Script, kube: Kube) -> None:
    script.on("GET /version", status(500, "InternalError", "etcd\n  is " + "x" * 5000))
    with pytest.raises(ApiError) as caught:
        kube.read_version()
    assert caught.value.message.startswith("etcd is xxx")
    assert len(caught.value.message) == MESSAGE_LENGTH
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_an_answer_that_is_no_status_object(script: Script, kube: Kube) -> None:
    script.on("GET /version", Answer("404 page not found\nmore", 404))
    with pytest.raises(ApiError, match=r"^404 page not found$"):
        kube.read_version()
    script.on("GET /version", Answer("<html>", 200))
    with pytest.raises(ApiError, match="is not JSON"):
        kube.read_version()


def test_absent_objects_and_unknown_kinds(script: Script, kube: Kube) -> None:
    script.on(f"GET {PODS}/p", status(404, "NotFound", "no"))
    script.on(f"DELETE {PODS}/p", status(404, "NotFound", "no"))
    script.on("GET /apis/tekton.dev/v1", Answer("404 page not found", 404))
    assert kube.get("v1", "Pod", "p", "n") is None
    assert kube.delete("v1", "Pod", "p", "n") is False
    assert kube.get("tekton.dev/v1", "Task", "t", "n") is None
    assert kube.list("tekton.dev/v1", "Task", "n") == []
    with pytest.raises(ApiError, match=r"does not know the kind Task of tekton\.dev/v1"):
        kube.apply([{"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t", "namespace": "n"}}])


def test_discovery_asks_once_and_again_for_what_is_new(script: Script, kube: Kube) -> None:
    task = {"resources": [{"name": "tasks", "kind": "Task", "namespaced": True}]}
    script.on("GET /apis/tekton.dev/v1", Answer("404 page not found", 404), Answer(task))
    script.on("GET /apis/tekton.dev/v1/namespaces/n/tasks/t", Answer({"kind": "Task"}))
    assert kube.get("tekton.dev/v1", "Task", "t", "n") is None
    for _ in range(3):
        assert kube.get("tekton.dev/v1", "Task", "t", "n") == {"kind": "Task"}
    assert len([each for each in script.requests if each.path == "/apis/tekton.dev/v1"]) == 2


def test_lists_are_read_page_by_page(script: Script, kube: Kube) -> None:
    first = {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "t/1"}}
    script.on(f"GET {PODS}?labelSelector=app%3Dx&limit=500", Answer(first))
    script.on(
        f"GET {PODS}?labelSelector=app%3Dx&limit=500&continue=t%2F1", Answer({"items": [{"metadata": {"name": "b"}}]})
    )
    found = kube.list("v1", "Pod", "n", labels="app=x")
    assert [(each["kind"], each["apiVersion"], each["metadata"]["name"]) for each in found] == [
        ("Pod", "v1", "a"),
        ("Pod", "v1", "b"),
    ]


def test_a_list_whose_pages_expired_is_read_at_once(script: Script, kube: Kube) -> None:
    script.on(f"GET {PODS}?limit=500", Answer({"items": [{}], "metadata": {"continue": "t"}}))
    script.on(f"GET {PODS}?limit=500&continue=t", status(410, "Expired", "too old"))
    script.on(f"GET {PODS}?limit=0", Answer({"items": [{}, {}]}))
    assert len(kube.list("v1", "Pod", "n")) == 2


def secret(data: object) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "stringData": data}


def test_a_refused_secret_does_not_show_its_content(script: Script, kube: Kube) -> None:
    path = "PATCH /api/v1/namespaces/n/secrets/s?fieldManager=tekton-bootstrap&force=true"
    script.on(path, status(422, "Invalid", 'stringData: Invalid value: "hunter2"'))
    with pytest.raises(ApiError) as caught:
        kube.apply([secret({"x": "hunter2"})])
    assert caught.value.message == "Secret n/s: refused (Invalid)"


def configmap(name: str, **metadata: object) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def test_what_is_applied_keeps_its_order(script: Script, kube: Kube) -> None:
    names = [f"c{number}" for number in range(20)]
    for name in names:
        path = f"PATCH /api/v1/namespaces/n/configmaps/{name}?fieldManager=tekton-bootstrap&force=true&dryRun=All"
        script.on(path, Answer({"metadata": {"name": name}}))
    applied = kube.apply([configmap(name, namespace="n") for name in names], dry_run=True)
    assert [each["metadata"]["name"] for each in applied] == names
    assert {each.headers["Content-Type"] for each in script.seen("PATCH")} == {"application/apply-patch+yaml"}


def test_a_namespaced_object_without_a_namespace_is_refused(kube: Kube) -> None:
    with pytest.raises(ApiError, match="ConfigMap c: it names no namespace"):
        kube.apply([configmap("c")])


def test_the_service_proxy_is_asked_only_once(script: Script, kube: Kube) -> None:
    path = "GET /api/v1/namespaces/n/services/web:80/proxy/version"
    script.on(path, status(503, "ServiceUnavailable", 'no endpoints available for service "web"'))
    with pytest.raises(ApiError, match="no endpoints"):
        kube.get_from_service("n", "web", 80, "/version")
    assert len(script.requests) == 1
    script.on(path, Answer("3f9c2e1\n"))
    assert kube.get_from_service("n", "web", 80, "/version") == "3f9c2e1\n"


def test_a_token_is_a_secret(script: Script, kube: Kube) -> None:
    script.on("POST /api/v1/namespaces/n/serviceaccounts/sa/token", Answer({"status": {"token": "abc"}}))
    token = kube.request_token("n", "sa", 3600, ("them",))
    assert (str(token), token.reveal()) == ("***", "abc")
    assert script.requests[0].body["spec"] == {"expirationSeconds": 3600, "audiences": ["them"]}


LOG = f"GET {PODS}/p/log?follow=true&timestamps=true"


def stamped(second: int, text: str) -> bytes:
    return f"2026-01-01T10:00:{second:02}.000000001Z {text}\n".encode()


def test_a_log_is_followed_to_its_end_over_a_broken_connection(script: Script, kube: Kube) -> None:
    broken = threading.Event()
    broken.set()
    script.on(f"{LOG}&container=c&tailLines=9", Answer(chunks=(stamped(1, "one"), stamped(2, "two")), hold=broken))
    rest = stamped(2, "two") + stamped(3, "three ä")[:-3]
    script.on(
        f"{LOG}&container=c&sinceTime=2026-01-01T10%3A00%3A02Z", Answer(chunks=(rest, stamped(3, "three ä")[-3:]))
    )
    assert list(kube.follow_log("n", "p", "c", tail_lines=9)) == ["one", "two", "three ä"]


def test_a_log_that_keeps_breaking_is_an_error(script: Script, kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.world.kube.watch.Feed.pause", lambda self, seconds: None)
    script.on(LOG, Answer(cut=True))
    with pytest.raises(ApiError, match="did not answer"):
        list(kube.follow_log("n", "p"))


def test_a_container_that_has_not_started(script: Script, kube: Kube) -> None:
    script.on(LOG, status(400, "BadRequest", "container is waiting to start"))
    with pytest.raises(ApiError, match="waiting to start"):
        next(kube.follow_log("n", "p"))


def test_following_ends_when_another_thread_closes_it(script: Script, kube: Kube) -> None:
    held = threading.Event()
    script.on(LOG, Answer(chunks=(stamped(1, "one"),), hold=held))
    stream = kube.follow_log("n", "p")
    assert next(stream) == "one"
    timer = threading.Timer(0.2, stream.close)
    timer.start()
    start = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - start < 2
    held.set()
    timer.join()


def watched(kind: str, version: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"name": "p", "resourceVersion": version}, **more}}


def lines(*events: dict[str, Any]) -> Answer:
    return Answer(chunks=tuple(json.dumps(each).encode() + b"\n" for each in events))


def test_a_watch_goes_on_where_it_was_and_starts_over_when_too_old(script: Script, kube: Kube) -> None:
    watch = f"GET {PODS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1"
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    script.on(watch, lines(watched("ADDED", "1"), watched("BOOKMARK", "5")), lines(watched("ADDED", "9")))
    script.on(f"{watch}&resourceVersion=5", lines(watched("MODIFIED", "6")))
    script.on(f"{watch}&resourceVersion=6", lines(gone))
    script.on(f"{watch}&resourceVersion=9", lines(watched("DELETED", "10")))
    with kube.watch("v1", "Pod", "n", seconds=1.9) as stream:
        seen = [(kind, obj["metadata"]["resourceVersion"]) for kind, obj in islice(stream, 4)]
    assert seen == [("ADDED", "1"), ("MODIFIED", "6"), ("ADDED", "9"), ("DELETED", "10")]


def test_a_watch_that_is_forbidden_says_so(script: Script, kube: Kube) -> None:
    watch = f"GET {PODS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1"
    script.on(watch, status(403, "Forbidden", "pods is forbidden"))
    with pytest.raises(ApiError, match="pods is forbidden"):
        next(kube.watch("v1", "Pod", "n", seconds=1.5))


def test_a_token_file_is_trimmed_as_by_kubectl(script: Script, tmp_path: Path) -> None:
    script.on("GET /version", VERSION)
    with serving(script, tmp_path) as kubeconfig:
        (tmp_path / "token").write_text("t0ken-of-a-file\n")
        kubeconfig.write_text(kubeconfig.read_text().replace("token: s3cret", f"tokenFile: {tmp_path / 'token'}"))
        assert Kube(kubeconfig, "test").read_version() == "v1.36.3"
    assert {each.headers["authorization"] for each in script.seen("GET /version")} == {"Bearer t0ken-of-a-file"}


def test_a_token_that_is_over_is_named_when_the_server_refuses_it(script: Script, tmp_path: Path) -> None:
    script.on("GET /version", status(401, "Unauthorized", "Unauthorized"))
    ended, later = (
        f"a.{base64.urlsafe_b64encode(json.dumps({'exp': end}).encode()).decode().rstrip('=')}.b"
        for end in (1_700_000_000, 4_000_000_000)
    )
    told = {}
    for token in ("s3cret", later, ended):
        with serving(script, tmp_path) as kubeconfig:
            kubeconfig.write_text(kubeconfig.read_text().replace("token: s3cret", f"token: {token}"))
            with pytest.raises(ApiError) as caught:
                Kube(kubeconfig, "test").read_version()
        told[token] = caught.value.message
    assert told == {
        "s3cret": "Unauthorized",
        later: "Unauthorized",
        ended: "Unauthorized: its token ended on 2023-11-14 22:13 UTC",
    }


def test_a_client_certificate_that_is_over_is_named() -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    pair = pki.issue_certificate(pki.make_authority("ca", made), "client", [], made, days=30)
    user = {"client-certificate-data": base64.b64encode(pair.certificate).decode()}
    kubeconfig = {
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://host"}}],
        "users": [{"name": "u", "user": user}],
    }
    assert describe_expiry(kubeconfig, "test", datetime(2026, 1, 30, tzinfo=UTC)) == ""
    told = describe_expiry(kubeconfig, "test", datetime(2026, 2, 1, tzinfo=UTC))
    assert told == "its client certificate ended on 2026-01-31 00:00 UTC"
    assert describe_expiry(kubeconfig, "another", made) == ""


@pytest.mark.parametrize("token", ["two\\nlines", "unseen\\u200b"])
def test_a_token_that_no_header_can_hold_is_refused_without_being_shown(
    script: Script, tmp_path: Path, token: str
) -> None:
    with serving(script, tmp_path) as kubeconfig:
        kubeconfig.write_text(kubeconfig.read_text().replace("token: s3cret", f'token: "{token}"'))
        with pytest.raises(PreconditionError, match="holds characters that no HTTP header can have") as caught:
            Kube(kubeconfig, "test").read_version()
    assert token[:3] not in caught.value.message
