"""What chat robots are sent, and what their answers mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from bootstrap.incluster import chat_formats
from bootstrap.incluster.chat_formats import RobotAnswer, SendResult
from bootstrap.incluster.kube_api import Api, ApiFailure
from bootstrap.incluster.rate_limit import RateLimit

MESSAGE: dict[str, Any] = {
    "pipelineRun": "go-echo-5b8ca62f01d3",
    "status": "failed",
    "reason": "",
    "repository": "http://git.test/go-echo.git",
    "branch": "release/1",
    "commit": "5b8ca62f01d3" + "0" * 28,
    "author": "Ada <ada@example.org>",
    "message": "<@all> <!here> **bold** [x](http://evil.test) 你好",
    "image": "registry/demo/go-echo",
    "digest": "",
    "durationSeconds": 21,
    "failedTask": "build-image",
    "logTail": "main.go:14:2: undefined\nexit 1",
}
NOW = 1_700_000_000.5


def body_of(kind: str, secret: str = "", **changes: Any) -> dict[str, Any]:
    return chat_formats.build_request(kind, "https://robot.test/send?key=k", secret, MESSAGE | changes, NOW)[1]


@pytest.mark.parametrize(
    ("text", "limit", "wanted"),
    [
        ("short", 5, "short"),
        ("too long", 7, "too …"),
        ("你好吗", 9, "你好吗"),
        ("你好吗", 8, "你…"),
        ("a😀b", 5, "a…"),
        ("é" * 4, 6, "é…"),
        ("x", 0, "…"),
    ],
)
def test_texts_are_cut_between_characters(text: str, limit: int, wanted: str) -> None:
    assert chat_formats.cut_text(text, limit) == wanted


LIMITS: dict[str, tuple[int, Callable[[Any], int]]] = {
    "dingtalk": (20_000, lambda body: len(json.dumps(body, ensure_ascii=False).encode())),
    "wecom": (4096, lambda body: len(body["markdown"]["content"].encode())),
    "slack": (3000, lambda body: len(body["blocks"][0]["text"]["text"])),
    "feishu": (20_000, lambda body: len(json.dumps(body, ensure_ascii=False).encode())),
}
"""Kind -> what the service's documentation says of the size, and how it counts."""


@pytest.mark.parametrize("text", ["错", "x", '"', "\\", "\n", "<", "😀"])
@pytest.mark.parametrize("kind", sorted(chat_formats.ROBOTS))
def test_bodies_stay_within_the_robots_limits(kind: str, text: str) -> None:
    """What JSON or the markup makes longer counts as well; nothing is cut that need not be."""
    body = body_of(kind, logTail=text * 50_000, message=text * 50_000)
    limit, size = LIMITS[kind]
    assert "…" in json.dumps(body, ensure_ascii=False)
    assert limit / 3 <= size(body) <= limit


@pytest.mark.parametrize("kind", sorted(chat_formats.ROBOTS))
def test_a_message_says_what_happened_and_calls_nobody(kind: str) -> None:
    text = json.dumps(body_of(kind), ensure_ascii=False)
    for part in ("failed in 21 s", "5b8ca62f01d3", "release/1", "你好"):
        assert part in text
    for part in ("<@all>", "<!here>", "**bold**", "[x](http"):
        assert part not in text or (kind in ("slack", "feishu") and part in ("**bold**", "[x](http"))


@pytest.mark.parametrize("kind", sorted(chat_formats.ROBOTS))
def test_a_run_that_was_superseded_is_told_without_alarm(kind: str) -> None:
    reason = "superseded by go-echo-9ab01cd"
    text = json.dumps(
        body_of(kind, status="superseded", reason=reason, failedTask="", logTail=""), ensure_ascii=False
    ).replace("\\", "")
    assert "⏭ go-echo-5b8ca62f01d3 superseded in 21 s" in text
    assert f"- reason: {reason}" in text
    assert "fail" not in text
    assert "- reason" not in json.dumps(body_of(kind))


@pytest.mark.parametrize(("kind", "robot"), chat_formats.ROBOTS.items())
def test_a_secret_may_be_set_for_those_robots_only_that_use_it(kind: str, robot: chat_formats.Robot) -> None:
    url = "https://robot.test/send"
    plain, signed = (chat_formats.build_request(kind, url, secret, MESSAGE, NOW) for secret in ("", "SECabc"))
    assert (signed != plain) is robot.signed


def test_dingtalk_is_signed_in_the_address() -> None:
    """The signature was computed with openssl dgst -sha256 -hmac SECRET, of "MILLISECONDS\\nSECRET"."""
    url, _ = chat_formats.build_request("dingtalk", "https://robot.test/send?access_token=t", "SECabc", MESSAGE, NOW)
    query = parse_qs(urlsplit(url).query)
    assert query["timestamp"] == ["1700000000500"]
    assert query["sign"] == ["59vZsOjkU+HGgaDE7l14G4I3K9U8HE8g2Vzn9FydvEM="]
    assert (
        chat_formats.build_request("dingtalk", "https://robot.test/send", "", MESSAGE, NOW)[0]
        == "https://robot.test/send"
    )


