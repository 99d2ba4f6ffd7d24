"""Making a repository on the environment's own git server, and how it may be refused."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bootstrap.incluster import git_server
from bootstrap.incluster.git_server import RepositoryRefused, create_repository

PASSWORD = "s3cret:pässword"


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers one request with these bytes, and the requests that it read."""
    asked: list[str] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(65536).decode())
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join(5)


def reply(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "Connection: close", "", ""]).encode()


@pytest.mark.parametrize("status", ["201 Created", "200 OK", "204 No Content"])
@pytest.mark.parametrize("path", ["/sales/orders.git", "/sales/orders", "/sales/orders.git/"])
def test_a_repository_is_made_or_found(path: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # it is in the cluster
    with answering(reply(status)) as (server, asked):
        create_repository(f"{server}{path}", "me", PASSWORD)
    [request] = asked
    assert request.startswith("PUT /sales/orders.git HTTP/1.1\r\n")
    login = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert f"Authorization: Basic {login}\r\n" in request


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (reply("401 Unauthorized"), "127.0.0.1 makes no repository /orders.git: HTTP 401"),
        (reply("503 Service Unavailable"), "HTTP 503"),
        (reply("307 Temporary Redirect", "Location: http://elsewhere.test/"), "HTTP 307"),
        (b"", "127.0.0.1 does not answer: RemoteDisconnected"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "127.0.0.1 does not answer: BadStatusLine"),
    ],
)
def test_why_it_is_not_made_is_told_without_the_login(answer: bytes, why: str) -> None:
    with answering(answer) as (server, asked), pytest.raises(RepositoryRefused, match=why) as caught:
        create_repository(f"{server}/orders.git", "me", PASSWORD)
    assert len(asked) == 1, "the login goes nowhere else"
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RepositoryRefused, match=r"does not answer: .+ refused"):
        create_repository(f"{server}/orders.git", "me", PASSWORD)


def test_one_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_server, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RepositoryRefused, match="does not answer"):
            create_repository(f"{server}/orders.git", "me", PASSWORD)
