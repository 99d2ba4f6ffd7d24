"""The deploy task against a Deployment in memory, which other runs and people change at any moment."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from bootstrap.core.paths import PROJECT
from bootstrap.incluster import default_deployment, deploy, rollout
from bootstrap.incluster.deploy import Deployer, Failed, KubectlFailure, Place, Stopped
from bootstrap.incluster.rollout import HISTORY, LAST_GOOD
from bootstrap.incluster.run_names import ARRIVAL, SUPERSEDED
from bootstrap.objects.manifests import load

Object = dict[str, Any]
OLD, NEW, OTHER = "r.test/app@sha256:" + "0" * 64, "r.test/app@sha256:" + "a" * 64, "r.test/app@sha256:" + "b" * 64
PLACE = Place("demo", "web", "app")


def deployment(image: str = OLD, replicas: int = 2) -> Object:
    return {
        "metadata": {"name": "web", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "sidecar", "image": "s"}, {"name": "app", "image": image}]}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "availableReplicas": replicas,
            "conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable", "lastUpdateTime": "1"}],
        },
    }


def image(found: Object) -> str:
    return rollout.image_of(found, "app")


@dataclass
class Cluster:
    """One Deployment and its controller. live: {} for none.

    bad: images whose pods never get ready. slow, deadline: seconds until a rollout is ready, or is given up.
    at: time -> what somebody else does then. broken: raised by every look. pods, logs: answers.
    meets: what somebody else does just before each patch or creation, one after the other. services: by name.
    """

    live: Object = field(default_factory=deployment)
    bad: set[str] = field(default_factory=set)
    slow: float = 2.0
    deadline: float = 60.0
    at: dict[float, Callable[[Cluster], None]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    meets: list[Callable[[Cluster], None]] = field(default_factory=list)
    services: dict[str, Object] = field(default_factory=dict)
    time: float = 0.0
    changed: float = 0.0
    said: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def deployer(self, arrival: str = "", port: int = 0) -> Deployer:
        return Deployer(self.kubectl, PLACE, lambda: self.time, self.sleep, self.said.append, arrival, port)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        for moment in sorted(moment for moment in self.at if moment <= self.time):
            self.at.pop(moment)(self)
        self._control()

    def set(self, wanted: str) -> None:
        """Somebody else does it."""
        self.live["spec"]["template"]["spec"]["containers"][1]["image"] = wanted
        self._changed()

    def _changed(self) -> None:
        self.live["metadata"]["generation"] += 1
        self.changed = self.time
        self.live["status"] |= {"updatedReplicas": 0}

    def _control(self) -> None:
        status, replicas = self.live["status"], self.live["spec"]["replicas"]
        status["observedGeneration"] = self.live["metadata"]["generation"]
        if image(self.live) not in self.bad and self.time - self.changed >= self.slow:
            status |= {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
            progress = {"type": "Progressing", "reason": "NewReplicaSetAvailable", "lastUpdateTime": str(self.time)}
        elif self.time - self.changed >= self.deadline:
            message = "it has timed out progressing."
            progress = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": message}
            progress["lastUpdateTime"] = str(self.changed + self.deadline)
        else:
            return
        status["conditions"] = [progress]

    def kubectl(self, *words: str, stdin: str = "") -> str:
        self.words.append(" ".join(words))
        if words == ("create", "--filename=-", "--validate=false", "--output=name"):
            return self._create(json.loads(stdin))
        assert not stdin
        if words == ("get", "deployment", "web", "--ignore-not-found", "--output=json"):
            if self.broken:
                raise KubectlFailure(self.broken.pop(0))
            return json.dumps(self.live) if self.live else ""
        if words[:4] == ("patch", "deployment", "web", "--type=json"):
            return self._patch(json.loads(words[4].removeprefix("--patch=")))
        if words[:2] == ("get", "pods"):
            [(key, value)] = self.live["spec"]["selector"]["matchLabels"].items()
            assert words[2] == f"--selector={key}={value}"
            return json.dumps({"items": self.pods})
        if words[0] == "logs":
            key = " ".join(words[1:])
            if key not in self.logs:
                raise KubectlFailure("previous terminated container not found")
            return self.logs[key]
        raise AssertionError(f"unforeseen: kubectl {' '.join(words)}")

    def _create(self, wanted: Object) -> str:
        if self.meets:
            self.meets.pop(0)(self)
        kind, name = wanted["kind"].lower(), wanted["metadata"]["name"]
        if (kind == "service" and name in self.services) or (kind == "deployment" and self.live):
            plural = f'{kind}s "{name}" already exists'
            raise KubectlFailure(f'Error from server (AlreadyExists): error when creating "STDIN": {plural}')
        if kind == "service":
            self.services[name] = wanted
        else:
            self.live = wanted | {"status": {}}
            self.live["metadata"]["generation"] = 1
            self.changed = self.time
        return f"{kind}/{name}"

    def _patch(self, operations: list[Object]) -> str:
        """RFC 6902, as far as it is used: all of it or nothing.

        As the API server does, a test of null takes what is not there, if its parent is.
        """
        if self.meets:
            self.meets.pop(0)(self)
        after = copy.deepcopy(self.live)
        for each in operations:
            *path, last = (part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:])
            place: Any = after
            for part in path:
                if isinstance(place, dict) and part not in place:
                    raise KubectlFailure("The request is invalid")
                place = place[int(part) if isinstance(place, list) else part]
            if each["op"] == "test":
                if place.get(last) != each["value"]:
                    raise KubectlFailure("The request is invalid")
            else:
                assert each["op"] == "add" or last in place
                place[last] = each["value"]
        template_changed = after["spec"] != self.live["spec"]
        self.live = after
        if template_changed:
            self._changed()
        return json.dumps(self.live)

    @property
    def good(self) -> str | None:
        noted: str | None = (self.live["metadata"].get("annotations") or {}).get(LAST_GOOD)
        return noted

    @property
    def arrival(self) -> str | None:
        noted: str | None = (self.live["metadata"].get("annotations") or {}).get(ARRIVAL)
        return noted

    @property
    def patches(self) -> int:
        return sum(words.startswith("patch ") for words in self.words)


def failure(cluster: Cluster, limit: float = 180, wanted: str = NEW, arrival: str = "") -> str:
    with pytest.raises(Failed) as caught:
        cluster.deployer(arrival).deploy(wanted, limit)
    return str(caught.value)


def test_it_sets_the_image_and_notes_it_as_good() -> None:
    cluster = Cluster()
    cluster.deployer().deploy(NEW, 180)
    assert (image(cluster.live), cluster.good) == (NEW, f"app={NEW}")
    assert cluster.live["spec"]["template"]["spec"]["containers"][0]["image"] == "s"
    assert cluster.said[0] == f"web: app = {NEW}"


def test_annotations_of_others_stay() -> None:
    cluster = Cluster()
    cluster.live["metadata"]["annotations"] = {"theirs": "x"}
    cluster.deployer().deploy(NEW, 180)
    assert cluster.live["metadata"]["annotations"] == {"theirs": "x", LAST_GOOD: f"app={NEW}", HISTORY: ANY}


def test_every_change_is_recorded_newest_first_and_the_oldest_are_dropped() -> None:
    cluster = Cluster(bad={OTHER})
    cluster.deployer().deploy(NEW, 180)
    failure(cluster, wanted=OTHER)
    cluster.deployer().deploy(NEW, 180)  # it has that image already
    assert [(each["how"], each["image"]) for each in rollout.read_history(cluster.live)] == [
        ("undo", NEW),
        ("run", OTHER),
        ("run", NEW),
    ]
    for _ in range(rollout.RECORDS):
        cluster.deployer().deploy(OLD, 180)
        cluster.deployer().deploy(NEW, 180)
    assert len(rollout.read_history(cluster.live)) == rollout.RECORDS


def test_commit_and_run_are_recorded_and_what_goes_back_has_the_commit_of_its_image() -> None:
    cluster = Cluster(bad={OTHER})
    replace(cluster.deployer(), commit="1a2b3c4", run="first").deploy(NEW, 180)
    with pytest.raises(Failed):
        replace(cluster.deployer(), commit="5d6e7f8", run="second").deploy(OTHER, 180)
    assert [(each["how"], each["commit"], each["run"]) for each in rollout.read_history(cluster.live)] == [
        ("undo", "1a2b3c4", ""),
        ("run", "5d6e7f8", "second"),
        ("run", "1a2b3c4", "first"),
    ]


def test_what_is_taken_back_in_the_last_seconds_is_recorded_after_what_it_takes_back() -> None:
    cluster = Cluster(slow=50, at={10.0: stopped})
    with pytest.raises(Stopped):
        cluster.deployer().deploy(NEW, 180)
    assert [each["how"] for each in rollout.read_history(cluster.live)] == ["undo", "run"]


def test_the_same_image_again_is_a_success_at_once() -> None:
    cluster = Cluster(deployment(NEW))
    cluster.deployer().deploy(NEW, 180)
    assert cluster.time == 0.0


def test_a_program_that_takes_its_time_is_waited_for() -> None:
    cluster = Cluster(slow=210, deadline=600)
    cluster.deployer().deploy(NEW, 900)
    assert cluster.good == f"app={NEW}"


@pytest.mark.parametrize(("deadline", "limit"), [(60.0, 180.0), (600.0, 50.0)])
def test_a_failed_rollout_goes_back_and_says_why(deadline: float, limit: float) -> None:
    """Given up by Kubernetes, or not ready within our limit, whichever comes first."""
    cluster = Cluster(bad={NEW}, deadline=deadline)
    why = failure(cluster, limit)
    assert why == f"the rollout failed; web serves {OLD} again"
    assert (image(cluster.live), cluster.good) == (OLD, None)
    reason = (
        "it has timed out progressing." if deadline < limit else "it was not ready within 50 s (0 of 2 pods updated"
    )
    assert any(f"the rollout of {NEW} failed: {reason}" in line for line in cluster.said)


def test_it_goes_back_to_the_last_good_image_and_not_to_the_last() -> None:
    cluster = Cluster(bad={NEW, OLD})
    cluster.live["metadata"]["annotations"] = {LAST_GOOD: f"app={OTHER}"}
    failure(cluster)
    assert image(cluster.live) == OTHER


def test_the_good_image_of_another_container_is_not_taken() -> None:
    cluster = Cluster(bad={NEW})
    cluster.live["metadata"]["annotations"] = {LAST_GOOD: "sidecar=r.test/sidecar:1"}
    failure(cluster)
    assert image(cluster.live) == OLD


def test_a_failure_of_an_earlier_rollout_is_not_taken_for_this_one() -> None:
    cluster = Cluster(slow=5)
    stale = {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": "1", "message": "old"}
    cluster.live["status"]["conditions"] = [stale]
    cluster.deployer().deploy(NEW, 180)
    assert cluster.good == f"app={NEW}"


def test_there_may_be_nothing_to_go_back_to() -> None:
    cluster = Cluster(deployment(NEW), bad={NEW})
    cluster.live["status"]["updatedReplicas"] = 0
    cluster.live["metadata"]["generation"] += 1
    assert "there is no earlier image to go back to" in failure(cluster)


def test_going_back_may_fail_too() -> None:
    cluster = Cluster(bad={NEW, OLD})
    assert f"so did going back to {OLD}: it has timed out" in failure(cluster)


# -- somebody else's image -------------------------------------------------------------------------


def test_another_image_in_between_is_superseded_and_never_a_success() -> None:
    """Seen live: the first run called the other's rollout its own, and its image, which never served, the last good."""
    cluster = Cluster(bad={NEW}, at={5.0: lambda c: c.set(OTHER)})
    assert failure(cluster) == f"superseded: web was given {OTHER} meanwhile"
    assert (image(cluster.live), cluster.good) == (OTHER, None)


