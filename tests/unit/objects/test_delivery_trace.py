"""What becomes of a delivery: the notes that it leaves, and what is told from them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from bootstrap.core.model import Lock, Object
from bootstrap.core.paths import PROJECT
from bootstrap.incluster.applications import read_application
from bootstrap.objects import delivery_trace
from bootstrap.objects.delivery_trace import Delivery, DeliveryOutcome, Evidence, Rules
from bootstrap.settings.config import Config
from bootstrap.steps import listener
from tests.unit.step_world import TOOLBOX

ID, EVENT = "72d3162e-cc78-11e3-81ab-4c9367dc0958", "5f2c8a3e-0d2b-4b33-9a53-0c5a8a8e6a11"
COMMIT = "3f9c2e1" + "0" * 33
REF, URL = "refs/heads/main", "http://git.git.svc.cluster.local/go-echo.git"
RUN = "go-echo-3f9c2e100000"
RULES = Rules({"push": ["heard", "signed", "noted", "buildable", "watched"]}, frozenset({"push"}))


def answer(extensions: str, second: int = 0, **other: Any) -> str:
    """A line of Triggers 0.35's interceptors, as zap writes it."""
    message = f"Interceptor response is: &{{Extensions:map[{extensions}] Continue:true Status:{{Code:OK Message:}}}}"
    head = {"severity": "info", "timestamp": f"2026-11-24T09:12:{second:02}.123Z", "logger": "core-interceptors"}
    return json.dumps(head | {"caller": "server/server.go:157", "message": message} | other)


def heard(id_: str = ID, *, event: str = "push", signed: str = "signed", second: int = 0) -> str:
    return answer(f"heard:{id_}|{event}|{signed}|{COMMIT}|{REF}|{URL}", second)


def note(gate: str, id_: str = ID, second: int = 1) -> str:
    return answer(f"branch_label:main note:{id_}/push/{gate} short:3f9c2e100000", second)


NO = json.dumps(
    {
        "severity": "info",
        "timestamp": "2026-11-24T09:12:01.200Z",
        "message": "Interceptor response is: &{Extensions:map[] Continue:false Status:{Code:FailedPrecondition "
        'Message:expression body.ref == "refs/heads/main" did not return true}}',
    }
)
ALL = [heard(), note("signed"), note("buildable"), note("watched")]


def said(message: str, *, severity: str = "info", event: str = EVENT, second: int = 2) -> str:
    """A line of the listener."""
    head = {"severity": severity, "timestamp": f"2026-11-24T09:12:{second:02}.5Z", "message": message}
    ids = {"eventlistener": "demo-listener", "/triggers-eventid": event, "/trigger": "push"} if event else {}
    return json.dumps(head | ids)


RESOLVED = said(f"ResolvedParams : [{{Name:repository Value:{URL}}} {{Name:delivery Value:{ID}}}]")
EXISTS = 'couldn\'t create resource with group version kind "tekton.dev/v1, Resource=pipelineruns": '
EXISTS += f'pipelineruns.tekton.dev "{RUN}" already exists'
FORBIDDEN = 'pipelineruns.tekton.dev is forbidden: User "system:serviceaccount:cicd:listener" cannot create resource'


def run(name: str = RUN, *, id_: str = "", event: str = "") -> Object:
    metadata: Object = {
        "name": name,
        "annotations": {delivery_trace.DELIVERY: id_},
        "labels": {delivery_trace.EVENT: event},
    }
    return {"kind": "PipelineRun", "metadata": metadata}


def told(
    interceptors: list[str], sink: list[str] | None = None, runs: list[Object] | None = None, *, settled: bool = True
) -> DeliveryOutcome:
    [found] = delivery_trace.read_evidence(interceptors, sink or []).deliveries.values()
    return delivery_trace.judge_delivery(found, RULES, runs or [], settled=settled)


