"""`python3 -m bootstrap.manager`: runs until it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping

import kopf

from bootstrap.incluster.kube_api import Api
from bootstrap.incluster.lease_holder import ApiLeases, LeaseHolder
from bootstrap.manager import operator  # noqa: F401  its handlers register themselves
from bootstrap.manager.health import make_application, serve_health
from bootstrap.manager.leadership import LEASE_SECONDS, NAME, REQUEST_SECONDS, Leadership
from bootstrap.manager.metrics import make_registry

PORT = 8080


def main() -> None:
    """Watch the namespace of the variable NAMESPACE, once the Lease there is held in the name of POD.

    Health and metrics are answered on port 8080, also while it waits.
    """
    kopf.configure(log_format=kopf.LogFormat.FULL)
    asyncio.run(lead(os.environ))


async def lead(environ: Mapping[str, str], port: int = PORT) -> None:
    """Acquire the Lease, run the operator until a signal, and give the Lease back. Raises what ends the operator."""
    namespace = environ["NAMESPACE"]
    api = Api.from_environ(environ, seconds=REQUEST_SECONDS)
    leases = ApiLeases(api, namespace, NAME)
    leadership = Leadership(LeaseHolder(leases, namespace, NAME, environ["POD"], LEASE_SECONDS))
    stop = asyncio.Event()
    memo = kopf.Memo(stop=stop)
    registry = make_registry(lambda: leadership.leads, lambda: memo.get("state"))
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):  # kopf puts its own in their place when it starts
        loop.add_signal_handler(each, stop.set)
    async with serve_health(make_application(leadership, registry), port):
        if not await leadership.acquire(stop):
            return
        try:
            await kopf.operator(standalone=True, namespaces=[namespace], memo=memo, stop_flag=stop)
        finally:
            # Requests go on in threads after what waited for them was cancelled.
            await loop.shutdown_default_executor()
            leadership.release()


if __name__ == "__main__":
    main()
