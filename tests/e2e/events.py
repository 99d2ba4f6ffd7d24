"""The deliveries of tests/events.yaml, as they are sent: composed, each of a commit of its own, and signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bootstrap.core import constants
from bootstrap.core.paths import PROJECT

TABLE = yaml.safe_load((PROJECT / "tests/events.yaml").read_text())
OTHER_SECRET = "another secret"
GITHUB = {"header": "X-Hub-Signature-256", "holds": "sha256=HMAC"}


@dataclass(frozen=True)
class Event:
    """name: what it is. stops: the gate, "" if it becomes a run."""

    name: str
    commit: str
    stops: str
    headers: Mapping[str, str]
    body: bytes


def events(secret: str) -> Iterator[Event]:
    """Those that are for a listener with the default settings. secret: shared with it."""
    for row in TABLE["events"]:
        if "settings" not in row:
            yield compose(row, secret)


def compose(row: Mapping[str, Any], secret: str) -> Event:
    """Of another commit than in the table: those of one commit would hide behind one run."""
    commit = secrets.token_hex(20)
    delivery = TABLE["deliveries"][row["of"]]
    text = json.dumps(merged(delivery["body"], row.get("body", {}))).replace(TABLE["commit"], commit)
    body = text.encode()
    headers = {"Content-Type": "application/json", **row.get("headers", delivery["headers"])}
    headers |= signed(row["of"], row.get("signature", "valid"), body, secret)
    after = str(json.loads(text).get("after", commit))
    return Event(row["is"], after if not row.get("stops") else commit, row.get("stops", ""), headers, body)


def push(commit: str, *, ref: str = "refs/heads/main", url: str = constants.GIT_URL, **other: Any) -> dict[str, Any]:
    """The body of GitHub's push event."""
    patch = {"ref": ref, "after": commit, "repository": {"clone_url": url}, **other}
    found: dict[str, Any] = merged(TABLE["deliveries"]["github-push"]["body"], patch)
    return found


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(of: str, how: str, body: bytes, secret: str) -> dict[str, str]:
    """The header by which a delivery proves itself; how: see tests/events.yaml."""
    host, _, fault = how.partition("-")
    if host in TABLE["proofs"]:
        how = fault or "valid"
    elif not TABLE["proofs"].get(host := of.partition("-")[0], {}).get("alone"):
        host = "github"
    proof = TABLE["proofs"].get(host, GITHUB)
    if how in ("none", "empty"):
        return {}
    key = OTHER_SECRET if how == "wrong" else secret
    value = signature(b"another body" if how == "other" else body, key)
    if how == "sha1":
        return {"X-Hub-Signature": "sha1=" + hmac.new(key.encode(), body, hashlib.sha1).hexdigest()}
    if proof["holds"] == "secret":
        value = value if how == "other" else key
    elif proof["holds"] == "hmac":
        value = value.removeprefix("sha256=")
    beside = {GITHUB["header"]: signature(body, OTHER_SECRET)} if how == "beside" else {}
    return {proof["header"]: value, **beside}


def merged(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    base = value if isinstance(value, dict) else {}
    kept = {key: each for key, each in base.items() if key not in patch}
    return kept | {key: merged(base.get(key), each) for key, each in patch.items() if each is not None}
