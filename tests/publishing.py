"""Stand-ins for the public hosts: a real registry and a web server with release documents, behind TLS and a login.

What they publish looks as what the public ones publish: images by index for two architectures, release documents that
name images by digest, in repositories called as ko calls them.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from bootstrap.core import pki
from bootstrap.core.model import Object
from bootstrap.objects.image_refs import LOCAL
from bootstrap.steps.registry import find_free_port
from bootstrap.supply import oci_layout, tekton_build
from bootstrap.supply.tekton_releases import DASHBOARD
from bootstrap.world.probe import read_local_status

USER, PASSWORD = "reader", "s3cret w'ord"
FOLDERS = {"docker.io": "hub", "ghcr.io": "ghcr", "registry.k8s.io": "k8s"}
"""Public registry -> folder of the stand-in that has its images."""
RELEASES = "releases"
Files = Mapping[str, bytes]
_PACKAGES = {
    tekton_build.make_logical_name(f"{path}/{program}"): f"{path}/{program}"
    for path, programs in tekton_build.PROGRAMS.items()
    for program in programs
}
_PACKAGES[DASHBOARD] = "github.com/tektoncd/dashboard/cmd/dashboard"


@dataclass
class Host:
    """documents: path below the releases -> bytes. heard: "GET /v2/...".

    faults: statuses answered to the next requests that hold `on`; 0 breaks off in the middle. bend: changes blobs.
    """

    behind: int
    folder: Path
    crane: Path
    port: int = 0
    documents: dict[str, bytes] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    on: str = ""
    faults: list[int] = field(default_factory=list)
    retry_after: str = ""
    bend: bool = False

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def settings(self) -> dict[str, str]:
        """Of `upstream`, so that this host stands for all public ones."""
        address = f"127.0.0.1:{self.port}"
        return {
            "releases": f"https://{address}/{RELEASES}",
            "registries": ", ".join(f"{name}={address}/{folder}" for name, folder in FOLDERS.items()),
            "username": USER,
            "password": PASSWORD,
            "ca_file": str(self.ca_file),
        }

    def publish(self, domain: str, path: str, tag: str, layouts: Mapping[str, Path], *, label: str = "") -> str:
        """Architecture -> layout folder, under one tag as an index; its digest. label: gives images other digests."""
        place = f"127.0.0.1:{self.behind}/{FOLDERS[domain]}/{path}"
        made = []
        for arch, layout in layouts.items():
            self.run("push", str(layout), f"{place}:{tag}-{arch}")
            if label:
                self.run("mutate", f"--label={label}", f"--tag={place}:{tag}-{arch}", f"{place}:{tag}-{arch}")
            made += ["-m", f"{place}:{tag}-{arch}"]
        self.run("index", "append", "-t", f"{place}:{tag}", *made)
        return self.run("digest", f"{place}:{tag}")

    def run(self, *words: str) -> str:
        done = subprocess.run([str(self.crane), *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def publish_release(self, objects: list[Object], layouts: Mapping[str, Mapping[str, Path]]) -> None:
        """objects: of Pipelines, Triggers and Dashboard, images by logical name. layouts: of each such image."""
        names = {name: self._publish_tekton(name, layout) for name, layout in layouts.items()}
        parts: dict[str, list[Object]] = {}
        for each in objects:
            text = yaml.safe_dump(each, sort_keys=False)
            for name in sorted(names, key=len, reverse=True):
                text = text.replace(LOCAL + name, names[name])
            parts.setdefault(_document(each), []).append(yaml.safe_load(text))
        self.documents = {path: yaml.safe_dump_all(each).encode() for path, each in parts.items()}

    def _publish_tekton(self, name: str, layouts: Mapping[str, Path]) -> str:
        """The reference by digest."""
        package = _PACKAGES[name]
        product = package.split("/")[2]
        path = f"tektoncd/{product}/{package.rpartition('/')[2]}-{hashlib.md5(package.encode()).hexdigest()}"  # noqa: S324  ko's names
        return f"ghcr.io/{path}:v1@{self.publish('ghcr.io', path, 'v1', layouts, label='stand-in=yes')}"


def _document(obj: Object) -> str:
    labels = obj["metadata"].get("labels") or {}
    part = str(labels.get("app.kubernetes.io/part-of", ""))
    if part == DASHBOARD:
        return "dashboard/previous/v0.65.0/release.yaml"
    if obj["kind"] == "ClusterInterceptor":
        return "triggers/previous/v0.37.0/interceptors.yaml"
    product = "triggers/previous/v0.37.0" if "triggers" in part else "pipeline/previous/v1.15.0"
    return f"{product}/release.yaml"


def image(folder: Path, arch: str, files: Files) -> Path:
    """A layout folder with an image of one layer. folder: a new one."""
    layer, archive = io.BytesIO(), folder.with_suffix(".tar")
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    data = layer.getvalue()
    diff = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]}
    config = json.dumps({"architecture": arch, "os": "linux", "config": {}, "rootfs": diff}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]).encode()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for member, text in (("config.json", config), ("layer.tar", data), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    oci_layout.convert_engine_archive(archive, folder)
    archive.unlink()
    return folder


@contextlib.contextmanager
def host(crane: Path) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="publishing-") as name, _registry(crane, Path(name)) as behind:
        folder = Path(name)
        made, now = Host(behind, folder, crane), datetime.now(UTC)
        authority = pki.make_authority("stand-in", now)
        pair = pki.issue_certificate(authority, "stand-in", ("127.0.0.1",), now)
        made.ca_file.write_bytes(authority.certificate)
        (folder / "tls.crt").write_bytes(pair.certificate)
        (folder / "tls.key").write_bytes(pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        with _Server(made, context) as server:
            made.port = server.server_port
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            yield made
            server.shutdown()


@contextlib.contextmanager
def _registry(crane: Path, folder: Path) -> Iterator[int]:
    """go-containerregistry's, on a port of this machine."""
    port = find_free_port()
    words = [str(crane), "registry", "serve", f"--address=127.0.0.1:{port}", f"--disk={folder}"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                if read_local_status(port, "/v2/", 2) == 200:
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, made: Host, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made = made
        self.lock = threading.Lock()
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake in the request's own thread: a client may come and say nothing."""
        with contextlib.suppress(OSError):
            request.settimeout(60)
            with self._context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        made = self.server.made
        with self.server.lock:
            made.heard.append(f"{self.command} {self.path}")
            faulty = bool(made.faults) and made.on in made.heard[-1] and self.path != "/v2/"
            fault = made.faults.pop(0) if faulty else None
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if fault:
            self._answer(fault, b'{"errors": []}', {"Retry-After": made.retry_after} if made.retry_after else {})
        elif self.headers.get("Authorization") != f"Basic {login}":
            self._answer(401, b'{"errors": [{"code": "UNAUTHORIZED"}]}', {"WWW-Authenticate": 'Basic realm="stand-in"'})
        elif self.path.startswith(f"/{RELEASES}/"):
            document = made.documents.get(self.path.removeprefix(f"/{RELEASES}/"))
            self._answer(404 if document is None else 200, document or b"", {}, cut=fault == 0)
        else:
            self._hand_on(made, cut=fault == 0)

    do_HEAD = do_GET  # noqa: N815  as the library calls them

    def _hand_on(self, made: Host, *, cut: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", made.behind, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            answer = connection.getresponse()
            if self.command == "GET" and (cut or made.bend) and "/blobs/" in self.path:
                data = answer.read()
                bent = data[:-1] + bytes([data[-1] ^ 1]) if made.bend and data else data
                self._answer(answer.status, bent, dict(answer.getheaders()), cut=cut)
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() != "connection":
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                shutil.copyfileobj(answer, self.wfile, oci_layout.CHUNK)

    def _answer(self, status: int, data: bytes, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """The test says what matters."""
