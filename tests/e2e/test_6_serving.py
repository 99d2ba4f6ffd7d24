"""Commands that stay: forwards outlive pods, and end cleanly."""

from __future__ import annotations

import json
import re
import signal

import pytest

from bootstrap.core import constants
from bootstrap.core.model import Ready
from bootstrap.world import World
from bootstrap.world.kube.service_forward import Forward
from tests.e2e import app
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e


def test_a_forward_keeps_its_port_when_every_pod_dies(world: World) -> None:
    with Forward(world.kube, constants.DEMO, "go-echo", 80, 0, wait=60) as forward:
        port = forward.local_port
        assert isinstance(forward.check("/ping"), Ready)
        for pod in world.kube.list("v1", "Pod", constants.DEMO):
            world.kube.delete("v1", "Pod", pod["metadata"]["name"], constants.DEMO)
        assert forward.local_port == port
        assert isinstance(forward.check("/ping", seconds=60), Ready)

    app.await_rollout(world)


def test_the_dashboard_answers_and_ends_on_ctrl_c(product: Product, world: World) -> None:
    with product.running("dashboard", "--set", "dashboard.port=0") as command:
        command.until_said("http://127.0.0.1:")
        found = re.search(r"http://127\.0\.0\.1:\d+\S*", command.text)
        assert found
        assert "console-" in app.ask(found[0]) or "url=/" in app.ask(found[0])
        command.signal(signal.SIGINT)
        answer = command.end(20)
    assert answer.code in (0, 130)
    assert "Traceback" not in answer.text


def test_status_for_people_shows_where_things_are(product: Product, world: World) -> None:
    endpoints = app.status(product)["endpoints"]
    text = product.run("status").out
    assert all(address in text for address in endpoints.values())
    assert json.dumps(endpoints).count("127.0.0.1") == 3
