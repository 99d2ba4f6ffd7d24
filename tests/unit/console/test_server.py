"""The console's real server, a process on loopback: who is let in, and what comes out."""

from __future__ import annotations

import contextlib
import html
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bootstrap.console.library_files import NAMES
from bootstrap.console.library_loading import PLAIN_LOADING
from bootstrap.console.static_page import PAGES, RENAMED
from bootstrap.core.paths import PROJECT
from tests.unit.console_process import EVIL, RUN
from tests.unit.page_world import PASSWORD

MANY = 2000
MEMORY = 150
"""MB that the process may hold with that many runs."""
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"


class Process:
    """A console that answers. token: as in its address; cookie: what it gave for that.

    module: of tests.unit, what is run.
    """

    def __init__(
        self,
        folder: Path,
        runs: int,
        longer: float = 0,
        environ: Mapping[str, str] | None = None,
        module: str = "console_process",
    ) -> None:
        words = [sys.executable, "-m", f"tests.unit.{module}", str(folder), str(runs), str(longer)]
        self.process = subprocess.Popen(
            words,
            cwd=PROJECT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        parts = urlsplit(self.url)
        self.port, self.token = parts.port or 0, parts.query.removeprefix("token=")
        self.cookie = ""
        status, _, headers = self.ask(f"/?token={self.token}", cookie="")
        assert status == 200
        self.given = headers["Set-Cookie"]
        self.cookie = self.given.partition(";")[0]

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        host: str | None = "",
        cookie: str | None = None,
        **headers: str,
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """host: "" is the right one, None is none. cookie: None is the right one, "" is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if host is not None:
                connection.putheader("Host", host or f"127.0.0.1:{self.port}")
            if self.cookie if cookie is None else cookie:
                connection.putheader("Cookie", self.cookie if cookie is None else cookie)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            body = b"" if answer.status == 101 else answer.read()
            return answer.status, body.decode(), answer.headers

    def socket(self, **headers: str) -> int:
        """The status of a websocket's handshake; 101 if it is let in."""
        cookie = headers.pop("cookie", None)
        host = headers.pop("host", "")
        asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        asked |= {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        return self.ask(SOCKET, cookie=cookie, host=host, **asked, **headers)[0]

    def page(self, path: str = "/", true: Callable[[str], bool] = lambda _: True, limit: float = 20) -> str:
        """The page once that is true of it."""
        end = time.monotonic() + limit
        while True:
            status, body, _ = self.ask(path)
            assert status == 200
            if true(body):
                return body
            assert time.monotonic() < end, "it did not become true"
            time.sleep(0.1)

    def say(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def megabytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    console = Process(tmp_path_factory.mktemp("console"), MANY)
    with console.process:  # closes its pipes
        yield console
        console.process.terminate()
        assert console.process.wait(15) in (0, -15)


pytestmark = pytest.mark.timeout(120)


def shown(body: str) -> str:
    """What the page holds as data, as a browser reads it."""
    found = re.findall(r"String\.raw`(.*?)`", body, re.DOTALL)
    return html.unescape(found[0])


# who is let in


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(console: Process) -> None:
    assert re.search(r"; Path=/; HttpOnly; SameSite=Strict$", console.given)
    assert console.token not in console.given
    status, body, headers = console.ask(f"/run/x?token={console.token}", cookie="")
    assert (status, headers["Location"]) == (200, None)
    assert 'content="0;url=/run/x"' in body
    assert console.token not in body
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/run/x", "/favicon.ico", "/_nicegui/3.18.0/static/nicegui.js", "/no-such-page"])
def test_without_the_cookie_nothing_is_answered(console: Process, path: str) -> None:
    for cookie in ("", "console=x", f"{console.cookie}x", console.cookie.replace("=", "=x")):
        status, body, _ = console.ask(path, cookie=cookie)
        assert status == 401
        assert "invoke dashboard" in body


@pytest.mark.parametrize("token", ["", "x", "%00", "%C3%A9", "a" * 5000])
def test_another_token_lets_nobody_in(console: Process, token: str) -> None:
    status, _, headers = console.ask(f"/?token={token}", cookie="")
    assert (status, headers["Set-Cookie"]) == (401, None)


def test_the_cookie_is_found_among_others(console: Process) -> None:
    assert console.ask("/", cookie=f'bad"={{; {console.cookie}; other=1')[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:90", "127.0.0.1.evil.example", "127.0.0.1@evil", None, " "]
)
def test_a_foreign_name_is_refused_even_with_token_and_cookie(console: Process, host: str | None) -> None:
    for path in ("/", f"/?token={console.token}", "/_nicegui/3.18.0/static/nicegui.js"):
        status, _, headers = console.ask(path, host=host)
        assert status in (400, 403)
        assert headers["Set-Cookie"] is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:9090"])
def test_own_names_are_served_through_whatever_port(console: Process, host: str) -> None:
    assert console.ask("/", host=host)[0] == 200


def test_what_changes_something_has_to_come_from_our_own_page(console: Process) -> None:
    own = f"http://127.0.0.1:{console.port}"
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{console.port + 1}", f"{own}.evil.example"):
        assert console.ask("/", method="POST", Origin=origin)[0] == 403
        assert console.ask("/", Origin=origin)[0] == 403
    assert console.ask("/", method="POST")[0] == 403
    assert console.ask("/", method="POST", Origin=own)[0] not in (401, 403)


def test_the_websocket_wants_cookie_host_and_origin(console: Process) -> None:
    own = f"http://127.0.0.1:{console.port}"
    assert console.socket(Origin=own) == 101
    assert console.socket(Origin="http://evil.example") == 403
    assert console.socket() == 403
    assert console.socket(Origin=own, cookie="x=y") == 403
    assert console.socket(Origin=own, host="evil.example") == 403


# what comes out


def test_whoever_is_let_in_is_told_which_files_the_first_page_needs(console: Process) -> None:
    _, body, headers = console.ask(f"/?token={console.token}", cookie="")
    ahead = re.findall(r'<link rel="preload" as="(style|script)" href="([^"]+)">', body)
    page = console.page("/", lambda body: "run-1" in body)
    named = {*re.findall(r"""["'(](/_nicegui/[^"'()]+/static/[^"'()]+)""", page)}
    needed = {each for each in named if not re.search(r"sass|immutable\.es", each)}  # it only says where they would be
    by_components = {path for _, path in ahead if "/utils/" in path}
    assert {path for _, path in ahead} - by_components == needed
    assert len(ahead) == len(NAMES)
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "style-src 'self'" in headers["Content-Security-Policy"]
    for kind, path in ahead:
        status, _, told = console.ask(path)
        assert (status, told["Content-Type"]) == (200, "text/css" if kind == "style" else "text/javascript")
        assert "immutable" in told["Cache-Control"]
        assert console.ask(path, cookie="")[0] == 401


def test_every_answer_has_the_headers_and_a_page_a_policy_without_inline_scripts(console: Process) -> None:
    status, body, headers = console.ask("/")
    policy = headers["Content-Security-Policy"]
    nonce = re.findall(r"'nonce-([\w-]+)'", policy)[0]
    assert (status, headers["Cache-Control"], headers["X-Frame-Options"]) == (200, "no-store", "DENY")
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0]
    scripts = re.findall(r"<script[^>]*>", body)
    assert scripts
    assert all(f'nonce="{nonce}"' in each for each in scripts)
    assert nonce not in console.ask("/")[1]
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", body)
    file = console.ask("/_nicegui/3.18.0/static/nicegui.js")
    assert "immutable" in file[2]["Cache-Control"]
    assert file[2]["X-Content-Type-Options"] == "nosniff"


def test_the_first_thing_a_reader_sees_are_the_runs(console: Process) -> None:
    console.page("/", lambda body: "run-1" in body)
    body = console.ask(f"/?token={console.token}", cookie="")[1]
    assert len(re.findall(r'<a class="name" href="/run/', body)) == 25
    assert html.escape(EVIL) in body
    assert not re.search("<script|<img", re.sub(r'^<!doctype html><meta charset="utf-8"><script nonce=', "", body))
    assert PASSWORD not in body
    assert "运行" in console.ask(f"/?token={console.token}", cookie="", Accept_Language="zh-CN")[1]


def test_markup_stays_text_and_no_secret_is_sent(console: Process) -> None:
    for path in ("/", f"/run/{RUN}"):
        body = console.page(path, lambda body: "onerror" in body)
        data = shown(body)
        assert EVIL in json.dumps(json.loads(data), ensure_ascii=False).replace('\\"', '"')
        assert "<img src=x" not in body
        assert "<script>alert" not in body
        assert "${alert" not in body
        assert PASSWORD not in body


def test_two_thousand_runs_are_listed_page_by_page_and_fit_into_memory(console: Process) -> None:
    body = console.page("/", lambda body: f"{MANY + 1}" in shown(body))
    rows = re.findall(r'"key":"run-\d+"', shown(body))
    assert len(rows) == 24  # and the evil one
    assert len(body) < 120_000
    assert console.megabytes() < MEMORY


def test_a_lost_server_shows_and_recovers_while_the_runs_stay(console: Process) -> None:
    console.say("lose")
    body = console.page("/", lambda body: "connection refused" in body)
    assert "run-1" in body
    console.say("back")
    console.page("/", lambda body: "connection refused" not in body)


def test_the_pages_come_up_as_well_when_the_library_is_loaded_as_usual(tmp_path: Path) -> None:
    console = Process(tmp_path, 3, environ={PLAIN_LOADING: "1"})
    with console.process:
        try:
            body = console.page("/", lambda body: "run-1" in body)
            assert "run-2" in shown(body)
            for path in PAGES:
                assert console.ask(path)[0] == 200
        finally:
            console.process.terminate()


def test_an_address_that_a_page_had_before_leads_to_it(console: Process) -> None:
    for old, new in RENAMED.items():
        status, _, headers = console.ask(old)
        assert (status, headers["Location"]) == (308, new)
        assert new in PAGES
    assert console.ask("/delivery", cookie="")[0] == 401


def test_the_language_follows_the_browser_or_the_choice(console: Process) -> None:
    assert "运行" in console.ask("/", Accept_Language="zh-CN,zh;q=0.9")[1]
    status, _, headers = console.ask("/choose/language/zh")
    assert status == 303
    chosen = headers["Set-Cookie"].partition(";")[0]
    assert "运行" in console.ask("/", cookie=f"{console.cookie}; {chosen}")[1]
    assert console.ask("/choose/language/xx")[0] == 404


@pytest.mark.parametrize(
    ("back", "target"),
    [
        ("", "/"),
        ("?back=/run/x%3Ftask%3Da", "/run/x?task=a"),
        ("?back=//evil.example", "/evil.example"),
        ("?back=/%5C/evil.example", "/evil.example"),
        ("?back=https://evil.example", "/https://evil.example"),
    ],
)
def test_a_choice_leads_back_to_where_it_was_made_and_nowhere_else(console: Process, back: str, target: str) -> None:
    status, _, headers = console.ask(f"/choose/theme/dark{back}")
    assert (status, headers["Location"]) == (303, target)
