"""Asking a git server for its refs without git."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Secret
from bootstrap.world import git_refs
from bootstrap.world.shell import Output
from tests.unit.fake_shell import FakeShell

A, B, C, ZERO = "a" * 40, "b" * 40, "c" * 40, "0" * 40


def line(text: str) -> bytes:
    data = text.encode()
    return f"{len(data) + 4:04x}".encode() + data


def body(*lines: str) -> bytes:
    head, *rest = lines
    return (
        line("# service=git-upload-pack\n")
        + b"0000"
        + line(f"{head}\0multi_ack symref=HEAD:refs/heads/main\n")
        + b"".join(line(f"{each}\n") for each in rest)
        + b"0000"
    )


ANSWER = body(f"{A} HEAD", f"{A} refs/heads/main", f"{B} refs/tags/v1", f"{C} refs/tags/v1^{{}}")


def test_refs_are_read_without_capabilities() -> None:
    assert git_refs.parse_refs(ANSWER) == {
        "HEAD": A,
        "refs/heads/main": A,
        "refs/tags/v1": B,
        "refs/tags/v1^{}": C,
    }


def test_an_empty_repository_has_no_refs() -> None:
    assert git_refs.parse_refs(body(f"{ZERO} capabilities^{{}}")) == {}


@pytest.mark.parametrize(
    "data", [b"<html>no git here</html>", line("x" * 50)[:20], b"00", b"-001", line("x") + b"\xff\xfe\xfd\xfc"]
)
def test_what_is_not_an_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|cut off|codec"):
        git_refs.parse_refs(data)


@pytest.mark.parametrize(
    ("revision", "commit"),
    [("main", A), ("v1", C), ("refs/heads/main", A), ("HEAD", A), ("refs/tags/v1", B), ("gone", ""), ("", "")],
)
def test_a_revision_becomes_a_commit_and_an_annotated_tag_what_it_points_at(revision: str, commit: str) -> None:
    assert git_refs.find_commit(git_refs.parse_refs(ANSWER), revision) == commit


def test_a_tag_without_a_note_names_its_commit() -> None:
    assert git_refs.find_commit({"refs/tags/v2": B}, "v2") == B


class Server:
    """status, headers and body of every answer. logins: what came as Authorization; paths: what was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = ANSWER
        self.logins: list[str] = []
        self.paths: list[str] = []
        self.address = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.paths.append(self.path)
            state.logins.append(self.headers.get("Authorization", ""))
            self.send_response(state.status)
            for key, value in state.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        state.address = f"http://127.0.0.1:{http.server_port}"
        yield state
        http.shutdown()


def test_the_server_is_asked_with_the_login(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # must not be asked for this machine
    found = git_refs.read_refs(f"{server.address}/go-echo.git/", "developer", Secret("p"))
    assert found["refs/heads/main"] == A
    assert server.paths == ["/go-echo.git/info/refs?service=git-upload-pack"]
    assert base64.b64decode(server.logins[0].removeprefix("Basic ")) == b"developer:p"


def test_without_a_password_there_is_no_login(server: Server) -> None:
    git_refs.read_refs(f"{server.address}/go-echo.git", "developer", Secret(""))
    assert server.logins == [""]


def test_the_login_is_not_sent_on_to_another_server(server: Server) -> None:
    target = server.address.replace("127.0.0.1", "localhost")
    server.status, server.headers = 302, {"Location": f"{target}/elsewhere"}
    with pytest.raises(PreconditionError):
        git_refs.read_refs(f"{server.address}/go-echo.git", "developer", Secret("p"))
    assert len(server.logins) > 1
    assert set(server.logins[1:]) == {""}


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_is_told_by_its_code(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(PreconditionError, match=f"answers {status}") as failure:
        git_refs.read_refs(f"{server.address}/go-echo.git", "developer", Secret("correct-horse"))
    assert "correct-horse" not in str(failure.value)


def test_another_kind_of_server_is_an_error_of_ours(server: Server) -> None:
    server.body = b"<html>welcome</html>"
    with pytest.raises(PreconditionError, match="does not answer"):
        git_refs.read_refs(f"{server.address}/go-echo.git")


def test_nobody_there(server: Server) -> None:
    with pytest.raises(PreconditionError, match="does not answer"):
        git_refs.read_refs("http://127.0.0.1:1/go-echo.git")


def test_a_name_that_is_no_utf8_hides_no_other_ref() -> None:
    def line(text: bytes) -> bytes:
        return b"%04x%s" % (len(text) + 4, text)

    data = line(b"1" * 40 + b" refs/heads/\xe9t\xe9\n") + line(b"2" * 40 + b" refs/heads/main\n") + b"0000"
    assert git_refs.find_commit(git_refs.parse_refs(data), "main") == "2" * 40


def test_by_ssh_git_is_asked_with_the_users_own_keys() -> None:
    url = "ssh://git@git.test/a"
    listing = (
        f"{'a' * 40}\tHEAD\n{'a' * 40}\trefs/heads/main\n{'b' * 40}\trefs/tags/v1\n{'c' * 40}\trefs/tags/v1^{{}}\n"
    )
    shell = FakeShell({f"git ls-remote -- {url}": listing})
    found = git_refs.read_refs_by_ssh(shell, url)
    assert git_refs.find_commit(found, "main") == "a" * 40
    assert git_refs.find_commit(found, "v1") == "c" * 40
    refusing = FakeShell({"git": Output(128, "", "Permission denied (publickey).")})
    with pytest.raises(PreconditionError, match=f"{url} cannot be read by your own ssh") as caught:
        git_refs.read_refs_by_ssh(refusing, url)
    assert "publickey" in caught.value.evidence
