"""Chat robots as their documentation describes them: what they take, and with which code they refuse.

On the standard library alone: the end-to-end tests run this file's text in a pod (tests/e2e/receiver.py).
The address says how a robot is: /KIND/robot?token=T. With `busy=N` the first N messages of a token find it busy.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
import urllib.parse
from collections import Counter
from typing import Any

SECRET = "SECe2e"
HOUR = 3600
Answer = tuple[int, dict[str, str], bytes]


def code(name: str, number: int, text: str) -> Answer:
    """As all of them but Slack answer: HTTP 200 whatever it is, and a code."""
    key = "msg" if name == "code" else "errmsg"
    return 200, {"Content-Type": "application/json"}, json.dumps({name: number, key: text}).encode()


def sign(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def dingtalk(query: dict[str, str], body: Any, busy: bool) -> Answer:
    stamp = query.get("timestamp", "0")
    if abs(time.time() - int(stamp) / 1000) > HOUR:
        return code("errcode", 310000, "invalid timestamp")
    if query.get("sign") != sign(SECRET, f"{stamp}\n{SECRET}"):
        return code("errcode", 310000, "sign not match")
    if busy:
        return code("errcode", -1, "system busy")
    markdown = body.get("markdown") or {}
    if body.get("msgtype") != "markdown" or not markdown.get("title") or not markdown.get("text"):
        return code("errcode", 400105, "unsupported msgtype")
    if len(json.dumps(body, ensure_ascii=False).encode()) > 20_000:
        return code("errcode", 460101, "message too long, exceed 20000 bytes")
    return code("errcode", 0, "ok")


def wecom(query: dict[str, str], body: Any, busy: bool) -> Answer:
    if not query.get("token"):
        return code("errcode", 93000, "invalid webhook url")
    if busy:
        return code("errcode", 45033, "api concurrent out of limit")
    content = (body.get("markdown") or {}).get("content", "")
    if body.get("msgtype") != "markdown" or not content:
        return code("errcode", 40008, "invalid message type")
    if len(content.encode()) > 4096:
        return code("errcode", 40058, "markdown.content exceed max length 4096")
    return code("errcode", 0, "ok")


def feishu(query: dict[str, str], body: Any, busy: bool) -> Answer:
    stamp = str(body.get("timestamp", "0"))
    if abs(time.time() - int(stamp)) > HOUR or body.get("sign") != sign(f"{stamp}\n{SECRET}", ""):
        return code("code", 19021, "sign match fail or timestamp is not within one hour from current time")
    if busy:
        return code("code", 11232, "frequency limited psm[lark.oapi.app_platform_runtime]")
    if body.get("msg_type") != "text" or not (body.get("content") or {}).get("text"):
        return code("code", 9499, "Bad Request")
    if len(json.dumps(body, ensure_ascii=False).encode()) > 20_000:
        return code("code", 9499, "too large")
    return code("code", 0, "success")


def slack(query: dict[str, str], body: Any, busy: bool) -> Answer:
    if not query.get("token"):
        return 404, {}, b"no_service"
    if busy:
        return 429, {"Retry-After": "1"}, b"rate_limited"
    sections = [each["text"]["text"] for each in body.get("blocks", ())]
    if not body.get("text") or not sections or max(map(len, sections)) > 3000:
        return 400, {}, b"invalid_blocks"
    return 200, {}, b"ok"


KINDS = {"dingtalk": dingtalk, "wecom": wecom, "feishu": feishu, "slack": slack}


class Robots:
    """told: (kind, message, what was answered), in order; only messages that could be read."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, str]] = []
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer(self, path: str, text: bytes) -> Answer:
        parts = urllib.parse.urlsplit(path)
        kind = parts.path.split("/")[1]
        if kind not in KINDS:
            return 404, {}, b"no such robot"
        query = dict(urllib.parse.parse_qsl(parts.query))
        try:
            body = json.loads(text)
        except ValueError:
            return 400, {}, b"invalid_payload"
        with self._lock:
            place = f"{kind} {query.get('token', '')}"
            self._asked[place] += 1
            made = KINDS[kind](query, body, busy=self._asked[place] <= int(query.get("busy", 0)))
            self.told.append((kind, body, made[2].decode()))
        return made


class Handler(http.server.BaseHTTPRequestHandler):
    robots: Robots

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.robots.answer(self.path, text)
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.heard(text, body)

    def heard(self, body: bytes, answer: bytes) -> None:
        """For whoever wants to tell what was said."""

    def log_message(self, *_: object) -> None:
        pass
