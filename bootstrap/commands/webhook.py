"""`invoke webhook`: what to enter at the git host, a delivery for a try, and what became of each delivery."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from bootstrap.commands import follow_run
from bootstrap.commands.find_application import find_application, list_applications
from bootstrap.commands.listener import LISTENER_PORT
from bootstrap.core import constants
from bootstrap.core.errors import ApiError, NotFound, PreconditionError, RunFailed, TimedOut, UsageError
from bootstrap.core.model import Object, Pending, Ready, Secret, Verdict
from bootstrap.core.terminal_layout import shorten
from bootstrap.core.wait import until
from bootstrap.incluster.applications import Application
from bootstrap.objects import delivery_trace, run_spec
from bootstrap.objects.delivery_trace import Delivery, DeliveryOutcome, Evidence, Rules
from bootstrap.objects.run_status import SHA, RunState
from bootstrap.settings.config import Config
from bootstrap.world import World, webhook_sender
from bootstrap.world.kube.service_forward import Forward

NEWEST = 20
LONGEST_LINE = 100
"""Characters of a line whose text a program in the cluster made; `--json` has all of it."""
LINES = 20_000
"""Of each log; a delivery leaves about eight."""
SETTLED = timedelta(seconds=5)
"""A delivery that was not heard of for so long gets no further."""
TEST_LIMIT = 45.0
INTERCEPTORS = "app.kubernetes.io/name=core-interceptors"
LISTENERS = f"eventlistener={constants.EVENT_LISTENER}"
GIT_SERVERS = "app.kubernetes.io/name=git"
ACCEPTED = 202


def webhook(
    world: World,
    *,
    show_secret: bool = False,
    test: bool = False,
    why: str = "",
    branch: str = "",
    commit: str = "",
    follow: bool = False,
    as_json: bool = False,
) -> int:
    """One of: print the secret; send a delivery; tell what became of one; or show settings and the last deliveries.

    Raises UsageError for flags that do not go together.
    """
    if show_secret + test + bool(why) > 1:
        raise UsageError("--show-secret, --test and --why exclude each other", hint="invoke --help webhook")
    if (branch or commit or follow) and not test:
        raise UsageError("--branch, --commit and --follow belong to --test", hint="invoke webhook --test")
    if show_secret:
        world.report.line(read_secret(world).reveal())
        return 0
    if test:
        return send_push(world, branch or world.config.git.revision, commit, follow=follow)
    return explain_delivery(world, why, as_json=as_json) if why else show_deliveries(world, as_json=as_json)


def read_secret(world: World) -> Secret:
    """The secret that deliveries are signed with. Raises PreconditionError before the first `up`: none is made here."""
    if not (world.identity.folder / "webhook.password").exists():
        raise PreconditionError(f"environment {world.config.name} has no webhook secret yet", hint="invoke up")
    return world.identity.ensure_password("webhook", Secret(""))


# -- a try -------------------------------------------------------------------------------------------


def send_push(world: World, branch: str, commit: str, *, follow: bool) -> int:
    """Send a push event of a commit, the branch's newest by default, and follow it; answers the exit code.

    0: the commit has a run; 1: it has none. follow: go on until the run is over; 1 if it failed. Raises UsageError,
    PreconditionError, TimedOut and RunFailed.
    """
    key, known = read_secret(world), _read_rules(world)
    commit = _resolve_commit(world, branch, commit)
    event = make_push(*_find_watched(world.config), branch, commit)
    body = json.dumps(event).encode()
    id_ = str(uuid.uuid4())
    with Forward(world.kube, constants.RUNS, constants.LISTENER, LISTENER_PORT, 0) as forward:
        status, answer = webhook_sender.post_webhook(
            f"http://127.0.0.1:{forward.local_port}/", body, make_headers(id_, body, key)
        )
    if status != ACCEPTED:
        raise ApiError(f"the listener answers {status}", status=status, hint="invoke status")
    world.report.line(f"sent      push of {branch} at {commit[:7]} · delivery {id_} · event {_parse_event_id(answer)}")
    found, told = _follow_delivery(world, id_, known)
    if found.trigger:
        world.report.line(f"accepted  by trigger {found.trigger}")
    if not told.is_good:
        world.report.line(f"{told}: {told.why}" if told.why else str(told))
        return 1
    world.report.line(f"run {told.run} created" if told.stage == "run" else f"{told}: the commit has its run")
    return _follow_run(world, told.run) if follow else 0


def _find_watched(config: Config) -> tuple[str, str]:
    """(address, full name) of a repository that is watched; "" is the name that the address tells."""
    first = next(iter(config.webhook.repositories), "")
    return (first, "") if "://" in first else (run_spec.get_repository(config), first)


def make_push(address: str, full_name: str, branch: str, commit: str) -> dict[str, Any]:
    """GitHub's push event, with the fields that are read here and by Triggers. full_name: "" is that of the address."""
    path = urlsplit(address).path.strip("/").removesuffix(".git")
    owner, _, name = (full_name or path).rpartition("/")
    repository = {"name": name, "full_name": f"{owner or name}/{name}", "clone_url": address, "default_branch": branch}
    head = {"id": commit, "message": "Sent by invoke webhook --test", "timestamp": datetime.now(UTC).isoformat()}
    return {
        "ref": f"refs/heads/{branch}",
        "before": "0" * len(commit),
        "after": commit,
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": repository,
        "head_commit": head,
        "commits": [head],
    }


