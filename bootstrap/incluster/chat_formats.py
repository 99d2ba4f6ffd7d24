"""The message formats of chat robots: the body that each is sent, and what its answer means. Pure.

Formats, limits and codes after the robots' own documentation: DingTalk "custom robot" (open.dingtalk.com: markdown,
sign by timestamp and secret, 20 messages a minute, or none for ten minutes), WeCom "group robot"
(developer.work.weixin.qq.com, path 91770: markdown up to 4096 bytes, 20 a minute), Slack "incoming webhooks"
(docs.slack.dev: section texts up to 3000 characters, HTTP 429 with Retry-After), Feishu "custom bot" (open.feishu.cn:
bodies up to 20 KB, sign in the body; its answers had `StatusCode` once and have `code` now).
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.text import one_line

ELLIPSIS = "…"
NO_BREAK = "\N{NO-BREAK SPACE}"
MARKS = {"succeeded": "✅", "failed": "❌", "cancelled": "⏹", "timed out": "⏰", "superseded": "⏭"}


@dataclass(frozen=True)
class RobotAnswer:
    """The HTTP answer to one message. retry_after: seconds of that header, None if the server sent none."""

    status: int
    body: bytes = b""
    retry_after: float | None = None


@dataclass(frozen=True)
class SendResult:
    """What became of one attempt.

    why: the cause of a refusal, "" if the message was accepted. busy: it may be sent again, after `after` seconds.
    """

    why: str = ""
    busy: bool = False
    after: float = 1.0


@dataclass(frozen=True)
class Robot:
    """What is particular to one kind of chat robot.

    escape: removes the meaning that the robot's markup gives to other people's text. body: (headline, text) -> the JSON
    to send. size: how large a body is, in the unit of limit (bytes, or characters at Slack); limit: the largest that
    the robot accepts. codes: fields of the answer that are 0 when the message was accepted, those that count most
    first; () if only the HTTP status tells. busy: values of these fields that ask to send again later -> after how many
    seconds. signed: a secret may be set to sign messages with. show_log: the lines of a log, escaped -> as the robot
    shows each of them on a line of its own.
    """

    escape: Callable[[str], str]
    body: Callable[[str, str], Object]
    limit: int
    size: Callable[[Object], int]
    codes: tuple[str, ...] = ()
    busy: Mapping[int, float] = field(default_factory=dict)
    signed: bool = False
    show_log: Callable[[Sequence[str]], Sequence[str]] = lambda lines: [f"  {line}" for line in lines]


# -- texts -------------------------------------------------------------------------------------------


def encode_body(body: Object) -> bytes:
    """The bytes to send: JSON in UTF-8, in which a Chinese character is half as long as in an escape sequence."""
    return json.dumps(body, ensure_ascii=False).encode(errors="replace")


def cut_text(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters, with an ellipsis where something is missing."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[: max(0, limit - len(ELLIPSIS.encode()))].decode(errors="ignore") + ELLIPSIS


def escape_markdown(text: str) -> str:
    """Markdown text without markup, links and mentions: `<@all>` is a mention at WeCom."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~>@])", r"\\\1", text).replace("<", "&lt;")