def test_one_that_comes_between_ready_and_the_note_is_not_noted_over() -> None:
    cluster = Cluster()
    noted = cluster._patch

    def late(operations: list[Object]) -> str:
        if any(each["op"] == "add" for each in operations):
            cluster.set(OTHER)
        return noted(operations)

    cluster._patch = late  # type: ignore[method-assign]
    assert "superseded" in failure(cluster)
    assert cluster.good is None


def test_nothing_goes_back_over_somebody_elses_image() -> None:
    cluster = Cluster(bad={NEW})
    patched = cluster._patch

    def late(operations: list[Object]) -> str:
        if any(each.get("value") == OLD for each in operations):
            cluster.set(OTHER)
        return patched(operations)

    cluster._patch = late  # type: ignore[method-assign]
    assert "superseded" in failure(cluster)
    assert image(cluster.live) == OTHER


# -- the order in which commits came ------------------------------------------------------------------


def numbered(number: str, wanted: str = OTHER) -> Callable[[Cluster], None]:
    """Another run sets its image, and notes its number."""

    def act(found: Cluster) -> None:
        found.live["metadata"].setdefault("annotations", {})[ARRIVAL] = number
        found.set(wanted)

    return act


def noted(number: str, wanted: str = OLD) -> Object:
    found = deployment(wanted)
    found["metadata"]["annotations"] = {ARRIVAL: number}
    return found


