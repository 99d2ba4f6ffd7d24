"""What becomes of a delivery of the webhook, read from the notes that it leaves in logs on its way. Pure.

Triggers answers 202 to every delivery, and its listener logs nothing of one that a gate drops (but at the level debug,
which logs GitLab's secret with the headers). What can be read are the answers of the interceptors, each a line in their
own log, without any id. So every interceptor that lets a delivery pass is made to answer with a note,
DELIVERY/TRIGGER/INTERCEPTOR (`leave_notes`); the one after the last note dropped it. The listener's log tells the rest:
the listener's own id of a delivery that passed all, and why its run was not made.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from bootstrap.core.model import Object
from bootstrap.incluster.applications import Application
from bootstrap.incluster.repository_address import find_ssh_host, is_ssh
from bootstrap.incluster.run_names import normalize_url
from bootstrap.objects.readiness import at

DELIVERY = "tekton-bootstrap.dev/delivery"
"""Annotation of a run: the id that the git host gave to the delivery that made it."""
EVENT = "triggers.tekton.dev/triggers-eventid"
"""Label of a run: the listener's own id of that delivery. Triggers sets it."""
HEARD, NOTED, SIGNED, ARRIVED, BUILDABLE, WATCHED = "heard", "noted", "signed", "arrived", "buildable", "watched"
"""Interceptors: the first two are ours and let everything pass."""

# -- leaving notes -----------------------------------------------------------------------------------

_GIVEN_ID = "(header.canonical('X-GitHub-Delivery') + header.canonical('X-Gitlab-Event-UUID'))"
PUSHES, BRANCHES = ("push", "Push_Hook"), "refs/heads/"
"""Events as `heard` has them, and what a branch's ref begins with."""
UNNAMED = "no-id-"
"""What the ids begin with that we give: an older GitLab gives none to its deliveries."""


def _build_text_expression(*path: str) -> str:
    """The text at body.PATH, '' where there is none."""
    conditions, here = [], "body"
    for depth, key in enumerate(path, start=1):
        here = f"{here}.{key}"
        conditions.append(f"has({here})")
        conditions.append(f"type({here}) == {'string' if depth == len(path) else 'map'}")
    return f"({' && '.join(conditions)} ? {here} : '')"


_EVENT = "(header.canonical('X-GitHub-Event') + header.canonical('X-Gitlab-Event'))"
_ID = (
    f"({_GIVEN_ID} != '' ? {_GIVEN_ID} : '{UNNAMED}' + {_EVENT}.lowerAscii() + '-' + {_build_text_expression('after')}"
    ".truncate(12)).translate('[^A-Za-z0-9-]+', '').truncate(64)"
)
"""The id of a delivery, or one made of what it says: two of one commit and one kind have the same."""
_SIGNATURE = " + ".join(
    f"header.canonical('{each}')"
    for each in ("X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gitlab-Token")
)


def leave_notes(listener: Object) -> None:
    """Edit an EventListener so that deliveries leave notes, and each run is given the parameter `delivery`.

    Of its triggers those count that have interceptors called `signed` and `watched`: they lead to runs. What follows
    `signed` may be trusted.
    """
    leading = [each for each in listener["spec"]["triggers"] if {SIGNED, WATCHED} <= {*list_gates(each)}]
    for trigger in leading:
        interceptors = trigger["interceptors"]
        place = list_gates(trigger).index(SIGNED) + 1
        for each in interceptors[place:]:
            if at(each, "ref", "name") == "cel":
                _add_overlay(each, "note", f"extensions.delivery + '/{trigger['name']}/{each['name']}'")
        note = f"{_ID} + '/{trigger['name']}/{SIGNED}'"
        interceptors.insert(place, _make_interceptor(NOTED, delivery=_ID, note=note))
        trigger.setdefault("bindings", []).append({"name": "delivery", "value": "$(extensions.delivery)"})
    for group in listener["spec"].get("triggerGroups") or ():
        place = list_gates(group).index(SIGNED) + 1
        group["interceptors"].insert(place, _make_interceptor(NOTED, delivery=_ID))
    # Of every delivery, before anything is known of it: nothing but letters and signs that cannot forge a log.
    leading[0]["interceptors"].insert(0, _make_interceptor(HEARD, heard=_build_facts_expression()))


def name_runs(template: Object) -> None:
    """Edit a TriggerTemplate so that its runs carry the delivery's id."""
    spec = template["spec"]
    made = [each for each in spec["resourcetemplates"] if each["kind"] == "PipelineRun"]
    for each in made:
        each["metadata"].setdefault("annotations", {})[DELIVERY] = "$(tt.params.delivery)"
    if made:
        declared = {"name": "delivery", "description": "The git host's id of the delivery.", "default": ""}
        spec.setdefault("params", []).append(declared)


