"""`invoke status`: what is ready, what is not and why, and where everything is."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.commands import clone, runs
from bootstrap.commands.central_repository import read_state, read_state_data
from bootstrap.commands.expiry import WARN_DAYS, find_nearest_expiry
from bootstrap.core import constants
from bootstrap.core.errors import BootstrapError, PreconditionError
from bootstrap.core.model import Failed, Pending, Ready, Unknown, Verdict
from bootstrap.objects.readiness import at
from bootstrap.settings.registry_endpoint import choose_endpoint
from bootstrap.steps import graph
from bootstrap.steps.reconcile import Outcome, check_steps
from bootstrap.world import World

SHORT_BYTES, SHORT_PART = 5 * 10**9, 0.05
"""Less free than either of these, bytes or part of the disk, is told as a warning."""


def status(world: World, *, as_json: bool = False) -> int:
    """Check every step; 0 only if all are Ready."""
    world = world.for_looking()
    outcomes = check_steps(graph.list_steps(world), world, world.clock)
    ready = all(isinstance(outcome.verdict, Ready) for outcome in outcomes)
    if as_json:
        world.report.json(make_document(world, outcomes))
        return 0 if ready else 1
    rows = [[name_verdict(o.verdict), o.name, o.verdict.why, f"{o.seconds:.1f} s"] for o in outcomes]
    world.report.table(["", "step", "", ""], rows)
    unsent = explain_unsent(world, outcomes)
    if unsent:
        world.report.warn(f"notification: {unsent}")
    disk = read_disk(world)
    if disk and disk.is_short:
        world.report.warn(f"disk: {disk}; a cluster whose disk is full takes no change any more: docs/cleanup.md")
    expiry = find_nearest_expiry(world)
    days = expiry.count_days(datetime.datetime.now(datetime.UTC)) if expiry else WARN_DAYS
    if expiry and days < WARN_DAYS:
        world.report.warn(f"expiry: {expiry.what} ends in {max(days, 0)} days ({expiry.at:%Y-%m-%d}): {expiry.hint}")
    told = {"supply": f"{world.config.supply} ({world.supply_why})", **list_endpoints(world)}
    source = read_state(world)
    if source and not source.is_well:
        world.report.warn(f"applications: {source.mark}: {source.describe()}")
    told |= {"apps": f"{source.mark}: {source.describe()}"} if source and source.is_well else {}
    told |= {"disk": str(disk)} if disk else {}
    told |= {"expires": str(expiry)} if expiry else {}
    for name, text in told.items():
        world.report.line(f"  {name:<10} {text}")
    return 0 if ready else 1


def make_document(world: World, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The document of `status --json`. An unsent notification is told in the why of the pipeline."""
    unsent, disk, expiry = explain_unsent(world, outcomes), read_disk(world), find_nearest_expiry(world)
    told = {"pipeline": f"; notification {unsent}"} if unsent else {}
    return {
        "name": world.config.name,
        "context": world.context,
        "kubeconfig": str(_find_kubeconfig(world)),
        "supply": world.config.supply,
        "appsRepository": read_state_data(world),
        "endpoints": list_endpoints(world),
        "disk": {"freeBytes": disk.free, "totalBytes": disk.total} if disk else None,
        "expires": {"what": expiry.what, "at": expiry.at.isoformat()} if expiry else None,
        "steps": [
            {
                "name": o.name,
                "verdict": name_verdict(o.verdict),
                "why": o.verdict.why + told.get(o.name, ""),
                "seconds": round(o.seconds, 2),
            }
            for o in outcomes
        ],
    }


@dataclass(frozen=True)
class Disk:
    """The disk of a node, in bytes."""

    free: int
    total: int

    @property
    def is_short(self) -> bool:
        """Whether so little is free that somebody should make room."""
        return self.free < max(SHORT_BYTES, self.total * SHORT_PART)

    def __str__(self) -> str:
        return f"{self.free / 1e9:.0f} of {self.total / 1e9:.0f} GB free"


def read_disk(world: World) -> Disk | None:
    """The disk of the node with the least room; None if no node tells, as before there is a cluster."""
    found: list[Disk] = []
    try:
        for node in world.kube.list("v1", "Node"):
            fs = at(world.kube.read_node_summary(node["metadata"]["name"]), "node", "fs") or {}
            if "availableBytes" in fs and "capacityBytes" in fs:
                found.append(Disk(int(fs["availableBytes"]), int(fs["capacityBytes"])))
    except BootstrapError:
        return None
    return min(found, key=lambda disk: disk.free, default=None)


def explain_unsent(world: World, outcomes: Sequence[Outcome]) -> str:
    """Why the notification of the newest finished run was not sent, "" if it was. It makes nothing less ready."""
    if not any(o.name == "pipeline" and isinstance(o.verdict, Ready) for o in outcomes):
        return ""
    try:
        over = next((run for run in runs.list_runs(world) if run.state.is_over), None)
    except BootstrapError:
        return ""
    told = over.unsent if over else ""
    return f"{told} (run {over.name})" if over and told else ""


def _find_kubeconfig(world: World) -> str:
    try:
        return str(world.kubeconfig)
    except PreconditionError:
        return ""


def list_endpoints(world: World) -> dict[str, str]:
    """Name -> address on this machine, for what runs."""
    try:
        found = {
            "git": clone.find_node_address(world, constants.GIT_NODE_PORT),
            "app": clone.find_node_address(world, constants.APP_NODE_PORT),
            "registry": _find_registry(world),
        }
    except BootstrapError:
        return {}
    shown = {
        "git": world.config.git.url or f"http://{found['git']}/{constants.DEMO_APP}.git",
        "app": f"http://{found['app']}",
        "registry": found["registry"],
    }
    return {name: text for name, text in shown.items() if found[name]}


def _find_registry(world: World) -> str:
    if world.config.elsewhere:
        return choose_endpoint(world.config).root
    port = world.engine.find_port(constants.registry_container(world.config.name), 5000)
    return f"127.0.0.1:{port} ({constants.REGISTRY} in the cluster)" if port else ""


def name_verdict(verdict: Verdict) -> str:
    """ready, pending, failed or unknown."""
    words = {Ready: "ready", Pending: "pending", Failed: "failed", Unknown: "unknown"}
    return words[type(verdict)]