def test_feishu_is_signed_in_the_body() -> None:
    """Of nothing, with "SECONDS\\nSECRET" as the key; computed with openssl as well."""
    body = body_of("feishu", "SECabc")
    assert (body["timestamp"], body["sign"]) == ("1700000000", "XprR1de+0SSBnwWyU/4k6x2TL+Q2SJlM5NNEdAv7MWg=")
    assert "sign" not in body_of("feishu")


def test_dingtalk_is_given_a_log_whose_lines_stay_lines() -> None:
    """Its markdown shows a single newline as a blank, and what stands below a list's item as a part of that item."""
    log = "./main.go:31:7: unexpected name\n  - not a list\n1. no item\n===="
    lines = body_of("dingtalk", logTail=log)["markdown"]["text"].split("\n")
    start = lines.index("- failed task: build-image")
    assert lines[start + 1 :] == [
        "",
        "> ./main.go:31:7: unexpected name  ",
        "> \N{NO-BREAK SPACE}\N{NO-BREAK SPACE}\\- not a list  ",
        "> 1\\. no item  ",
        "> \\====  ",
    ]


def told(**body: Any) -> RobotAnswer:
    return RobotAnswer(200, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("kind", "answer", "wanted"),
    [
        ("dingtalk", told(errcode=0, errmsg="ok"), SendResult()),
        (
            "dingtalk",
            told(errcode=130101, errmsg="send too fast"),
            SendResult("errcode 130101 send too fast", busy=True, after=60.0),
        ),
        ("dingtalk", told(errcode=310000, errmsg="sign not match"), SendResult("errcode 310000 sign not match")),
        (
            "wecom",
            told(errcode=45009, errmsg="api freq out of limit"),
            SendResult("errcode 45009 api freq out of limit", busy=True, after=60.0),
        ),
        ("wecom", told(errcode=-1), SendResult("errcode -1", busy=True)),
        ("wecom", told(errcode=45033), SendResult("errcode 45033", busy=True)),
        ("dingtalk", told(errcode=410100), SendResult("errcode 410100", busy=True, after=60.0)),
        ("wecom", told(errcode=93000, errmsg="invalid webhook url"), SendResult("errcode 93000 invalid webhook url")),
        ("feishu", told(code=0, msg="success"), SendResult()),
        ("feishu", told(code=11232, msg="frequency limited"), SendResult("code 11232 frequency limited", busy=True)),
        ("feishu", told(code=19021, msg="sign match fail"), SendResult("code 19021 sign match fail")),
        ("feishu", told(StatusCode=0, StatusMessage="success", Extra=None), SendResult()),
        ("feishu", told(StatusCode=0, StatusMessage="success", code=0, msg="success"), SendResult()),
        (
            "feishu",
            told(StatusCode=0, StatusMessage="success", code=19024, msg="Key Words Not Found"),
            SendResult("code 19024 Key Words Not Found"),
        ),
        (
            "feishu",
            told(StatusCode=19001, StatusMessage="param invalid"),
            SendResult("StatusCode 19001 param invalid"),
        ),
        ("feishu", told(data={}), SendResult("its answer was not understood")),
        ("slack", RobotAnswer(200, b"ok"), SendResult()),
        ("slack", RobotAnswer(404, b"no_service"), SendResult("HTTP 404")),
        ("slack", RobotAnswer(429, b"", 30.0), SendResult("HTTP 429", busy=True, after=30.0)),
        ("wecom", RobotAnswer(200, b"<html>"), SendResult("its answer was not understood")),
        ("generic", RobotAnswer(204), SendResult()),
        ("generic", RobotAnswer(503), SendResult("HTTP 503", busy=True)),
    ],
)
def test_what_an_answer_means(kind: str, answer: RobotAnswer, wanted: SendResult) -> None:
    assert chat_formats.judge_answer(kind, answer) == wanted


class SentApi:
    """The ConfigMap of the last messages. conflicts: how often another run is quicker."""

    def __init__(self, times: str, conflicts: int = 0) -> None:
        self.times = times
        self.conflicts = conflicts

    def request(self, method: str, path: str, body: Any = None, kind: str = "") -> dict[str, Any]:
        if method == "GET":
            return {"metadata": {"resourceVersion": "7"}, "data": {"times": self.times}}
        assert body["metadata"]["resourceVersion"] == "7"
        if self.conflicts:
            self.conflicts -= 1
            raise ApiFailure(409, "conflict")
        self.times = body["data"]["times"]
        return {}


def take(api: SentApi, now: float = 1000.0) -> tuple[str, list[float]]:
    clock, slept = [now], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    return RateLimit(cast(Api, api), "cicd", sleep, lambda: clock[0]).take(), slept


def test_a_turn_is_taken_and_remembered() -> None:
    api = SentApi("[900, 990]", conflicts=2)
    assert take(api) == ("", [0.1, 0.1])
    assert json.loads(api.times) == [990, 1000.2]


def test_the_twenty_first_waits_a_little_and_not_long() -> None:
    full = json.dumps([950.0] * 20)
    assert take(SentApi(full))[0] == ""
    held, slept = take(SentApi(json.dumps([995.0] * 20)))
    assert held == "20 messages in the last minute"
    assert sum(slept) <= 20


def test_rubbish_counts_as_nothing() -> None:
    assert take(SentApi("rubbish"))[0] == ""
