"""How chat robots are spoken to: what each is sent, and what its answer means. Pure.

Formats, limits and codes after the robots' own documentation: DingTalk "custom robot" (open.dingtalk.com: markdown,
sign by timestamp and secret, 20 messages a minute), WeCom "group robot" (developer.work.weixin.qq.com, path 91770:
markdown up to 4096 bytes, 20 a minute), Slack "incoming webhooks" (docs.slack.dev: section texts up to 3000
characters, HTTP 429 with Retry-After), Feishu "custom bot" (open.feishu.cn: bodies up to 20 KB, sign in the body).
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bootstrap.incluster.text import one_line

Object = dict[str, Any]
ELLIPSIS = "…"
MARKS = {"succeeded": "✅", "failed": "❌", "cancelled": "⏹", "timed out": "⏰"}


@dataclass(frozen=True)
class Answer:
    """retry_after: seconds, None if the server does not say."""

    status: int
    body: bytes = b""
    retry_after: float | None = None


@dataclass(frozen=True)
class Verdict:
    """why: "" if it was taken. busy: it may be sent again, after `after` seconds."""

    why: str = ""
    busy: bool = False
    after: float = 1.0


@dataclass(frozen=True)
class Robot:
    """escape: makes other people's text mean nothing. body: (headline, text) -> JSON. limit: what the robot takes;
    size: how much of that a body is.

    code: name of the field that is 0 when the message was taken; busy: its values that ask to come again.
    """

    escape: Callable[[str], str]
    body: Callable[[str, str], Object]
    limit: int
    size: Callable[[Object], int]
    code: str = ""
    busy: frozenset[int] = frozenset()


# -- texts -------------------------------------------------------------------------------------------


def encode(body: Object) -> bytes:
    """As it is sent: UTF-8, in which a Chinese character is half as long as escaped."""
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters, with an ellipsis where something is missing."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[: max(0, limit - len(ELLIPSIS.encode()))].decode(errors="ignore") + ELLIPSIS


def markdown(text: str) -> str:
    """Without markup, links and mentions: `<@all>` is one at WeCom."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~>@])", r"\\\1", text).replace("<", "&lt;")


def slack(text: str) -> str:
    """Slack reads nothing else as markup than what stands between < and >."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plain(text: str) -> str:
    """Feishu reads tags in plain text: `<at user_id="all">`."""
    return text.replace("<", "(").replace(">", ")")


def headline(message: Mapping[str, Any]) -> str:
    status = str(message["status"])
    return f"{MARKS.get(status, '')} {message['pipelineRun']} {status} in {message['durationSeconds']} s".strip()


def text(message: Mapping[str, Any], escape: Callable[[str], str]) -> str:
    """One line per fact, and the last lines of the log of what failed."""
    commit = str(message["commit"])[:12]
    facts = {
        "repository": message["repository"],
        "branch": message["branch"],
        "commit": f"{commit} {message['message']}".strip(),
        "author": message["author"],
        "image": f"{message['image']}@{message['digest']}" if message["digest"] else "",
        "failed task": message["failedTask"],
    }
    lines = [f"- {name}: {escape(str(value))}" for name, value in facts.items() if value]
    tail = [f"  {escape(line)}" for line in str(message["logTail"]).splitlines()]
    return "\n".join([*lines, *tail])


# -- robots ------------------------------------------------------------------------------------------

BODY = 19_000
"""Bytes of a whole body at DingTalk (20,000) and Feishu (20 KB), with room for the signature."""

ROBOTS: Mapping[str, Robot] = {
    "dingtalk": Robot(
        markdown,
        lambda title, body: {"msgtype": "markdown", "markdown": {"title": title, "text": f"### {title}\n\n{body}"}},
        BODY,
        lambda body: len(encode(body)),
        "errcode",
        frozenset({-1, 130101, 410100}),
    ),
    "wecom": Robot(
        markdown,
        lambda title, body: {"msgtype": "markdown", "markdown": {"content": f"### {title}\n{body}"}},
        4096,
        lambda body: len(body["markdown"]["content"].encode()),
        "errcode",
        frozenset({-1, 45009, 45033}),
    ),
    "slack": Robot(
        slack,
        lambda title, body: {
            "text": title,
            "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*\n{body}"}}],
        },
        3000,
        lambda body: len(body["blocks"][0]["text"]["text"]),
    ),
    "feishu": Robot(
        plain,
        lambda title, body: {"msg_type": "text", "content": {"text": f"{title}\n{body}"}},
        BODY,
        lambda body: len(encode(body)),
        "code",
        frozenset({9499, 11232}),
    ),
}
SIGNED = frozenset({"dingtalk", "feishu"})
"""Those that a secret may be set for."""
A_MINUTE = 20
"""Messages that a robot takes; beyond that DingTalk takes none for ten minutes."""


def request(kind: str, url: str, secret: str, message: Mapping[str, Any], now: float) -> tuple[str, Object]:
    """(address, body) of one message. secret: "" for none. now: seconds since the epoch, part of the signature."""
    robot = ROBOTS[kind]
    body = _fitted(robot, headline(message), text(message, robot.escape))
    if secret and kind == "dingtalk":
        stamp = str(round(now * 1000))
        sign = quote(_signature(secret.encode(), f"{stamp}\n{secret}".encode()), safe="")
        return f"{url}{'&' if '?' in url else '?'}timestamp={stamp}&sign={sign}", body
    if secret and kind == "feishu":
        stamp = str(int(now))
        body = {"timestamp": stamp, "sign": _signature(f"{stamp}\n{secret}".encode(), b""), **body}
    return url, body


def _fitted(robot: Robot, title: str, text: str) -> Object:
    """With as much of the text as the robot takes. What JSON escapes is longer than it looks, so it is tried out."""
    bytes_of_text = len(text.encode(errors="replace"))

    def fits(room: int) -> bool:
        return robot.size(robot.body(title, cut(text, room))) <= robot.limit

    room = bytes_of_text
    if not fits(room):
        room = bisect.bisect_left(range(bytes_of_text), True, key=lambda room: not fits(room)) - 1
    return robot.body(title, cut(text, max(0, room)))


def verdict(kind: str, answer: Answer) -> Verdict:
    """What an answer means: HTTP 200 with a code other than 0 is a refusal."""
    if answer.status == 429 or answer.status >= 500:
        return Verdict(f"HTTP {answer.status}", busy=True, after=answer.retry_after or 1.0)
    if not 200 <= answer.status < 300:
        return Verdict(f"HTTP {answer.status}")
    robot = ROBOTS.get(kind)
    if robot is None or not robot.code:
        return Verdict()
    try:
        told = json.loads(answer.body)
        code = int(told[robot.code])
    except (ValueError, TypeError, KeyError):
        return Verdict("its answer was not understood")
    if code == 0:
        return Verdict()
    said = one_line(str(told.get("errmsg") or told.get("msg") or ""))[:120]
    return Verdict(f"{robot.code} {code} {said}".strip(), busy=code in robot.busy)


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
