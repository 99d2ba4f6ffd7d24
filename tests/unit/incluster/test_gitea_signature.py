"""What the interceptor for Gitea's and Forgejo's own signature lets pass, and what it answers to nonsense.

Its place among the other gates is in tests/events.yaml.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.incluster import gitea_signature

SECRET = b"open sesame"
BODY = '{"ref":"refs/heads/main", "message":"<&> 你好"}'
RIGHT = "249d665fd0d904db6d6d3ed0e6f0f8b59c3eeef481eefa7bb89781e53f9ea95d"
"""Made with openssl dgst -sha256 -hmac."""


def request(**headers: str) -> dict[str, Any]:
    given = {"X-GitHub-Event": "push"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "body": BODY,
        "header": {name: [value] for name, value in given.items()},
        "interceptor_params": {"eventTypes": ["push", "pull_request"]},
    }


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"X_Gitea_Signature": RIGHT}, ""),
        ({"x_forgejo_signature": RIGHT}, ""),
        ({"X_Gitea_Signature": RIGHT, "X_GitHub_Event": "pull_request"}, ""),
        ({}, "it carries no signature"),
        ({"X_Gitea_Signature": ""}, "it carries no signature"),
        ({"X_Gitea_Signature": "0" * 64}, "its signature is wrong"),
        ({"X_Gitea_Signature": f"sha256={RIGHT}"}, "its signature is wrong"),
        ({"X_Gitea_Signature": RIGHT[:-1]}, "its signature is wrong"),
        ({"X_Gitea_Signature": "ü"}, "its signature is wrong"),
        ({"X_Forgejo_Signature": "0" * 64, "X_Gitea_Signature": RIGHT}, "its signature is wrong"),
        ({"X_Gitea_Signature": RIGHT, "X_GitHub_Event": "ping"}, "its event is none of those"),
    ],
)
def test_what_passes(headers: dict[str, str], why: str) -> None:
    answer = gitea_signature.check_signature(request(**headers), SECRET)
    assert answer["continue"] is not bool(why)
    assert answer["status"].get("message", "").startswith(why)
    assert answer["status"].get("code", 0) == (gitea_signature.FAILED_PRECONDITION if why else 0)


def test_without_a_secret_nothing_passes() -> None:
    assert gitea_signature.check_signature(request(X_Gitea_Signature=RIGHT), b"")["continue"] is False


@pytest.fixture
def port() -> Iterator[int]:
    with gitea_signature.make_server(0, lambda: SECRET) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield running.server_port
        running.shutdown()


def ask(port: int, method: str, path: str = "/gitea", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_over_the_wire(port: int) -> None:
    assert ask(port, "GET", "/healthz")[0] == 200
    status, body = ask(port, "POST", body=json.dumps(request(X_Gitea_Signature=RIGHT)).encode())
    assert (status, json.loads(body)) == (200, {"continue": True, "status": {}})


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b'{"header": 7}', b'{"header": {"x": 7}}', b'{"body": "x"}'])
def test_nonsense_passes_nothing_and_ends_nothing(port: int, body: bytes) -> None:
    status, answer = ask(port, "POST", body=body)
    assert status == 400 or json.loads(answer)["continue"] is False
    assert ask(port, "POST", Content_Length=str(gitea_signature.MAX_REQUEST_BYTES + 1))[0] == 413
    assert ask(port, "GET", "/healthz")[0] == 200