@pytest.mark.parametrize("before", [None, "", "6", "7", "by hand"])
def test_a_run_notes_its_number_with_its_image(before: str | None) -> None:
    """The same number is the run's own second try; what is no number keeps nobody from deploying."""
    cluster = Cluster(deployment() if before is None else noted(before))
    cluster.deployer("7").deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival, cluster.good) == (NEW, "7", f"app={NEW}")


def test_a_run_that_came_before_the_one_that_is_deployed_changes_nothing() -> None:
    cluster = Cluster(noted("10", OTHER))
    before = copy.deepcopy(cluster.live)
    why = failure(cluster, arrival="9")
    assert why == "superseded: web has the image of a later run (number 10, this is 9)"
    assert (cluster.live, cluster.patches) == (before, 0)


def test_a_run_without_a_number_asks_for_none_and_leaves_the_one_that_is_there() -> None:
    cluster = Cluster(noted("10"))
    cluster.deployer().deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival) == (NEW, "10")
    assert not any('"op": "test", "path": "/metadata/annotations' in words for words in cluster.words)


@pytest.mark.parametrize("before", [deployment(), noted("5")], ids=["no number", "a number"])
def test_of_two_that_meet_the_later_one_wins(before: Object) -> None:
    """Whichever comes first: each has read the Deployment before the other changed it."""
    early, late = Cluster(copy.deepcopy(before), meets=[numbered("8")]), Cluster(before, meets=[numbered("6")])
    assert "(number 8, this is 7)" in failure(early, arrival="7")
    assert (image(early.live), early.arrival) == (OTHER, "8")
    late.deployer("7").deploy(NEW, 180)
    assert (image(late.live), late.arrival, late.good) == (NEW, "7", f"app={NEW}")


