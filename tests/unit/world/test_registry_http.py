"""Plain requests to a registry: logins, tokens, and what an upload's speed is."""

from __future__ import annotations

import hashlib
import json
import ssl
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootstrap.core import pki
from bootstrap.core.model import Secret
from bootstrap.settings.config import MirrorSettings
from bootstrap.steps.registry import find_free_port
from bootstrap.world.registry.http import RegistryHttp, read_docker_login
from tests.unit.fake_shell import FakeShell
from tests.unit.registry_server import RegistryServer, Said

MANIFEST = "HEAD /v2/team/pause/manifests/1"
UPLOADS = "/v2/team/pause/blobs/uploads/"
BASIC = "Basic " + b64encode(b"me:hush").decode()


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def door(server: RegistryServer, **more: Any) -> RegistryHttp:
    settings = MirrorSettings(registry=server.address, folder="team", plain_http="on", **more)
    return RegistryHttp(FakeShell({}), settings, 2)


LOGIN = {"username": "me", "password": Secret("hush")}


def test_a_login_is_given_when_it_is_asked_for() -> None:
    with RegistryServer({MANIFEST: [Said(200)]}, wants=BASIC) as server:
        assert door(server, **LOGIN).find_manifest("pause:1").status == 200
        assert server.authorizations == ["", BASIC]
        assert door(server, username="me", password=Secret("wrong")).find_manifest("pause:1").status == 401
        assert door(server).find_manifest("pause:1").status == 401


def test_a_token_is_fetched_with_the_login() -> None:
    tokens = [Said(200, body=json.dumps({"token": "abc"}).encode())]
    with RegistryServer({MANIFEST: [Said(200)], "GET /token": tokens}, wants="Bearer abc") as server:
        realm = f"http://{server.address}/token"
        server.challenge = f'Bearer realm="{realm}",service="here",scope="repository:team/pause:pull"'
        assert door(server, **LOGIN).find_manifest("pause:1").status == 200
        assert "GET /token?service=here&scope=repository%3Ateam%2Fpause%3Apull" in server.heard
        assert server.authorizations == ["", BASIC, "Bearer abc"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"no json"])
def test_a_token_server_that_tells_nonsense(body: bytes) -> None:
    with RegistryServer({"GET /token": [Said(200, body=body)]}, wants="Bearer abc") as server:
        server.challenge = f'Bearer realm="http://{server.address}/token"'
        assert door(server, **LOGIN).find_manifest("pause:1").status == 401


def test_a_password_does_not_follow_to_another_scheme() -> None:
    with RegistryServer(wants="Bearer abc", challenge='Bearer realm="ftp://elsewhere/token"') as server:
        assert door(server, **LOGIN).find_manifest("pause:1").status == 401
        assert BASIC not in server.authorizations


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("", 0), ("Wed, 21 Oct 1998 07:28:00 GMT", 0), ("-1", 0)])
def test_how_long_it_wants_to_be_left_alone(text: str, seconds: float) -> None:
    with RegistryServer({MANIFEST: [Said(429, {"Retry-After": text})]}) as server:
        answer = door(server).find_manifest("pause:1")
        assert (answer.status, answer.wait) == (429, seconds)


def test_the_digest_that_a_registry_tells() -> None:
    with RegistryServer({MANIFEST: [Said(200, {"Docker-Content-Digest": "sha256:abc"})]}) as server:
        assert door(server).find_digest("pause:1").digest == "sha256:abc"
        assert server.heard == [MANIFEST]


def test_a_digest_that_is_not_told_is_computed() -> None:
    """A registry may tell it (OCI distribution-spec), and need not."""
    manifest = b'{"schemaVersion": 2}'
    answers = {MANIFEST: [Said(200)], MANIFEST.replace("HEAD", "GET"): [Said(200, body=manifest)]}
    with RegistryServer(answers) as server:
        assert door(server).find_digest("pause:1").digest == f"sha256:{hashlib.sha256(manifest).hexdigest()}"


@pytest.mark.parametrize("said", [Said(404, {"Docker-Content-Digest": "sha256:abc"}), Said(500, body=b"{}")])
def test_an_error_has_no_digest(said: Said) -> None:
    for answers in ({MANIFEST: [said]}, {MANIFEST: [Said(200)], MANIFEST.replace("HEAD", "GET"): [said]}):
        with RegistryServer(answers) as server:
            answer = door(server).find_digest("pause:1")
            assert (answer.status, answer.digest) == (said.status, "")


def test_plain_http_is_not_tried_unless_it_is_said() -> None:
    with RegistryServer(default=200) as server:
        settings = MirrorSettings(registry=server.address, folder="team")
        answer = RegistryHttp(FakeShell({}), settings, 2).find_manifest("pause:1")
        assert answer.status == 0
        assert answer.cause
        assert server.heard == []


def test_a_certificate_that_nobody_knows_is_no_warning_where_plain_http_would_do(tmp_path: Path) -> None:
    """A look is part of commands whose lines are the user's; here every warning is an error."""
    authority = pki.make_authority("tests", datetime.now(UTC))
    pair = pki.issue_certificate(authority, "registry", ("127.0.0.1",), datetime.now(UTC))
    (tmp_path / "pair").write_bytes(pair.certificate + pair.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "pair")
    with RegistryServer({MANIFEST: [Said(200)]}, tls=tls) as server:
        assert door(server).find_manifest("pause:1").status == 200
        settings = MirrorSettings(registry=server.address, folder="team")
        assert RegistryHttp(FakeShell({}), settings, 2).find_manifest("pause:1").status == 0


def test_nothing_there() -> None:
    settings = MirrorSettings(registry=f"127.0.0.1:{find_free_port()}", plain_http="on")
    assert "refused" in RegistryHttp(FakeShell({}), settings, 2).find_manifest("pause:1").cause


def test_the_speed_of_an_upload_that_is_given_up() -> None:
    begun = Said(202, {"Location": f"{UPLOADS}1"})
    answers = {f"POST {UPLOADS}": [begun], f"PATCH {UPLOADS}1": [Said(202)], f"DELETE {UPLOADS}1": [Said(204)]}
    with RegistryServer(answers) as server:
        rate = door(server).measure_push_rate("pause", 0.3)
        assert rate > 1e5
        assert server.received > 1 << 18
        assert server.heard[-1] == f"DELETE {UPLOADS}1"
        assert not [each for each in server.heard if each.startswith("PUT")]


def test_an_upload_that_is_refused_has_no_speed() -> None:
    with RegistryServer(default=403) as server:
        assert door(server).measure_push_rate("pause", 0.3) == 0


def config(folder: Path, document: object) -> None:
    (folder / "config.json").write_text(json.dumps(document))


def test_logins_of_dockers_own_configuration(tmp_path: Path) -> None:
    auth = b64encode(b"ann:secret").decode()
    config(tmp_path, {"auths": {"a.example": {"auth": auth}}, "credHelpers": {"b.example": "box"}})
    helper = FakeShell({"docker-credential-box get": '{"Username": "bob", "Secret": "boxed"}'})
    for host, user in (("a.example", "ann"), ("b.example", "bob")):
        login = read_docker_login(helper, host)
        assert login
        assert login.username == user
        assert "boxed" not in repr(login)
    assert read_docker_login(helper, "c.example") is None


@pytest.mark.parametrize("document", [[], {}, {"auths": []}, {"auths": {"a.example": {}}}, {"auths": {"a.example": 1}}])
def test_a_configuration_without_one(tmp_path: Path, document: object) -> None:
    config(tmp_path, document)
    assert read_docker_login(FakeShell({}), "a.example") is None