def make_headers(id_: str, body: bytes, key: Secret) -> dict[str, str]:
    """The headers of a delivery as GitHub sends it, signed with `key`. id_: the delivery's id."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": id_,
        "X-Hub-Signature-256": "sha256=" + hmac.new(key.reveal().encode(), body, hashlib.sha256).hexdigest(),
    }


def _resolve_commit(world: World, branch: str, commit: str) -> str:
    """The commit to send. Raises UsageError for a short id, PreconditionError if the branch has none."""
    if commit and not (SHA.fullmatch(commit) and len(commit) in (40, 64)):
        raise UsageError(f"--commit: {commit!r} is not a full commit id (40 or 64 digits)", hint="git rev-parse HEAD")
    found = commit or follow_run.resolve_commit(world, branch)
    if not found:
        repository = run_spec.get_repository(world.config)
        raise PreconditionError(
            f"branch {branch} of {repository} cannot be asked for its newest commit",
            hint="invoke webhook --test --branch BRANCH --commit ID",
        )
    return found


def _parse_event_id(answer: str) -> str:
    try:
        found = json.loads(answer)
    except ValueError:
        return ""
    return str(found.get("eventID") or "") if isinstance(found, dict) else ""


def _follow_delivery(world: World, id_: str, known: Rules) -> tuple[Delivery, DeliveryOutcome]:
    """The delivery when nothing more will become of it. Raises TimedOut."""
    last = Delivery(id_), DeliveryOutcome("")

    def probe() -> Verdict:
        nonlocal last
        evidence, runs = _read_evidence(world), _list_runs(world)
        found = delivery_trace.find_delivery(evidence, id_, runs)
        if found is None:
            return Pending("no word of it yet in the log of Tekton's interceptors")
        told = delivery_trace.judge_delivery(found, known, runs, settled=_is_settled(found))
        last = found, told
        return Ready() if told.stage else Pending(f"it passed {found.gate}")

    try:
        until(probe, clock=world.clock, limit=TEST_LIMIT, what=f"delivery {id_}", every=0.5)
    except TimedOut as error:
        raise TimedOut(error.message, evidence=error.evidence, hint="invoke status · invoke up") from None
    return last


def _follow_run(world: World, run: str) -> int:
    """Wait until the run is over. Raises RunFailed and TimedOut."""
    limit = world.config.pipeline.timeout_minutes * 60
    ended = follow_run.Follower(world, run).wait_until_over(limit)
    if ended.state is RunState.SUPERSEDED:
        raise follow_run.make_superseded(ended)
    if ended.state.is_bad:
        raise RunFailed(f"run {run}: {ended.why or ended.state.value}", hint=f"invoke logs --run {run}")
    world.report.line(f"succeeded in {follow_run.get_seconds(ended):.0f} s")
    return 0


# -- what became of it -------------------------------------------------------------------------------


def explain_delivery(world: World, wanted: str, *, as_json: bool = False) -> int:
    """Print what became of a delivery; answers 0. Raises NotFound if nothing is known of it, UsageError for no id."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", wanted):
        raise UsageError(f"--why: {wanted!r} is not the id of a delivery", hint="invoke webhook")
    known, evidence, runs = _read_rules(world), _read_evidence(world), _list_runs(world)
    found = delivery_trace.find_delivery(evidence, wanted, runs)
    sent = evidence.sent.get(wanted)
    if found is None and sent is not None and sent.error:
        found, told = Delivery(wanted), DeliveryOutcome("unsent", f"the git server says: {sent.error}")
    elif found is None:
        raise _make_not_found(wanted, evidence)
    else:
        told = delivery_trace.judge_delivery(found, known, runs, settled=_is_settled(found))
    if as_json:
        world.report.json(make_row(found, told))
    else:
        world.report.line(f"delivery {found.id} {told}" + (f": {told.why}" if told.why else ""))
        if told.run:
            world.report.line(f"next: invoke logs --run {told.run}")
    return 0


def _make_not_found(wanted: str, evidence: Evidence) -> NotFound:
    """Dropped deliveries are known by the git host's id only, and for as long as the log is kept."""
    since = f" (the log goes back to {evidence.since:%Y-%m-%d %H:%M:%S} UTC)" if evidence.since else ""
    return NotFound(
        f"nothing is known of delivery {wanted}{since}",
        evidence="it never reached the listener, or is older than that log; or its body was no JSON, which the git\n"
        "host shows as answer 400; or it was dropped and this is the listener's id: ask with X-GitHub-Delivery",
        hint="invoke webhook · invoke tunnel user@host",
    )


