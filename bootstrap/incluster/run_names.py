"""The names and labels of runs, the same whether this machine or the cluster starts them. Pure."""

from __future__ import annotations

import re

COMMIT = "tekton-bootstrap.dev/commit"
BRANCH = "tekton-bootstrap.dev/branch"
TRIGGER = "tekton-bootstrap.dev/trigger"
"""What started a run: push, poll or hand."""
LABEL_LENGTH = 63
SLUG_LENGTH, SHORT_COMMIT = 40, 12


def make_run_name(app: str, commit: str, suffix: str) -> str:
    """ "go-echo-3f9c2e1-x7k2p": a DNS label of at most 63 characters whatever comes in; suffix makes it unique."""
    tail = "-".join(part for part in (to_dns_label(commit[:7]), to_dns_label(suffix, 20)) if part)
    head = to_dns_label(app, LABEL_LENGTH - len(tail) - 1) or "run"
    name = f"{head}-{tail}" if tail else head
    return name if name[0].isalpha() else to_dns_label(f"r{name}")


def make_triggered_run_name(url: str, commit: str) -> str:
    """The name of a run that a push or the poller starts: "you-my-app-5b8ca62f01d3", always the same for the same.

    url: of the repository, http(s); commit: in full. manifests/listener/listener.yaml says the same in CEL.
    """
    path = re.sub(r"(\.git)?/*\Z", "", re.sub(r"^[a-z]+://[^/]*", "", url))
    slug = re.sub(r"[^A-Za-z0-9]+", "-", path).lower().strip("-")[:SLUG_LENGTH].rstrip("-")
    return f"{slug}-{commit[:SHORT_COMMIT]}".lstrip("-")


def to_dns_label(text: str, length: int = LABEL_LENGTH) -> str:
    """The text as a DNS label: lower case letters, digits and inner dashes; "" when nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[: max(0, length)].strip("-")


def to_label_value(text: str) -> str:
    """What may stand as a label's value: at most 63 of letters, digits, "-", "_" and ".", none of those at the ends."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("-_.")
    return clean[:LABEL_LENGTH].rstrip("-_.")