@pytest.mark.parametrize(
    ("interceptors", "sink", "runs", "stage", "why"),
    [
        (ALL, [RESOLVED], [run(id_=ID, event=EVENT)], "run", ""),
        (ALL, [], [run(id_=ID)], "run", ""),
        (ALL, [RESOLVED, said(EXISTS, severity="error")], [run(id_="another")], "exists", "rerun --run " + RUN),
        (ALL, [RESOLVED, said(FORBIDDEN, severity="error")], [], "refused", "cannot create"),
        (ALL, [RESOLVED], [], "deleted", "does not exist any more"),
        (ALL, [], [], "refused", "logged nothing more"),
        ([heard(event="ping"), NO], [], [], "event", "type ping"),
        ([heard(event=""), NO], [], [], "event", "type none"),
        ([heard(signed="unsigned"), NO], [], [], "signed", "no signature"),
        ([heard(), NO], [], [], "signed", "another secret"),
        ([heard(), note("signed"), NO], [], [], "buildable", "is none"),
        ([heard(), note("signed"), note("buildable"), NO], [], [], "watched", f"{REF} of {URL}"),
    ],
)
def test_what_became_of_a_delivery(
    interceptors: list[str], sink: list[str], runs: list[Object], stage: str, why: str
) -> None:
    found = told(interceptors, sink, runs)
    assert found.stage == stage
    assert why in found.why
    assert found.is_good == (stage in ("run", "exists"))
    assert found.run == (RUN if found.is_good else "")


def test_one_that_came_just_now_is_under_way_unless_it_is_decided() -> None:
    assert str(told([heard()], settled=False)) == "under way"
    assert str(told(ALL, [RESOLVED], settled=False)) == "under way"
    assert str(told(ALL, [RESOLVED, said(EXISTS, severity="error")], settled=False)) == f"run {RUN} exists already"
    assert str(told(ALL, [], [run(id_=ID)], settled=False)) == f"became run {RUN}"


def test_a_gate_that_we_do_not_know_is_named_all_the_same() -> None:
    rules = Rules({"pull": ["signed", "noted", "merged", "watched"]}, frozenset({"pull_request"}))
    delivery = Delivery(ID, trigger="pull", gate="signed")
    assert delivery_trace.judge_delivery(delivery, rules, [], settled=True) == DeliveryOutcome(
        "merged", "that interceptor's condition is not met"
    )


def test_what_is_known_of_a_delivery() -> None:
    found = delivery_trace.read_evidence([*ALL, "not json", "{broken", "[1]"], [RESOLVED])
    delivery = found.deliveries[ID]
    assert (delivery.event, delivery.commit, delivery.ref, delivery.repository) == ("push", COMMIT, REF, URL)
    assert (delivery.trigger, delivery.gate, delivery.event_id) == ("push", "watched", EVENT)
    assert delivery.when == datetime(2026, 11, 24, 9, 12, 0, 123000, UTC) == found.since


def test_lines_of_several_pods_are_put_in_order() -> None:
    found = delivery_trace.read_evidence([note("signed", second=3), note("buildable", second=4), heard(second=2)], [])
    assert found.deliveries[ID].gate == "buildable"


def test_the_last_try_counts() -> None:
    again = heard(second=30)
    found = delivery_trace.read_evidence([*ALL, again], [RESOLVED]).deliveries[ID]
    assert (found.trigger, found.gate, found.event_id) == ("", "heard", ""), "the listener's line is of the first"


def test_deliveries_side_by_side_are_told_apart() -> None:
    lines = [heard("a"), heard("b"), note("signed", "b"), note("signed", "a"), note("buildable", "a"), NO, NO]
    found = delivery_trace.read_evidence(lines, []).deliveries
    assert {each.id: each.gate for each in found.values()} == {"a": "buildable", "b": "signed"}


def test_what_a_stranger_sends_forges_no_note() -> None:
    # As the overlay makes it of a branch called "x] note:a/push/watched |".
    line = answer(f"heard:{ID}|push|signed||refs/heads/x_note:a/push/watched_|")
    assert list(delivery_trace.read_evidence([line], []).deliveries) == [ID]


def test_errors_of_the_listener_without_an_id_are_kept_apart() -> None:
    strange = said("Invalid event body format : invalid character 'p'", severity="error", event="")
    assert delivery_trace.read_evidence([], [strange]).strangers == (
        "Invalid event body format : invalid character 'p'",
    )


def test_another_logging_configuration_is_read_as_well() -> None:
    line = json.dumps({"level": "error", "ts": "2026-11-24T09:12:05.5Z", "msg": EXISTS, "/triggers-eventid": EVENT})
    assert told(ALL, [RESOLVED, line]).stage == "exists"