def list_gates(trigger: Mapping[str, Any]) -> list[str]:
    """The interceptors of a trigger, in order."""
    return [str(each.get("name") or "") for each in trigger.get("interceptors") or ()]


def _make_interceptor(name: str, **overlays: str) -> Object:
    listed = [{"key": key, "expression": expression} for key, expression in overlays.items()]
    params = [{"name": "overlays", "value": listed}]
    return {"name": name, "ref": {"kind": "ClusterInterceptor", "name": "cel"}, "params": params}


def _add_overlay(interceptor: Object, key: str, expression: str) -> None:
    params = interceptor.setdefault("params", [])
    found = next((each for each in params if each["name"] == "overlays"), None)
    if found is None:
        params.append(found := {"name": "overlays", "value": []})
    found["value"].append({"key": key, "expression": expression})


def _build_facts_expression() -> str:
    """ID|EVENT|signed or unsigned|COMMIT|REF|ADDRESS. Must never fail: every request passes here, signed or not."""
    address = (
        f"{_build_text_expression('repository', 'clone_url')} + {_build_text_expression('project', 'git_http_url')}"
    )
    address = f"({address}).translate('//[^/@]*@', '//')"  # without credentials
    parts = (
        _EVENT,
        f"{_SIGNATURE} == '' ? 'unsigned' : 'signed'",
        _build_text_expression("after"),
        _build_text_expression("ref"),
        address,
    )
    safe = (f"({each}).translate('[^A-Za-z0-9._/:@+-]+', '_').truncate(200)" for each in parts)
    return " + '|' + ".join([_ID, *safe])


# -- reading them ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    """What the logs hold of one delivery; of the last try, if the git host sent it several times.

    id: the git host's, or one of ours. given: the id as notes and runs have it; it is another where we number several
    deliveries of one id of ours. when: it was heard. event, ref, commit, repository: as it says, whoever sent it; "" if
    it does not. signed: it carries a signature, right or wrong. trigger: "" until one let it in. gate: the last
    interceptor that let it pass. seen: the last note or word of it. event_id: the listener's id, known only of what
    passed all gates. refusal: why its run was not made, "" if nothing was said.
    """

    id: str
    when: datetime | None = None
    event: str = ""
    signed: bool = False
    commit: str = ""
    ref: str = ""
    repository: str = ""
    trigger: str = ""
    gate: str = HEARD
    seen: datetime | None = None
    event_id: str = ""
    refusal: str = ""
    given: str = ""

    @property
    def run_ids(self) -> set[str]:
        """The ids by which a run may name it. Of several with one id of ours only those that were let in count."""
        given = self.given or self.id
        counts = self.trigger or not given.startswith(UNNAMED)
        return {each for each in (given if counts else "", self.event_id) if each}


@dataclass(frozen=True)
class Sent:
    """What the environment's git server logged of a delivery. error: why it did not arrive, "" if it did."""

    id: str
    event_id: str = ""
    error: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the logs say of all deliveries.

    deliveries: by the git host's id. since: the time of the oldest line that is left.

    strangers: error lines of the listener that belong to no delivery (bodies that are no JSON, say).
    """

    deliveries: Mapping[str, Delivery] = field(default_factory=dict)
    sent: Mapping[str, Sent] = field(default_factory=dict)
    since: datetime | None = None
    strangers: tuple[str, ...] = ()


_HEARD = re.compile(
    r"[\[ ]heard:(?P<id>[A-Za-z0-9-]{1,64})"
    r"\|(?P<event>[^|\] ]*)\|(?P<signed>signed|unsigned)"
    r"\|(?P<commit>[^|\] ]*)\|(?P<ref>[^|\] ]*)\|(?P<repository>[^|\] ]*)"
)
_NOTE = re.compile(r"[\[ ]note:([A-Za-z0-9-]{1,64})/([a-z0-9-]+)/([a-z0-9-]+)[\] ]")
_PARAM = re.compile(r"\{Name:delivery Value:([A-Za-z0-9-]{1,64})\}")
_EXISTS = re.compile(r'"([a-z0-9.-]+)" already exists')


def read_evidence(interceptors: Iterable[str], listener: Iterable[str], server: Iterable[str] = ()) -> Evidence:
    """Evidence from the lines of three logs: Tekton's interceptors, the listener, the environment's git server."""
    found: dict[str, Delivery] = {}
    times = []
    for line in _parse_lines(interceptors):
        message, when = _get_message(line), _parse_time(line)
        times += [when] if when else []
        if not message.startswith("Interceptor response is: "):
            continue
        if heard := _HEARD.search(message):
            facts: dict[str, Any] = heard.groupdict() | {"signed": heard["signed"] == "signed"}
            facts["id"] = _number(heard["id"], found)
            found[facts["id"]] = Delivery(**facts, when=when, seen=when, given=heard["id"])
        elif note := _NOTE.search(message):
            id_, trigger, gate = note.groups()
            id_ = _find_newest(id_, found)
            found[id_] = replace(found.get(id_) or Delivery(id_, when), trigger=trigger, gate=gate, seen=when)
    strangers = _read_listener(_parse_lines(listener), found)
    sent = {each.id: each for each in map(_parse_sent, _parse_lines(server)) if each.event_id or each.error}
    return Evidence(found, sent, min(times, default=None), tuple(strangers))


def _number(given: str, found: Mapping[str, Delivery]) -> str:
    """The id for a delivery that was just heard: one of ours is numbered when there is one of that id already."""
    if given not in found or not given.startswith(UNNAMED):
        return given
    return f"{given}-{sum(each.given == given for each in found.values()) + 1}"


def _find_newest(given: str, found: Mapping[str, Delivery], *, let_in: bool = False) -> str:
    """The id of the newest delivery that has this one in its notes. let_in: of those that a trigger let in."""
    fitting = [each for each in found.values() if each.given == given and (each.trigger or not let_in)]
    return fitting[-1].id if fitting else given


def _read_listener(lines: Iterable[Mapping[str, Any]], found: dict[str, Delivery]) -> list[str]:
    """Add to `found` what the listener logs of deliveries that passed all gates; answers its other errors."""
    ids: dict[str, str] = {}
    strangers = []
    for line in lines:
        message, event, when = _get_message(line), str(line.get("/triggers-eventid") or ""), _parse_time(line)
        if event and (param := _PARAM.search(message)):
            known = _find_newest(param[1], found, let_in=True)
            before = found.get(known) or Delivery(param[1], when, trigger=str(line.get("/trigger") or ""))
            if before.when and when and when < before.when:  # of an earlier try
                continue
            ids[event] = before.id
            found[before.id] = replace(before, event_id=event, refusal="", seen=when)
        elif "error" in (line.get("severity"), line.get("level")) and not message.startswith("problem creating obj"):
            if event in ids:
                found[ids[event]] = replace(found[ids[event]], refusal=message, seen=when)
            elif not event:
                strangers.append(message)
    return strangers


def _parse_sent(line: Mapping[str, Any]) -> Sent:
    return Sent(str(line.get("id") or ""), str(line.get("eventID") or ""), str(line.get("error") or ""))


def _parse_lines(lines: Iterable[str]) -> list[Mapping[str, Any]]:
    """The lines that are JSON objects (a log has others), in the order of their times: there may be several pods."""
    found = []
    for line in lines:
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return sorted(found, key=lambda each: _parse_time(each) or datetime.min.replace(tzinfo=UTC))


def _get_message(line: Mapping[str, Any]) -> str:
    """The message of a log line: `message` by Tekton's logging configuration, `msg` without one."""
    return str(line.get("message") or line.get("msg") or "")