def test_it_goes_back_to_what_was_good_when_it_looked_again() -> None:
    def overtake(found: Cluster) -> None:
        numbered("6")(found)
        found.live["metadata"]["annotations"][LAST_GOOD] = f"app={OTHER}"

    cluster = Cluster(bad={NEW}, meets=[overtake])
    assert failure(cluster, arrival="7") == f"the rollout failed; web serves {OTHER} again"


def test_one_that_meets_others_again_and_again_gives_up() -> None:
    cluster = Cluster(noted("0"), meets=[numbered(str(number)) for number in range(1, 99)])
    with pytest.raises(KubectlFailure, match="invalid"):
        cluster.deployer("100").deploy(NEW, 180)
    assert cluster.patches == deploy.MEETINGS + 1


def test_annotations_that_appear_meanwhile_are_no_other_run() -> None:
    """Kubernetes itself writes the first one of a Deployment that was just made."""
    cluster = Cluster(meets=[lambda c: c.live["metadata"].update(annotations={"revision": "1"})])
    cluster.deployer("7").deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival) == (NEW, "7")


def test_a_patch_that_fails_for_another_reason_is_told_at_once() -> None:
    def refuse(_: Cluster) -> None:
        raise KubectlFailure("Forbidden")

    cluster = Cluster(meets=[refuse])
    with pytest.raises(KubectlFailure, match="Forbidden"):
        cluster.deployer("7").deploy(NEW, 180)
    assert cluster.patches == 1


def test_going_back_leaves_the_number_of_what_failed() -> None:
    cluster = Cluster(noted("5"), bad={NEW})
    assert failure(cluster, arrival="7") == f"the rollout failed; web serves {OLD} again"
    assert (image(cluster.live), cluster.arrival) == (OLD, "7")
    assert "superseded" in failure(cluster, wanted=OTHER, arrival="6")
    cluster.deployer("8").deploy(OTHER, 180)
    assert (image(cluster.live), cluster.arrival) == (OTHER, "8")


def test_a_number_that_a_person_takes_away_does_not_come_back_by_going_back() -> None:
    """So that a run that came earlier may deploy again."""
    cluster = Cluster(noted("5"), bad={NEW}, at={3.0: lambda c: c.live["metadata"]["annotations"].pop(ARRIVAL)})
    assert failure(cluster, arrival="7") == f"the rollout failed; web serves {OLD} again"
    assert cluster.arrival is None