SERVER = [
    json.dumps({"id": ID, "ref": REF, "commit": COMMIT, "eventID": EVENT}),
    json.dumps({"id": "unsent", "error": "connection refused"}),
    json.dumps({"other": 1}),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(ID, ID), (EVENT, ID), ("in-a-run", "in-a-run"), ("unsent", None), ("nobody", None)],
)
def test_a_delivery_is_found_by_either_id(wanted: str, found: str | None) -> None:
    evidence = delivery_trace.read_evidence(ALL, [], SERVER)
    delivery = delivery_trace.find_delivery(evidence, wanted, [run(event="in-a-run")])
    assert (delivery.id if delivery else None) == found
    assert evidence.sent["unsent"].error == "connection refused"


def test_by_the_listeners_id_without_a_git_server() -> None:
    assert delivery_trace.find_delivery(delivery_trace.read_evidence(ALL, [RESOLVED]), EVENT, []) is not None
    assert delivery_trace.find_delivery(delivery_trace.read_evidence(ALL, []), EVENT, []) is None
    assert delivery_trace.find_delivery(Evidence(), ID, []) is None


def test_a_run_is_enough_to_tell() -> None:
    made = [run(event=EVENT)]
    found = delivery_trace.find_delivery(Evidence(), EVENT, made)
    assert found is not None
    assert delivery_trace.judge_delivery(found, RULES, made, settled=True).stage == "run"


# -- the notes -------------------------------------------------------------------------------------


def rendered(kind: str) -> list[Object]:
    return [
        each for each in listener.render_objects(Lock({"toolbox": TOOLBOX}), PROJECT, Config()) if each["kind"] == kind
    ]


def test_every_gate_of_the_listener_leaves_a_note() -> None:
    [made] = rendered("EventListener")
    leading = [each for each in made["spec"]["triggers"] if "watched" in delivery_trace.list_gates(each)]
    for place, trigger in enumerate(leading):
        gates = delivery_trace.list_gates(trigger)
        assert gates.count("noted") == 1
        assert gates[gates.index("noted") - 1] == "signed"
        assert gates.count("heard") == (gates[0] == "heard") == (place == 0)
        for each in trigger["interceptors"]:
            overlays = [param["value"] for param in each["params"] if param["name"] == "overlays"]
            keys = {overlay["key"] for listed in overlays for overlay in listed}
            known = each["name"] != "own" and each["ref"]["name"] == "cel"  # that one comes before the signature
            assert not known or keys & {"note", "heard"}, each["name"]
    known = delivery_trace.read_rules(made)
    assert "push" in known.events
    assert set(known.gates) == {trigger["name"] for trigger in made["spec"]["triggers"]}


def test_every_run_of_the_listener_carries_its_delivery() -> None:
    for template in rendered("TriggerTemplate"):
        for each in template["spec"]["resourcetemplates"]:
            if each["kind"] == "PipelineRun":
                assert each["metadata"]["annotations"][delivery_trace.DELIVERY] == "$(tt.params.delivery)"


def test_a_trigger_that_leads_to_no_run_leaves_none() -> None:
    def trigger(name: str, *gates: str) -> Object:
        interceptors = [{"name": gate, "ref": {"name": "gitlab" if gate == "signed" else "cel"}} for gate in gates]
        return {"name": name, "interceptors": interceptors}

    made = {"spec": {"triggers": [trigger("debug", "signed", "any"), trigger("push", "early", "signed", "watched")]}}
    delivery_trace.leave_notes(made)
    debug, push = made["spec"]["triggers"]
    assert debug == trigger("debug", "signed", "any")
    assert delivery_trace.list_gates(push) == ["heard", "early", "signed", "noted", "watched"]
    assert push["interceptors"][1] == trigger("", "early")["interceptors"][0], "it knows no id yet"
    assert push["bindings"] == [{"name": "delivery", "value": "$(extensions.delivery)"}]


def test_seconds_since_1970_are_a_time_too() -> None:
    """The interceptors of Triggers 0.35 log so: seen as an empty column, and every delivery counted as settled."""
    head = {"level": "info", "ts": 1795529041.0578704, "msg": "Interceptor response is: [note:abc/github/signed]"}
    found = delivery_trace.read_evidence([json.dumps(head)], []).deliveries["abc"]
    assert found.when == found.seen == datetime(2026, 11, 24, 14, 4, 1, 57870, tzinfo=UTC)


