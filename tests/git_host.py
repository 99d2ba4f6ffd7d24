"""A git host on this machine: repositories of a folder by `git http-backend`, their files in Git LFS, and addresses
that misbehave.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

BACKEND = ("git", "http-backend")
USER, PASSWORD = "developer", "pa$$ w'ord`id`"
AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "test"), ("EMAIL", "test@localhost"))
}


class GitHost(ThreadingHTTPServer):
    """folder: of the repositories. asked: paths, in order. Paths may begin with /locked, /busy, /down, /hang, /drip.

    objects: what is kept in Git LFS, by its SHA-256.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, at: str = "127.0.0.1") -> None:
        super().__init__((at, 0), _Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def url(self, name: str) -> str:
        """ "app" or "locked/app": its address."""
        return f"{self.address}/{name}.git"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


@contextlib.contextmanager
def git_host(folder: Path, at: str = "127.0.0.1") -> Iterator[GitHost]:
    """at: the address that it listens on."""
    host = GitHost(folder, at)
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield host
    finally:
        host.over.set()
        host.shutdown()
        thread.join()
        host.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: GitHost

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bytes) -> None:
        self.server.asked.append(self.path)
        parts = urlsplit(self.path)
        mode, _, rest = parts.path.lstrip("/").partition("/")
        own = getattr(self, f"_{mode}", None)
        if own is None:
            self._backend(parts.path, parts.query, body)
        elif mode != "locked":
            own()
        elif self._locked():
            self._backend(f"/{rest}", parts.query, body)

    def _locked(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if base64.b64decode(given) == f"{USER}:{PASSWORD}".encode():
            return True
        self._status(401, {"WWW-Authenticate": 'Basic realm="test"'})
        return False

    def _busy(self) -> None:
        self._status(429, {"Retry-After": "120"})

    def _down(self) -> None:
        self._status(503, {})

    def _hang(self) -> None:
        self.server.over.wait()

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.end_headers()
        while not self.server.over.wait(0.1):
            self.wfile.write(b"0")

    def _status(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": "0"}).items():
            self.send_header(name, value)
        self.end_headers()

    def _lfs(self) -> None:
        content = self.server.objects.get(self.path.rpartition("/")[2])
        self._respond(404 if content is None else 200, {}, content or b"")

    def _batch(self, body: bytes) -> None:
        """https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, for downloads."""
        address = f"{self.server.address}/lfs"
        found = [
            each | {"actions": {"download": {"href": f"{address}/{each['oid']}"}}}
            for each in json.loads(body)["objects"]
        ]
        answer = json.dumps({"transfer": "basic", "objects": found}).encode()
        self._respond(200, {"Content-Type": "application/vnd.git-lfs+json"}, answer)

    def _backend(self, path: str, query: str, body: bytes) -> None:
        if path.endswith("/info/lfs/objects/batch"):
            self._batch(body)
            return
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(BACKEND, input=body, env=environ, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self._respond(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Bare:
    """A bare repository in `folder`, made at once."""

    def __init__(self, folder: Path, *, object_format: str = "sha1") -> None:
        self.folder = folder
        self.git("init", "--quiet", "--bare", f"--object-format={object_format}", "--initial-branch=main", str(folder))

    def git(self, *words: str, text: str = "") -> str:
        return self.run(*(() if words[0] == "init" else ("-C", str(self.folder))), *words, text=text)

    @staticmethod
    def run(*words: str, text: str = "") -> str:
        """git with nobody's configuration. Raises CalledProcessError."""
        environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **AUTHOR}
        argv = ["git", *words]
        return subprocess.run(argv, input=text, env=environ, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, *branches: str, message: str = "A change") -> str:
        """One commit without parents, of an empty tree, that these branches are then at."""
        tree = self.git("hash-object", "-w", "-t", "tree", "--stdin")
        commit = self.git("commit-tree", tree, "-m", message)
        self.refs({f"refs/heads/{branch}": commit for branch in branches})
        return commit

    def refs(self, wanted: dict[str, str]) -> None:
        """Ref -> object."""
        self.git("update-ref", "--stdin", text="".join(f"update {ref} {to}\n" for ref, to in wanted.items()))