def test_a_later_run_with_the_same_image_is_not_undone() -> None:
    """Two commits may make one image, to the letter."""
    seen = Cluster(noted("5"), bad={NEW}, at={5.0: numbered("8", NEW)})
    assert "(number 8, this is 7)" in failure(seen, arrival="7")
    met = Cluster(noted("5"), bad={NEW}, meets=[lambda _: None, numbered("8", NEW)])
    assert "(number 8, this is 7)" in failure(met, arrival="7")
    assert [(image(each.live), each.arrival) for each in (seen, met)] == [(NEW, "8")] * 2


def test_nor_by_one_that_is_cancelled() -> None:
    def both(found: Cluster) -> None:
        numbered("8", NEW)(found)
        raise Stopped

    cluster = Cluster(noted("5"), bad={NEW}, at={3.0: both})
    with pytest.raises(Stopped):
        cluster.deployer("7").deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival) == (NEW, "8")


def test_one_that_is_cancelled_while_its_image_is_set_goes_back_too() -> None:
    """The answer is cut off: the image may be set, and the number noted."""
    cluster = Cluster(noted("5"))
    patched = cluster.kubectl

    def cut(*words: str, stdin: str = "") -> str:
        answer = patched(*words)
        if words[0] == "patch" and cluster.patches == 1:
            raise Stopped
        return answer

    cluster.kubectl = cut  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        cluster.deployer("7").deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival) == (OLD, "7")


def test_one_that_is_cancelled_before_it_has_read_anything_changes_nothing() -> None:
    cluster = Cluster()

    def stop(*_: str, stdin: str = "") -> str:
        raise Stopped

    cluster.kubectl = stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        cluster.deployer("7").deploy(NEW, 180)
    assert cluster.said == []


# -- no Deployment ---------------------------------------------------------------------------------


def test_without_a_port_a_missing_deployment_is_told_in_one_sentence() -> None:
    cluster = Cluster({})
    with pytest.raises(KubectlFailure) as caught:
        cluster.deployer("7").deploy(NEW, 180)
    assert str(caught.value) == "there is no Deployment web in namespace demo"
    assert len(cluster.words) == 1


def test_with_a_port_it_is_made_with_a_service_its_record_and_its_number() -> None:
    cluster = Cluster({})
    cluster.deployer("7", port=3000).deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival, cluster.good) == (NEW, "7", f"app={NEW}")
    assert [(each["how"], each["image"]) for each in rollout.read_history(cluster.live)] == [("run", NEW)]
    assert cluster.services == {"web": default_deployment.make_service("web", 3000)}
    assert cluster.live["metadata"]["generation"] == 1, "made as it is wanted, and not changed after that"
    cluster.deployer("8", port=3000).deploy(OTHER, 180)
    assert [each["image"] for each in rollout.read_history(cluster.live)] == [OTHER, NEW]
    assert sum(words.startswith("create") for words in cluster.words) == 2


def test_one_that_is_made_without_a_number_has_none() -> None:
    cluster = Cluster({})
    cluster.deployer(port=3000).deploy(NEW, 180)
    assert (cluster.arrival, cluster.good) == (None, f"app={NEW}")


def test_the_first_rollout_that_fails_has_nothing_to_go_back_to() -> None:
    cluster = Cluster({}, bad={NEW})
    with pytest.raises(Failed, match="failed, and there is no earlier image to go back to"):
        cluster.deployer("7", port=3000).deploy(NEW, 180)
    assert (image(cluster.live), cluster.arrival, cluster.good) == (NEW, "7", None)
    cluster.deployer("8", port=3000).deploy(OTHER, 180)
    assert cluster.good == f"app={OTHER}"


def make_meanwhile(number: str) -> Callable[[Cluster], None]:
    def act(found: Cluster) -> None:
        found.live = noted(number, OTHER)

    return act


def test_one_that_somebody_makes_meanwhile_is_taken_as_any_other() -> None:
    late, early = (Cluster({}, meets=[lambda _: None, make_meanwhile("7")]) for _ in range(2))
    late.deployer("8", port=3000).deploy(NEW, 180)
    assert (image(late.live), late.arrival) == (NEW, "8")
    assert "Deployment web is there already" in late.said
    with pytest.raises(Failed, match="superseded"):
        early.deployer("6", port=3000).deploy(NEW, 180)
    assert image(early.live) == OTHER


def test_a_service_that_is_there_stays() -> None:
    cluster = Cluster({}, services={"web": {"theirs": "x"}})
    cluster.deployer(port=3000).deploy(NEW, 180)
    assert cluster.services == {"web": {"theirs": "x"}}


