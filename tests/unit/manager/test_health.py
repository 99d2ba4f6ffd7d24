"""What the manager answers on its port."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from bootstrap.manager.health import make_application, serve_health
from bootstrap.manager.metrics import make_registry


def ask(leadership: Any, *paths: str) -> list[tuple[int, str]]:
    """(status, text) of each path, one after the other."""

    def get(address: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(address) as answer:  # noqa: S310  our own server
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    async def run() -> list[tuple[int, str]]:
        registry: CollectorRegistry = make_registry(lambda: leadership.leads, lambda: None)
        async with serve_health(make_application(leadership, registry), 0) as port:
            return [await asyncio.to_thread(get, f"http://127.0.0.1:{port}{path}") for path in paths]

    return asyncio.run(run())


def test_one_that_waits_is_alive_and_not_ready() -> None:
    [alive, ready, metrics] = ask(SimpleNamespace(leads=False, waits_for="pod-1"), "/healthz", "/readyz", "/metrics")
    assert alive == (200, "ok\n")
    assert ready == (503, "waits for the Lease: pod-1 holds it\n")
    assert metrics[0] == 200
    assert "\ntekton_bootstrap_manager_leads 0.0\n" in metrics[1]
    assert "tekton_bootstrap_manager_runs" not in metrics[1], "it knows nothing of them"


def test_one_that_leads_is_ready() -> None:
    found = ask(SimpleNamespace(leads=True, waits_for=""), "/readyz", "/metrics", "/other")
    assert found[0] == (200, "leads\n")
    assert "\ntekton_bootstrap_manager_leads 1.0\n" in found[1][1]
    assert "process_resident_memory_bytes" in found[1][1]
    assert found[2][0] == 404