def show_deliveries(world: World, *, as_json: bool = False) -> int:
    """Print what to enter at the git host, and the newest deliveries."""
    known, told, strangers = list_newest(world)
    port = world.config.listener.port
    enter = {
        "address": f"http://HOST:{port or 'PORT'}/",
        "content_type": "application/json",
        "events": sorted(known.events),
    }
    if as_json:
        world.report.json({"enter": enter, "deliveries": [make_row(*each) for each in told]})
        return 0
    for line in _list_instructions(enter["address"], known):
        world.report.line(line)
    if told:
        world.report.line("")
        world.report.table(
            ["at (UTC)", "delivery", "what became of it"],
            [[f"{each.when:%H:%M:%S}" if each.when else "", each.id, str(end)] for each, end in told],
        )
        world.report.line("the cause of a drop: invoke webhook --why DELIVERY")
    else:
        world.report.line("no delivery yet.  next: invoke webhook --test")
    if strangers:
        world.report.line(shorten(f"and {len(strangers)} without an id, the last: {strangers[-1]}", LONGEST_LINE))
    return 0


def list_newest(
    world: World, most: int = NEWEST
) -> tuple[Rules, list[tuple[Delivery, DeliveryOutcome]], tuple[str, ...]]:
    """What the listener accepts, the newest deliveries with what became of each, and error lines about no delivery.

    Raises PreconditionError where there is no listener.
    """
    known, evidence, runs = _read_rules(world), _read_evidence(world), _list_runs(world)
    found = sorted(evidence.deliveries.values(), key=lambda each: each.when or datetime.min.replace(tzinfo=UTC))
    told = [
        (each, delivery_trace.judge_delivery(each, known, runs, settled=_is_settled(each)))
        for each in found[::-1][:most]
    ]
    return known, told, evidence.strangers


def _list_instructions(address: Any, known: Rules) -> Iterator[str]:
    yield "at the git host enter"
    yield f"  address       {address}   (HOST: where `invoke tunnel user@HOST` leads)"
    yield "  content type  application/json"
    yield "  secret        the output of: invoke webhook --show-secret"
    yield f"  events        {', '.join(sorted(each.replace('_', ' ') for each in known.events))}"


def make_row(found: Delivery, told: DeliveryOutcome) -> dict[str, Any]:
    """A delivery and its outcome as JSON."""
    row = asdict(found)
    del row["given"]
    for key in ("when", "seen"):
        row[key] = row[key].isoformat() if row[key] else ""
    return row | {"stage": told.stage or "under way", "why": told.why, "run": told.run, "told": str(told)}


# -- evidence ----------------------------------------------------------------------------------------


def _read_rules(world: World) -> Rules:
    """The rules of the listener in the cluster. Raises PreconditionError if there is none."""
    found = world.kube.get("triggers.tekton.dev/v1beta1", "EventListener", constants.EVENT_LISTENER, constants.RUNS)
    if found is None:
        raise PreconditionError(
            f"environment {world.config.name} has no webhook listener (EventListener {constants.EVENT_LISTENER})",
            hint="invoke up · invoke status",
        )
    settings = world.config.webhook
    repositories = settings.repositories or (run_spec.get_repository(world.config),)
    watched = f"{', '.join(settings.branches)} of {', '.join(repositories)}"
    applications = _list_applications(world)
    return replace(delivery_trace.read_rules(found), watched=watched, applications=applications)


def _list_applications(world: World) -> list[Application]:
    """Those that can be read; none where the cluster knows no such kind."""
    found = []
    with contextlib.suppress(ApiError):
        for each in list_applications(world):
            with contextlib.suppress(UsageError):
                found.append(find_application(world, each["metadata"]["name"], [each]))
    return found


def _read_evidence(world: World) -> Evidence:
    return delivery_trace.read_evidence(
        _read_log(world, constants.TEKTON, INTERCEPTORS),
        _read_log(world, constants.RUNS, LISTENERS),
        _read_log(world, constants.GIT, GIT_SERVERS),
    )


def _read_log(world: World, namespace: str, labels: str) -> list[str]:
    """Of all such pods. A pod without a log (one that starts) has nothing to tell."""
    lines: list[str] = []
    for pod in world.kube.list("v1", "Pod", namespace, labels=labels):
        try:
            lines += world.kube.read_log(namespace, pod["metadata"]["name"], tail_lines=LINES).splitlines()
        except ApiError:
            continue
    return lines


def _list_runs(world: World) -> list[Object]:
    return world.kube.list(follow_run.API, "PipelineRun", constants.RUNS)


def _is_settled(found: Delivery) -> bool:
    return found.seen is None or datetime.now(UTC) - found.seen > SETTLED