@pytest.mark.parametrize("before", [0, 1], ids=["service", "deployment"])
def test_what_may_not_be_made_is_told(before: int) -> None:
    def refuse(_: Cluster) -> None:
        raise KubectlFailure("Error from server (Forbidden): no")

    cluster = Cluster({}, meets=[*[lambda _: None] * before, refuse])
    with pytest.raises(KubectlFailure, match="Forbidden"):
        cluster.deployer(port=3000).deploy(NEW, 180)
    assert (cluster.live, len(cluster.services)) == ({}, before), "no Deployment without a Service"


def test_one_that_is_deleted_during_its_rollout_is_told() -> None:
    cluster = Cluster(bad={NEW}, at={3.0: lambda c: c.live.clear()})
    cluster._control = lambda: None  # type: ignore[method-assign]
    with pytest.raises(KubectlFailure, match="there is no Deployment web in namespace demo"):
        cluster.deployer().deploy(NEW, 20)


# -- ended in the middle ---------------------------------------------------------------------------


def stopped(_: Cluster) -> None:
    raise Stopped


def test_one_that_is_cancelled_in_the_middle_goes_back() -> None:
    cluster = Cluster(bad={NEW}, at={3.0: stopped})
    with pytest.raises(Stopped):
        cluster.deployer().deploy(NEW, 180)
    assert image(cluster.live) == OLD
    assert f"web goes back to {OLD}" in cluster.said[-1]


def test_but_not_over_somebody_elses_image() -> None:
    def both(found: Cluster) -> None:
        found.set(OTHER)
        raise Stopped

    cluster = Cluster(bad={NEW}, at={3.0: both})
    with pytest.raises(Stopped):
        cluster.deployer().deploy(NEW, 180)
    assert image(cluster.live) == OTHER


# -- what is told ----------------------------------------------------------------------------------


def pod(name: str, wanted: str = NEW, **status: Any) -> Object:
    own = {"name": "app", "ready": False, "restartCount": 0} | status
    found = {"containers": [{"name": "app", "image": wanted}]}
    return {"metadata": {"name": name}, "spec": found, "status": {"containerStatuses": [own]}}


def test_what_a_program_printed_before_it_ended_is_told() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
    ended = {"terminated": {"reason": "Error", "exitCode": 2}}
    cluster = Cluster(bad={NEW}, pods=[pod("web-1", state=waiting, lastState=ended, restartCount=3), pod("web-0", OLD)])
    lines = [f"line {number}" for number in range(9)] + ["DATABASE_URL is not set"]
    cluster.logs["web-1 --container=app --tail=5 --previous"] = "\n".join(lines[-5:]) + "\n"
    failure(cluster)
    told = cluster.said[cluster.said.index("web-1/app waits: CrashLoopBackOff (back-off 20s)") :]
    assert told[1:3] == ["web-1/app ended: Error, exit 2", "web-1/app printed last:"]
    assert told[3:8] == [f"  {line}" for line in lines[-5:]]
    assert not any("web-0" in line for line in told), "pods of the old image are not the cause"


@pytest.mark.parametrize("looks", [2, 9])
def test_a_log_that_was_deleted_meanwhile_is_asked_for_again(looks: int) -> None:
    """Seen with a program that ended at once: the kubelet's refusal stood there in place of the program's words."""
    ended = {"terminated": {"reason": "Error", "exitCode": 3}}
    cluster = Cluster(bad={NEW}, pods=[pod("web-1", state={"waiting": {}}, lastState=ended, restartCount=2)])
    gone = "unable to retrieve container logs for containerd://673fdeee"
    for more in ("", " --previous"):
        cluster.logs[f"web-1 --container=app --tail=5{more}"] = gone
    asked = 0

    def kubectl(*words: str, stdin: str = "") -> str:
        nonlocal asked
        asked += words[0] == "logs"
        if asked > looks:
            cluster.logs["web-1 --container=app --tail=5 --previous"] = "DATABASE_URL is not set\n"
        return cluster.kubectl(*words, stdin=stdin)

    deployer = Deployer(kubectl, PLACE, lambda: cluster.time, cluster.sleep, cluster.said.append, "", 0)
    with pytest.raises(Failed):
        deployer.deploy(NEW, 180)
    assert not any("unable to retrieve" in line for line in cluster.said)
    assert ("  DATABASE_URL is not set" in cluster.said) is (looks == 2)
    assert asked == (3 if looks == 2 else 6)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (pod("p", state={"running": {}}), "p/app runs, but is not ready"),
        (pod("p", state={"waiting": {}}), "p/app waits: no reason is told"),
        (pod("p", state={"terminated": {"reason": "OOMKilled", "exitCode": 137}}), "p/app ended: OOMKilled, exit 137"),
    ],
)
def test_each_cause_is_a_line(found: Object, told: str) -> None:
    assert [*rollout.describe_pod(found)] == [told]


