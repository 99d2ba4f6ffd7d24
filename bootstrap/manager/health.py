"""What the manager answers on its port: whether it is alive, whether it leads, and its metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.aiohttp import make_aiohttp_handler

from bootstrap.manager.leadership import Leadership


def make_application(leadership: Leadership, registry: CollectorRegistry) -> web.Application:
    """/healthz: 200 as long as the event loop turns. /readyz: 200 for the manager that leads, else 503 with why.

    /metrics: those of the registry.
    """

    async def answer_healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def answer_readyz(_: web.Request) -> web.Response:
        if leadership.leads:
            return web.Response(text="leads\n")
        return web.Response(status=503, text=f"waits for the Lease: {leadership.waits_for or 'nobody'} holds it\n")

    made = web.Application()
    made.add_routes(
        [
            web.get("/healthz", answer_healthz),
            web.get("/readyz", answer_readyz),
            web.get("/metrics", make_aiohttp_handler(registry)),
        ]
    )
    return made


@asynccontextmanager
async def serve_health(application: web.Application, port: int) -> AsyncIterator[int]:
    """Answer on that port of all addresses, 0 for a free one, until the block is left; the port."""
    runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104  the kubelet asks from outside of the pod
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