def _parse_time(line: Mapping[str, Any]) -> datetime | None:
    """The time of a log line, which is text or seconds since 1970: the interceptors' log keeps zap's own form whatever
    Tekton's configuration says.
    """
    stamp = line.get("timestamp") or line.get("ts") or ""
    try:
        when = datetime.fromtimestamp(stamp, UTC) if isinstance(stamp, float) else datetime.fromisoformat(str(stamp))
    except (ValueError, OverflowError, OSError):
        return None
    return when if when.tzinfo else None


# -- outcomes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeliveryOutcome:
    """What became of a delivery.

    stage: "run" (it made that run), "exists" (its commit has that run already), "deleted" (it made a run that does not
    exist any more), "refused" (no run could be made), the name of the gate that dropped it, "event" (no trigger is for
    events of its type), "unsent" (it never reached us) or "" (under way, if it came just now). why: a sentence, "" if
    there is nothing to add. run: "" if there is none.
    """

    stage: str
    why: str = ""
    run: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the commit has its run."""
        return self.stage in ("run", "exists")

    def __str__(self) -> str:
        told = {"run": f"became run {self.run}", "exists": f"run {self.run} exists already", "": "under way"}
        said = {
            "deleted": "became a run, deleted since",
            "refused": "no run could be made",
            "unsent": "never reached the listener",
        }
        return told.get(self.stage) or said.get(self.stage) or f"dropped at {self.stage}"


@dataclass(frozen=True)
class Rules:
    """The listener's rules. gates: trigger -> interceptors in order. events: the types that some trigger accepts.

    watched: the branches and repositories of the settings in words, "" if they are not known. applications: those that
    have Triggers of their own.
    """

    gates: Mapping[str, Sequence[str]]
    events: frozenset[str]
    watched: str = ""
    applications: Sequence[Application] = ()


def read_rules(listener: Object) -> Rules:
    """The rules of an EventListener as it is in the cluster."""
    triggers = at(listener, "spec", "triggers") or []
    types = [
        str(value)
        for trigger in triggers
        for each in trigger.get("interceptors") or ()
        for param in each.get("params") or ()
        if param.get("name") == "eventTypes"
        for value in param.get("value") or ()
    ]
    gates = {str(each.get("name") or ""): list_gates(each) for each in triggers}
    return Rules(gates, frozenset(each.replace(" ", "_") for each in types))


def judge_delivery(delivery: Delivery, known: Rules, runs: Iterable[Object], *, settled: bool) -> DeliveryOutcome:
    """What became of a delivery. runs: all PipelineRuns. settled: its last note is so old that no other will follow."""
    made = next((each for each in runs if _read_ids(each) & delivery.run_ids), None)
    if made is not None:
        return DeliveryOutcome("run", run=str(made["metadata"]["name"]))
    if exists := _EXISTS.search(delivery.refusal):
        return DeliveryOutcome(
            "exists", "the commit has its run; for another one: invoke rerun --run " + exists[1], exists[1]
        )
    if delivery.refusal:
        return DeliveryOutcome("refused", delivery.refusal)
    if not settled:
        return DeliveryOutcome("")
    if delivery.event_id:
        return DeliveryOutcome("deleted", "it became a run, which does not exist any more: old runs are deleted")
    return DeliveryOutcome(*_explain_drop(delivery, known))


def _explain_drop(delivery: Delivery, known: Rules) -> tuple[str, str]:
    """(gate that dropped the delivery, reason)."""
    if not delivery.trigger:
        if known.events and delivery.event not in known.events:
            return "event", f"events of type {delivery.event or 'none'} start nothing"
        if not delivery.signed:
            return SIGNED, "it carries no signature; enter the secret at the git host"
        return SIGNED, "its signature was made with another secret, or its body was changed on the way"
    gates = [*known.gates.get(delivery.trigger, ())]
    rest = gates[gates.index(delivery.gate) + 1 :] if delivery.gate in gates else []
    gate = next((each for each in rest if each != NOTED), "")
    if gate == ARRIVED:
        return gate, "it brought no commit to a branch: a deletion, or a pull request that was not merged"
    if gate == BUILDABLE:
        return gate, "its commit id, address or branch is none"
    if gate == WATCHED:
        if passed_over := _explain_paths(delivery, known.applications):
            return gate, passed_over
        what = f"{delivery.ref or 'its branch'} of {delivery.repository or 'its repository'}"
        told = f"{what} is not watched" + (f"; watched: {known.watched}" if known.watched else "")
        own = f"; for an application of its own: invoke app-add {delivery.repository}"
        return gate, told + (own if delivery.repository.startswith("http") else "")
    if gate:
        return gate, "that interceptor's condition is not met"
    return "refused", "every interceptor accepted it, but the listener logged nothing more"


def _explain_paths(delivery: Delivery, applications: Iterable[Application]) -> str:
    """Which files a push would have had to change; "" where no application has its repository and branch."""
    if delivery.event not in PUSHES or not delivery.ref.startswith(BRANCHES):
        return ""
    branch = delivery.ref.removeprefix(BRANCHES)
    said = [
        f"{', '.join(each.paths)} (application {each.name})"
        for each in applications
        if each.webhook and each.paths and _is_of(each, delivery.repository) and each.find_environment(branch)
    ]
    return f"it changes nothing below {'; '.join(said)}" if said else ""


def _is_of(application: Application, repository: str) -> bool:
    """Whether an event, of which the address by http is known, is of the application's repository."""
    if not is_ssh(application.url):
        return normalize_url(application.url) == normalize_url(repository)
    told = normalize_url(repository).partition("://")[2]
    return (urlsplit(f"//{told}").hostname, told.partition("/")[2]) == (
        find_ssh_host(application.url)[0],
        application.repository,
    )


def find_delivery(evidence: Evidence, wanted: str, runs: Iterable[Object]) -> Delivery | None:
    """The delivery of that id, the git host's or the listener's; None if nothing is known of one."""
    known = evidence.deliveries
    if wanted in known:
        return known[wanted]
    for each in known.values():
        if each.event_id == wanted:
            return each
    for sent in evidence.sent.values():
        if sent.event_id == wanted:
            return known.get(sent.id) or Delivery(sent.id, event_id=wanted)
    if any(wanted in _read_ids(run) for run in runs):
        return Delivery(wanted)
    return None


def _read_ids(run: Object) -> set[str]:
    """The ids of the delivery that made the run, the git host's and the listener's."""
    return {str(at(run, "metadata", "annotations", DELIVERY) or ""), str(at(run, "metadata", "labels", EVENT) or "")}