def test_a_pod_that_finds_no_node_is_told() -> None:
    found = {
        "metadata": {"name": "p"},
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes: Insufficient cpu"}]
        },
    }
    assert [*rollout.describe_pod(found)] == ["p: 0/2 nodes: Insufficient cpu"]


def test_no_right_to_read_logs_keeps_nothing_else_from_being_told() -> None:
    cluster = Cluster(bad={NEW}, pods=[pod("web-1", state={"running": {}})])
    assert "serves" in failure(cluster)
    assert "web-1/app runs, but is not ready" in cluster.said


# -- odd situations --------------------------------------------------------------------------------


def test_an_api_server_that_is_away_for_a_moment_is_waited_for() -> None:
    cluster = Cluster(slow=4, at={1.0: lambda c: c.broken.extend(["connection refused"] * 2)})
    cluster.deployer().deploy(NEW, 180)
    assert "the Deployment cannot be read: connection refused" in cluster.said


def test_one_that_cannot_be_read_at_first_is_told_before_anything_is_changed() -> None:
    cluster = Cluster(broken=["Unauthorized"])
    with pytest.raises(KubectlFailure, match="Unauthorized"):
        cluster.deployer().deploy(NEW, 180)
    assert image(cluster.live) == OLD


@pytest.mark.parametrize(("edit", "why"), [("container", "has no container app"), ("paused", "web is paused")])
def test_what_cannot_be_rolled_out_is_told_before_anything_is_changed(edit: str, why: str) -> None:
    cluster = Cluster()
    if edit == "paused":
        cluster.live["spec"]["paused"] = True
    else:
        del cluster.live["spec"]["template"]["spec"]["containers"][1]
    assert why in failure(cluster)
    assert not [words for words in cluster.words if words.startswith("patch")]


def test_no_pods_wanted_is_rolled_out() -> None:
    cluster = Cluster(deployment(replicas=0))
    cluster.deployer().deploy(NEW, 180)
    assert cluster.good == f"app={NEW}"


GIVEN = {
    "IMAGE": "r.test/app",
    "DIGEST": "sha256:" + "a" * 64,
    "NAMESPACE": "demo",
    "NAME": "web",
    "CONTAINER": "app",
    "ROLLOUT_SECONDS": "20",
}


@pytest.mark.parametrize(
    "environ",
    [
        {"NAMESPACE": ""},
        {"NAMESPACE": "--all"},
        {"NAME": "web other"},
        {"NAME": "-x"},
        {"CONTAINER": '"}}{{.x'},
        {"CONTAINER": "A"},
        {"DIGEST": "latest"},
        {"DIGEST": "sha256:x y"},
        {"ROLLOUT_SECONDS": "--x"},
        {"ROLLOUT_SECONDS": ""},
        {"ARRIVAL": "-1"},
        {"ARRIVAL": "1.5"},
        {"ARRIVAL": "٣"},
        {"ARRIVAL": "9" * 31},
        {"ARRIVAL": " "},
        {"PORT": "0"},
        {"PORT": "65536"},
        {"PORT": "http"},
        {"PORT": "080"},
    ],
)
def test_odd_values_reach_no_kubectl(environ: dict[str, str]) -> None:
    assert deploy.find_faults(GIVEN | environ)


@pytest.mark.parametrize(
    "environ", [{}, {"ARRIVAL": "", "PORT": ""}, {"ARRIVAL": "0", "PORT": "1"}, {"ARRIVAL": "9" * 30, "PORT": "65535"}]
)
def test_number_and_port_may_be_left_out(environ: dict[str, str]) -> None:
    assert deploy.find_faults(GIVEN | environ) == ""


