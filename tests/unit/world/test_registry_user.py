"""The user's registry: never without TLS unless the settings say so."""

from __future__ import annotations

import socket
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bootstrap.core.errors import PreconditionError
from bootstrap.core.model import Secret
from bootstrap.settings.config import MirrorSettings
from bootstrap.world.registry import user
from bootstrap.world.registry.user import MirrorRegistry, falls_back_to_http
from tests.unit.registry_server import RegistryServer, Said


@pytest.fixture
def resetting() -> Iterator[int]:
    """A port that answers every connection with a reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def registry(address: str, plain_http: str = "off", **more: Any) -> MirrorRegistry:
    settings = MirrorSettings(registry=address, plain_http=plain_http, **more)
    return MirrorRegistry(cast(Any, None), cast(Any, None), Path("crane"), settings)


def test_a_registry_that_resets_a_tls_hello_is_not_tried_without_tls(
    resetting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """crane would go on in the clear, with the password."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PreconditionError, match="does not answer by TLS") as caught:
        registry(f"127.0.0.1:{resetting}").require_tls()
    assert "plain_http: on" in caught.value.hint
    registry(f"127.0.0.1:{resetting}", plain_http="on").require_tls()


@pytest.mark.parametrize(
    ("host", "falls_back"),
    [
        ("10.1.2.3", True),
        ("172.20.0.1", True),
        ("192.168.0.9", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("registry.local", True),
        ("172.32.0.1", False),
        ("8.8.8.8", False),
        ("registry.example.org", False),
    ],
)
def test_where_crane_falls_back_to_plain_http(host: str, falls_back: bool) -> None:
    assert falls_back_to_http(host) is falls_back


def test_a_digest_is_looked_for_within_a_limit_and_with_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """crane would ask again and again, for a minute or more."""
    name, login = "environment:x", "Basic " + b64encode(b"me:hush").decode()
    answers = {"HEAD /v2/team/environment/manifests/x": [Said(200, {"Docker-Content-Digest": "sha256:abc"})]}
    more: dict[str, Any] = {"folder": "team", "username": "me", "password": Secret("hush")}
    with RegistryServer(answers, wants=login) as server:
        assert registry(server.address, "on", **more).find_digest(name).digest == "sha256:abc"
    monkeypatch.setattr(user, "DIGEST_LIMIT", 0.2)
    with RegistryServer(delay=600) as server:
        start = time.monotonic()
        answer = registry(server.address, "on", **more).find_digest(name)
        assert time.monotonic() - start < 5
    assert (answer.status, answer.digest, answer.cause) == (0, "", "no answer within 0.2 s")