def escape_slack(text: str) -> str:
    """Text for Slack, which gives a meaning only to what stands between < and > (and to & before those)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_plain(text: str) -> str:
    """Text for Feishu, which reads tags in plain text: `<at user_id="all">` is a mention."""
    return text.replace("<", "(").replace(">", ")")


def quote_lines(lines: Sequence[str]) -> list[str]:
    """Lines as a quotation in the markdown of DingTalk, where a single newline is a blank.

    Two blanks end a line. A line that would begin a list, a heading or a rule, or a block of code, gets an escape.
    """
    quoted = []
    for line in lines:
        bare = line.lstrip(" ")
        bare = re.sub(r"^([-=])", r"\\\1", re.sub(r"^(\d+)\.", r"\1\.", bare))
        quoted.append(f"> {NO_BREAK * (len(line) - len(line.lstrip(' ')))}{bare}  ")
    return ["", *quoted] if quoted else []


def format_headline(message: Mapping[str, Any]) -> str:
    """ "✅ go-echo-3f9c2e1 succeeded in 42 s". message: as `notify.compose_message` makes it."""
    status = str(message["status"])
    return f"{MARKS.get(status, '')} {message['pipelineRun']} {status} in {message['durationSeconds']} s".strip()


def format_text(message: Mapping[str, Any], robot: Robot) -> str:
    """One line per fact, and the last lines of the log of what failed. A run that was superseded has a reason."""
    commit = str(message["commit"])[:12]
    facts = {
        "reason": message["reason"],
        "repository": message["repository"],
        "branch": message["branch"],
        "commit": f"{commit} {message['message']}".strip(),
        "author": message["author"],
        "image": f"{message['image']}@{message['digest']}" if message["digest"] else "",
        "failed task": message["failedTask"],
    }
    lines = [f"- {name}: {robot.escape(str(value))}" for name, value in facts.items() if value]
    tail = robot.show_log([robot.escape(line) for line in str(message["logTail"]).splitlines()])
    return "\n".join([*lines, *tail])


# -- robots ------------------------------------------------------------------------------------------

MAX_BODY_BYTES = 19_000
"""Bytes of a whole body: below what DingTalk (20,000) and Feishu (20 KB) accept, for the signature is added later."""

BUSY_SECONDS = 1.0
"""Seconds to leave a robot alone that is busy, or that takes only so many messages at once."""
MINUTE = 60.0
"""Seconds to leave a robot alone that was sent too much in this minute."""

ROBOTS: Mapping[str, Robot] = {
    "dingtalk": Robot(
        escape_markdown,
        lambda title, body: {"msgtype": "markdown", "markdown": {"title": title, "text": f"### {title}\n\n{body}"}},
        MAX_BODY_BYTES,
        lambda body: len(encode_body(body)),
        ("errcode",),
        {-1: BUSY_SECONDS, 130101: MINUTE, 410100: MINUTE},
        signed=True,
        show_log=quote_lines,
    ),
    "wecom": Robot(
        escape_markdown,
        lambda title, body: {"msgtype": "markdown", "markdown": {"content": f"### {title}\n{body}"}},
        4096,
        lambda body: len(body["markdown"]["content"].encode()),
        ("errcode",),
        {-1: BUSY_SECONDS, 45009: MINUTE, 45033: BUSY_SECONDS},
    ),
    "slack": Robot(
        escape_slack,
        lambda title, body: {
            "text": title,
            "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*\n{body}"}}],
        },
        3000,
        lambda body: len(body["blocks"][0]["text"]["text"]),
    ),
    "feishu": Robot(
        escape_plain,
        lambda title, body: {"msg_type": "text", "content": {"text": f"{title}\n{body}"}},
        MAX_BODY_BYTES,
        lambda body: len(encode_body(body)),
        ("code", "StatusCode"),
        {9499: BUSY_SECONDS, 11232: BUSY_SECONDS},
        signed=True,
    ),
}
SIGNED = frozenset(kind for kind, robot in ROBOTS.items() if robot.signed)
"""Those that a secret may be set for."""
MESSAGES_PER_MINUTE = 20
"""Messages that a robot accepts; after more than that DingTalk accepts none for ten minutes."""


def build_request(kind: str, url: str, secret: str, message: Mapping[str, Any], now: float) -> tuple[str, Object]:
    """(address, body) of one message. secret: "" for none. now: seconds since the epoch, part of the signature."""
    robot = ROBOTS[kind]
    body = _fit_body(robot, format_headline(message), format_text(message, robot))
    if secret and kind == "dingtalk":
        stamp = str(round(now * 1000))
        sign = quote(_sign(secret.encode(), f"{stamp}\n{secret}".encode()), safe="")
        return f"{url}{'&' if '?' in url else '?'}timestamp={stamp}&sign={sign}", body
    if secret and kind == "feishu":
        stamp = str(int(now))
        body = {"timestamp": stamp, "sign": _sign(f"{stamp}\n{secret}".encode(), b""), **body}
    return url, body


def _fit_body(robot: Robot, title: str, text: str) -> Object:
    """A body with as much of the text as the robot accepts.

    JSON escapes some characters, so a body's size is not the sum of its texts: the longest text is found by bisection.
    """
    bytes_of_text = len(text.encode(errors="replace"))

    def is_too_long(length: int) -> bool:
        return robot.size(robot.body(title, cut_text(text, length))) > robot.limit

    length = bytes_of_text
    if is_too_long(length):
        length = bisect.bisect_left(range(bytes_of_text), True, key=is_too_long) - 1
    return robot.body(title, cut_text(text, max(0, length)))


def judge_answer(kind: str, answer: RobotAnswer) -> SendResult:
    """What an answer means. kind: a key of ROBOTS, or "generic". HTTP 200 with a code other than 0 is a refusal."""
    if answer.status == 429 or answer.status >= 500:
        return SendResult(f"HTTP {answer.status}", busy=True, after=answer.retry_after or 1.0)
    if not 200 <= answer.status < 300:
        return SendResult(f"HTTP {answer.status}")
    robot = ROBOTS.get(kind)
    if robot is None or not robot.codes:
        return SendResult()
    try:
        parsed = json.loads(answer.body)
        codes = {name: int(parsed[name]) for name in robot.codes if name in parsed}
    except (ValueError, TypeError):
        codes = {}
    if not codes:
        return SendResult("its answer was not understood")
    refusal = next(((name, code) for name, code in codes.items() if code), None)
    if refusal is None:
        return SendResult()
    name, code = refusal
    texts = ("StatusMessage",) if name == "StatusCode" else ("errmsg", "msg")
    said = one_line(next((str(parsed[each]) for each in texts if parsed.get(each)), ""))[:120]
    after = robot.busy.get(code)
    return SendResult(f"{name} {code} {said}".strip(), busy=after is not None, after=after or BUSY_SECONDS)


def _sign(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
