"""The renewal of the pipeline's token, against an API server that behaves badly where a real one may."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest

from bootstrap.incluster.kube_api import MERGE, Api, ApiFailure
from bootstrap.incluster.token_claims import Claims, is_due, read_claims
from bootstrap.incluster.token_renewal import TokenRenewal

Object = dict[str, Any]
NOW = 1_800_000_000.0
HOUR = 3600
SECRET = "/api/v1/namespaces/cicd/secrets/target-kubeconfig"
TOKENS = "/api/v1/namespaces/shop/serviceaccounts/pipeline-deployer/token"


def token(issued: float = NOW, hours: float = 720) -> str:
    bound = {"namespace": "shop", "serviceaccount": {"name": "pipeline-deployer", "uid": "u1"}}
    claims = {"iat": issued, "exp": issued + hours * HOUR, "kubernetes.io": bound}
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


def kubeconfig(given: str, server: str = "https://far.example:6443") -> Object:
    return {"clusters": [{"cluster": {"server": server}}], "users": [{"user": {"token": given}}]}


class FakeApi:
    """answers: "METHOD path" -> what is answered, or raised. asked: (METHOD, path, body), in order."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.closed = False

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        assert (kind == MERGE) == (method == "PATCH")
        self.asked.append((method, path, body))
        answer = self.answers[f"{method} {path}"]
        if isinstance(answer, ApiFailure):
            raise answer
        return cast(Object, answer)

    def close(self) -> None:
        self.closed = True


class Place:
    """A Secret with a token, the API that has it, and the one that is deployed to."""

    def __init__(self, given: str, server: str = "https://far.example:6443") -> None:
        self.own, self.target = FakeApi(), FakeApi()
        self.said: list[str] = []
        data = base64.b64encode(json.dumps(kubeconfig(given, server)).encode()).decode()
        self.own.answers[f"GET {SECRET}"] = {"metadata": {"resourceVersion": "7"}, "data": {"kubeconfig": data}}
        self.own.answers[f"PATCH {SECRET}"] = {}
        self.own.answers["POST /api/v1/namespaces/cicd/events"] = {}
        self.target.answers[f"POST {TOKENS}"] = {"status": {"token": token()}}

    def run(self) -> int:
        renewal = TokenRenewal(
            cast(Api, self.own),
            "cicd",
            "target-kubeconfig",
            self.said.append,
            lambda document: cast(Api, self.target),
            lambda: NOW,
        )
        return renewal.run()

    @property
    def kept(self) -> Object | None:
        bodies = [body for method, _, body in self.own.asked if method == "PATCH"]
        return cast(Object, json.loads(base64.b64decode(bodies[0]["data"]["kubeconfig"]))) if bodies else None


def test_a_token_that_has_most_of_its_life_left_stays() -> None:
    place = Place(token(NOW - 200 * HOUR))
    assert place.run() == 0
    assert place.said == ["the token is good for 21.7 days more"]
    assert place.target.asked == []
    assert place.kept is None


@pytest.mark.parametrize("age", [300, 719.9])
def test_an_older_one_asks_for_its_successor_with_the_same_life(age: float) -> None:
    place = Place(token(NOW - age * HOUR))
    assert place.run() == 0
    [(_, path, body)] = place.target.asked
    assert (path, body["spec"]) == (TOKENS, {"expirationSeconds": 720 * HOUR})
    assert place.kept == kubeconfig(token())
    [patch] = [body for method, _, body in place.own.asked if method == "PATCH"]
    assert patch["metadata"]["resourceVersion"] == "7", "one that `up` has minted meanwhile stays"
    assert place.target.closed
    assert token() not in place.said[0]


def test_a_server_behind_a_path_is_asked_below_it() -> None:
    place = Place(token(NOW - 700 * HOUR), "https://gate.example/k8s/clusters/c-1/")
    place.target.answers = {f"POST /k8s/clusters/c-1{TOKENS}": {"status": {"token": token()}}}
    assert place.run() == 0


def test_a_failure_is_told_by_an_event_and_names_what_to_type() -> None:
    place = Place(token(NOW - 800 * HOUR))
    place.target.answers[f"POST {TOKENS}"] = ApiFailure(401, "HTTP 401 from the API: Unauthorized")
    assert place.run() == 1
    assert place.kept is None
    [event] = [body for method, path, body in place.own.asked if path.endswith("/events")]
    assert event["reason"] == "TokenRenewalFailed"
    assert "HTTP 401" in event["message"]
    assert "invoke up" in event["message"]


@pytest.mark.parametrize("answer", [{}, {"status": {}}, {"status": None}])
def test_an_answer_without_a_token_changes_nothing(answer: Object) -> None:
    place = Place(token(NOW - 700 * HOUR))
    place.target.answers[f"POST {TOKENS}"] = answer
    assert place.run() == 1
    assert place.kept is None


@pytest.mark.parametrize("data", [{}, {"kubeconfig": "!"}, {"kubeconfig": base64.b64encode(b"a: yaml").decode()}])
def test_a_secret_that_is_not_ours_is_told(data: Object) -> None:
    place = Place(token())
    place.own.answers[f"GET {SECRET}"] = {"metadata": {"resourceVersion": "7"}, "data": data}
    assert place.run() == 1
    assert "invoke up" in place.said[0]


def test_a_conflict_is_told_and_the_token_is_not_in_it() -> None:
    place = Place(token(NOW - 700 * HOUR))
    place.own.answers[f"PATCH {SECRET}"] = ApiFailure(409, "HTTP 409 from the API")
    assert place.run() == 1
    assert token() not in " ".join(place.said)


def test_claims() -> None:
    claims = read_claims(token())
    assert claims == Claims("shop", "pipeline-deployer", "u1", NOW, NOW + 720 * HOUR)
    assert not is_due(claims, NOW + 239 * HOUR)
    assert is_due(claims, NOW + 241 * HOUR)
    for text in ("", "a.b.c", "a", f"h.{base64.urlsafe_b64encode(b'[]').decode()}.s"):
        with pytest.raises(ValueError, match="no token"):
            read_claims(text)