NO_ID = "no-id-pushhook-3f9c2e100000"


def test_deliveries_without_an_id_have_rows_of_their_own() -> None:
    """A GitLab of 2020 gives none: the wrong token, then a system hook, then the right token, all of one commit."""
    system = "no-id-systemhook-3f9c2e100000"
    lines = [
        heard(NO_ID, event="Push_Hook", second=1),
        heard(system, event="System_Hook", second=3),
        heard(NO_ID, event="Push_Hook", second=5),
        *(note(gate, NO_ID, second=6) for gate in ("signed", "buildable", "watched")),
    ]
    resolved = said(f"ResolvedParams : [{{Name:repository Value:{URL}}} {{Name:delivery Value:{NO_ID}}}]", second=7)
    evidence = delivery_trace.read_evidence(lines, [resolved])
    rules = Rules(RULES.gates, frozenset({"Push_Hook"}))
    made = [run(id_=NO_ID, event=EVENT)]
    outcomes = {
        each.id: delivery_trace.judge_delivery(each, rules, made, settled=True) for each in evidence.deliveries.values()
    }
    assert {id_: outcome.stage for id_, outcome in outcomes.items()} == {
        NO_ID: "signed",
        system: "event",
        f"{NO_ID}-2": "run",
    }
    assert "another secret" in outcomes[NO_ID].why
    assert delivery_trace.find_delivery(evidence, f"{NO_ID}-2", made) == evidence.deliveries[f"{NO_ID}-2"]


def test_what_is_not_watched_is_told_with_what_is() -> None:
    rules = Rules(RULES.gates, RULES.events, "main, release/* of you/app")
    [found] = delivery_trace.read_evidence([heard(), note("signed"), note("buildable"), NO], []).deliveries.values()
    why = delivery_trace.judge_delivery(found, rules, [], settled=True).why
    own = f"for an application of its own: invoke app-add {URL}"
    assert why == f"{REF} of {URL} is not watched; watched: main, release/* of you/app; {own}"


@pytest.mark.parametrize(
    ("branches", "paths", "webhook", "told"),
    [
        (
            ["main"],
            ["services/orders/**", "libs"],
            True,
            "it changes nothing below services/orders/**, libs (application orders)",
        ),
        (["other"], ["services/orders/**"], True, ""),
        (["main"], [], True, ""),
        (["main"], ["services/orders/**"], False, ""),
    ],
)
def test_a_push_that_concerns_no_application_is_told_with_what_would(
    branches: list[str], paths: list[str], webhook: bool, told: str
) -> None:
    spec = {
        "repository": {"url": URL},
        "paths": paths,
        "arrive": {"webhook": webhook},
        "environments": [{"name": "default", "branches": branches}],
    }
    rules = replace(RULES, applications=[read_application({"metadata": {"name": "orders"}, "spec": spec}, "registry")])
    [found] = delivery_trace.read_evidence([heard(), note("signed"), note("buildable"), NO], []).deliveries.values()
    outcome = delivery_trace.judge_delivery(found, rules, [], settled=True)
    assert outcome.stage == "watched"
    assert outcome.why == told or (not told and "is not watched" in outcome.why)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("git@git.git.svc.cluster.local:go-echo.git", "it changes nothing below services (application orders)"),
        ("ssh://git@Git.git.svc.cluster.local:2222/go-echo", "it changes nothing below services (application orders)"),
        ("git@git.example.com:go-echo.git", "is not watched"),
        ("git@git.git.svc.cluster.local:go-echo-2.git", "is not watched"),
    ],
)
def test_an_application_that_is_cloned_by_ssh_is_told_of_by_host_and_path(url: str, told: str) -> None:
    spec = {"repository": {"url": url, "login": "orders-git"}, "paths": ["services"]}
    rules = replace(RULES, applications=[read_application({"metadata": {"name": "orders"}, "spec": spec}, "registry")])
    [found] = delivery_trace.read_evidence([heard(), note("signed"), note("buildable"), NO], []).deliveries.values()
    assert told in delivery_trace.judge_delivery(found, rules, [], settled=True).why
