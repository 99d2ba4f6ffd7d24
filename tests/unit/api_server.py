"""A scripted API server on loopback: each expected request with its answer; anything else fails the test."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Answer:
    """body: JSON, or text sent as it is. cut: close the connection without an answer; chunks: sent one by one."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    chunks: tuple[bytes, ...] = ()
    hold: threading.Event | None = None


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Script:
    """`on("GET /version", a, b)`: the first such request is answered by a, all later ones by b."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.unforeseen: list[str] = []
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()

    def on(self, request: str, *answers: Answer) -> None:
        self._answers[request] = list(answers)

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            key = f"{request.method} {request.path}"
            answers = self._answers.get(key)
            if not answers:
                self.unforeseen.append(key)
                return Answer({"kind": "Status", "message": f"unforeseen: {key}"}, 599)
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def seen(self, start: str) -> list[Request]:
        return [each for each in self.requests if f"{each.method} {each.path}".startswith(start)]


@contextlib.contextmanager
def serving(script: Script, folder: Path) -> Iterator[Path]:
    """Gives a kubeconfig with the context `test` and the token `s3cret`. Fails on unforeseen requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            answer = script.answer(Request(self.command, self.path, dict(self.headers), body))
            if answer.cut:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.chunks:
                self._stream(answer)
                return
            content = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        def _stream(self, answer: Answer) -> None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            for chunk in answer.chunks:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            if answer.hold:
                answer.hold.wait(10)
                return  # broken off: no last chunk
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield write_kubeconfig(folder, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert script.unforeseen == []


def write_kubeconfig(folder: Path, server: str, context: str = "test") -> Path:
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "s3cret"}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