def test_the_task_hands_over_the_annotation_of_its_run() -> None:
    """By the downward API: a parameter would have to be given by whatever starts runs."""
    [task] = load(PROJECT / "manifests/pipeline/task-deploy.yaml")
    given = {each["name"]: each for each in task["spec"]["steps"][0]["env"]}
    assert {*GIVEN, "PORT"} <= {*given}
    path = f"metadata.annotations['{ARRIVAL}']"
    assert given["RESULT_SUPERSEDED"]["value"] == f"$(results.{SUPERSEDED}.path)"
    assert [each["name"] for each in task["spec"]["results"]] == [SUPERSEDED]
    assert given["ARRIVAL"]["valueFrom"] == {"fieldRef": {"fieldPath": path}}


KUBECTL = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  *" get deployment web "*) cat "$LIVE" ;;
  *" patch deployment web "*) cp "$LIVE.after" "$LIVE.new"; mv "$LIVE.new" "$LIVE"; cat "$LIVE" ;;
  *" get lease deploy-web "*) if [ -e "$LIVE.lease" ]; then cat "$LIVE.lease"; fi ;;
  *" create --filename=- "*) sed 's/"metadata": {/&"resourceVersion": "1", /' > "$LIVE.lease"; cat "$LIVE.lease" ;;
  *" replace --filename=- "*) grep '"resourceVersion": "1"' > "$LIVE.lease"; cat "$LIVE.lease" ;;
  *) echo "unforeseen" >&2; exit 9 ;;
esac
"""


def test_the_program_is_ended_by_sigterm_and_sets_the_good_image_again(tmp_path: Path) -> None:
    """As Tekton ends a task that is cancelled or takes too long; with a stand-in for kubectl only."""
    program, log, live = tmp_path / "kubectl", tmp_path / "log", tmp_path / "live"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    live.write_text(json.dumps(deployment()))
    waiting = deployment(NEW)
    waiting["metadata"]["generation"] = 2
    (tmp_path / "live.after").write_text(json.dumps(waiting))
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log), "LIVE": str(live), "KUBECONFIG": "/none"}
    argv = [sys.executable, "-m", "bootstrap.incluster.deploy"]
    with subprocess.Popen(argv, cwd=PROJECT, env=environ | GIVEN, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f"web: app = {NEW}\n"
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == 1
    assert f"web goes back to {OLD}" in rest
    last = [line for line in log.read_text().splitlines() if " patch deployment " in f" {line}"][-1]
    assert f'"value": "{OLD}"' in last
    assert f'"op": "test", "path": "/spec/template/spec/containers/1/image", "value": "{NEW}"' in last
    assert json.loads((tmp_path / "live.lease").read_text())["spec"]["holderIdentity"] == "", "the next one may go on"


@pytest.mark.parametrize("result", ["result", ""])
def test_the_program_that_came_too_late_says_so_last_and_as_its_result(tmp_path: Path, result: str) -> None:
    program, log, live = tmp_path / "kubectl", tmp_path / "log", tmp_path / "live"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    live.write_text(json.dumps(noted("8")))
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log), "LIVE": str(live), "KUBECONFIG": "/none"}
    environ |= {"ARRIVAL": "7"} | ({"RESULT_SUPERSEDED": str(tmp_path / result)} if result else {})
    argv = [sys.executable, "-m", "bootstrap.incluster.deploy"]
    done = subprocess.run(argv, cwd=PROJECT, env=environ | GIVEN, capture_output=True, text=True, check=False)
    why = "superseded: web has the image of a later run (number 8, this is 7)"
    assert (done.returncode, done.stdout, done.stderr) == (1, f"deploy: {why}\n", "")
    asked = [line.split()[2:4] for line in log.read_text().splitlines()]
    assert asked == [["get", "lease"], ["create", "--filename=-"], ["get", "deployment"], ["replace", "--filename=-"]]
    assert not result or (tmp_path / result).read_text() == why


def test_a_program_that_fails_has_no_such_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main(GIVEN | {"PORT": "x", "RESULT_SUPERSEDED": str(tmp_path / "result")}) == 1
    assert capsys.readouterr().out == 'deploy: PORT "x" is not a port, 1 to 65535\n'
    assert list(tmp_path.iterdir()) == []


def test_what_is_to_be_made_reaches_kubectl_by_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\ncat\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert deploy.run_kubectl("demo")("create", "--filename=-", stdin="{}") == "{}"


def test_a_token_that_is_over_names_what_renews_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "error: You must be logged in to the server (Unauthorized)" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(KubectlFailure, match="invoke up renews it"):
        deploy.run_kubectl("demo")("get", "deployment", "web")
