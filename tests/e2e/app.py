"""The demo application as this machine reaches it."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

from bootstrap.core import constants
from bootstrap.core.model import Ready, Verdict
from bootstrap.core.wait import until
from bootstrap.objects.readiness import judge
from bootstrap.world import World
from tests.e2e.product import Product

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def status(product: Product, *, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(product.run("status", "--json", code=code).last)
    return document


def ask(url: str, body: bytes | None = None) -> str:
    """Asked again for a while: a NodePort may point at a pod that ends just now."""
    for attempt in range(10):
        try:
            with DIRECT.open(url, data=body, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            if attempt == 9:
                raise
            time.sleep(0.5)
    raise AssertionError


def address(product: Product) -> str:
    """Asked for once: it stays as long as the cluster does."""
    if not product.address:
        product.address = str(status(product)["endpoints"]["app"])
    return product.address


def version(product: Product) -> str:
    """The commit that serves."""
    return str(json.loads(ask(f"{address(product)}/version"))["commit"])


def await_rollout(world: World) -> None:
    """Until the application's new pods have taken over, for whoever looks next."""

    def probe() -> Verdict:
        return judge(world.kube.get("apps/v1", "Deployment", "go-echo", constants.DEMO))

    assert isinstance(until(probe, clock=world.clock, limit=60, what="go-echo"), Ready)


def run_of(product: Product, commit: str, *states: str) -> dict[str, Any]:
    """The newest run of a commit, of one in these states if any are named, as `runs --json` tells it."""
    rows = json.loads(product.run("runs", "--json").last)
    return next(row for row in rows if row["commit"] == commit and (not states or row["state"] in states))
