"""Pods of a node that came back: what the API says of them counts once they were started again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bootstrap.steps.node_restart import is_between, is_fresh, is_of_before

SINCE = datetime(2026, 11, 23, 12, 0, 30, 500_000, UTC)


def pod(*started: str | None, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    states: list[dict[str, Any]] = [{"running": {"startedAt": each}} if each else {"waiting": {}} for each in started]
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": [{"state": each} for each in states]}}


@pytest.mark.parametrize(
    ("given", "before"),
    [
        (pod("2026-11-23T12:00:29Z"), True),
        (pod("2026-11-23T12:00:30Z"), False),  # times of the API are whole seconds
        (pod("2026-11-23T12:01:00Z", "2026-11-23T11:00:00Z"), True),
        (pod(None), False),
        (pod("2026-11-23T11:00:00Z", phase="Succeeded"), False),
        (pod("2026-11-23T11:00:00Z", deletionTimestamp="2026-11-23T12:00:31Z"), False),
        ({"metadata": {}, "status": {}}, False),
    ],
)
def test_a_pod_is_of_before_until_all_its_containers_started_again(given: dict[str, Any], before: bool) -> None:
    assert is_of_before(given, SINCE) is before


@pytest.mark.parametrize(
    ("given", "fresh"),
    [
        (pod("2026-11-23T12:00:25Z"), True),
        (pod("2026-11-23T12:00:10Z"), False),
        (pod("2026-11-23T12:00:10Z", "2026-11-23T12:00:29Z"), True),
        (pod(None), False),
        (pod("2026-11-23T12:00:25Z", phase="Failed"), False),
    ],
)
def test_a_pod_that_was_started_only_just_may_end_yet(given: dict[str, Any], fresh: bool) -> None:
    assert is_fresh(given, SINCE) is fresh


ENDED = {"terminated": {"exitCode": 255, "reason": "Unknown"}}


def restarting(state: dict[str, Any], last: dict[str, Any] | None = None, policy: str = "Always") -> dict[str, Any]:
    status = {"phase": "Running", "containerStatuses": [{"state": state, "lastState": last or {}}]}
    return {"metadata": {}, "spec": {"restartPolicy": policy}, "status": status}


@pytest.mark.parametrize(
    ("given", "between"),
    [
        (restarting(ENDED), True),
        (restarting(ENDED, policy="Never"), False),  # a step of a TaskRun that has done its part
        (restarting({"waiting": {"reason": "ContainerCreating"}}, ENDED), True),
        (restarting({"waiting": {"reason": "PodInitializing"}}, ENDED), True),
        (restarting({"waiting": {"reason": "CrashLoopBackOff"}}, ENDED), False),
        (restarting({"waiting": {"reason": "ContainerCreating"}}), False),  # never ran: its volume may be missing
        (restarting({"running": {"startedAt": "2026-11-23T12:01:00Z"}}, ENDED), False),
    ],
)
def test_a_pod_that_ended_with_its_node_and_is_not_back_yet_is_waited_for(given: dict[str, Any], between: bool) -> None:
    assert is_between(given) is between
