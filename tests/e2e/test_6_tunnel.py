"""`invoke tunnel` to a real sshd: deliveries that come in by its port reach the listener, and it ends cleanly."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from bootstrap.core.errors import ApiError
from bootstrap.world import World, webhook_sender
from tests import sshd
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_delivery_comes_in_by_the_far_host(product: Product, world: World, tmp_path: Path) -> None:
    far = free_port()
    with sshd.serving(tmp_path / "sshd") as server:
        words = (server.login, "--port", str(far), "--config", server.config)
        with product.running("tunnel", *words) as command:
            command.until_said("HTTP 200, asked from there by")
            command.until_said("GatewayPorts")
            status, answer = webhook_sender.post_webhook(
                f"http://127.0.0.1:{far}/", b"{}", {"Content-Type": "application/json"}
            )
            assert (status, "eventID" in answer) == (202, True)
            server.drop()
            command.until_said("again in 1 s")
            command.signal(signal.SIGINT)
            ended = command.end(20)
        assert ended.code == 0, ended
        assert "Traceback" not in ended.text
        with pytest.raises(ApiError):
            webhook_sender.post_webhook(f"http://127.0.0.1:{far}/", b"{}", {})
        taken = product.run("tunnel", "--to=-oProxyCommand=id", code=2)
        assert "is not a login like user@host" in taken.err
