"""The names and labels of runs, the same whether this machine or the cluster starts them. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from bootstrap.incluster.repository_address import expand_scp_form

COMMIT = "tekton-bootstrap.dev/commit"
BRANCH = "tekton-bootstrap.dev/branch"
TRIGGER = "tekton-bootstrap.dev/trigger"
"""What started a run: push, poll or hand."""
APPLICATION = "tekton-bootstrap.dev/application"
ENVIRONMENT = "tekton-bootstrap.dev/environment"
"""Labels of the run of an application: its name, and which of its environments the run deploys to."""
ARRIVAL = "tekton-bootstrap.dev/arrival"
"""Annotation of a run, decimal digits: the later its commit came, the larger. Of a Deployment: that of the run that set
its image last."""
SUPERSEDED_BY = "tekton-bootstrap.dev/superseded-by"
"""Annotation of a run that was cancelled because another came after it: the name of that run."""
SUPERSEDED = "superseded"
"""A result by which a task that failed says that its work has become another run's affair, and the first word in it."""
IMAGE_FROM = "tekton-bootstrap.dev/image-from"
"""Annotation of a run that builds nothing: the environment in which its image served, its own where it goes back."""
LABEL_LENGTH = 63
SLUG_LENGTH, DIGEST_LENGTH, SHORT_COMMIT = 40, 8, 12
"""Characters of a run's name: together with two dashes at most LABEL_LENGTH."""
OWN_HOST = "git.git.svc.cluster.local"
"""The environment's own git server."""
DEFAULT_PORTS = {"http": ":80", "https": ":443", "ssh": ":22"}


def make_run_name(app: str, commit: str, suffix: str) -> str:
    """ "go-echo-3f9c2e1-x7k2p": a DNS label of at most 63 characters whatever comes in; suffix makes it unique."""
    tail = "-".join(part for part in (to_dns_label(commit[:7]), to_dns_label(suffix, 20)) if part)
    head = to_dns_label(app, LABEL_LENGTH - len(tail) - 1) or "run"
    name = f"{head}-{tail}" if tail else head
    return name if name[0].isalpha() else to_dns_label(f"r{name}")


def make_triggered_run_name(url: str, commit: str, names: Iterable[str] = ()) -> str:
    """The name of a run that a push or the poller starts: "go-echo-5b8ca62f01d3", always the same for the same.

    url, names: as of `make_run_prefix`; commit: in full. The listener has the prefixes of all that it watches, and adds
    the commit in CEL (`bootstrap.steps.listener`).
    """
    return f"{make_run_prefix(url, names)}-{commit[:SHORT_COMMIT]}"


def make_run_prefix(url: str, names: Iterable[str] = ()) -> str:
    """What the names of a repository's runs begin with; no two repositories share one.

    url: of the repository, http(s). names: repositories that are watched by OWNER/NAME, at whatever host: of these the
    name alone counts. A digest of all that tells the repository apart is part of it, but for the environment's own git
    server, as long as the path is short and needs no replacement: "go-echo".
    """
    address = normalize_url(url)
    host, _, path = address.partition("://")[2].partition("/")
    if path in names:
        return _add_digest(path, path)
    slug = to_dns_label(path, SLUG_LENGTH)
    return slug if host == OWN_HOST and slug == path else _add_digest(path, f"{host}/{path}")


def normalize_url(url: str) -> str:
    """The address of a repository as git hosts compare it: "HTTPS://Host:443/You/App.git/" -> "https://host/You/App".

    Without a login, with the scheme and the host in lower case, without the scheme's own port, and without `.git` and
    slashes at the end. Repositories are told apart by letters' case, for some git hosts do. The short form of ssh is
    the same as the long one: "git@Host:You/App.git" -> "ssh://host/You/App".
    """
    scheme, _, rest = expand_scp_form(url).partition("://")
    host, _, path = rest.partition("/")
    scheme, host = scheme.lower(), host.rpartition("@")[2].lower()
    host = host.removesuffix(DEFAULT_PORTS.get(scheme, ""))
    path = re.sub(r"(\.git)?/*\Z", "", path)
    return f"{scheme}://{host}/{path}"


def _add_digest(path: str, whole: str) -> str:
    digest = hashlib.sha256(whole.encode()).hexdigest()[:DIGEST_LENGTH]
    return f"{to_dns_label(path, SLUG_LENGTH)}-{digest}".lstrip("-")


def to_dns_label(text: str, length: int = LABEL_LENGTH) -> str:
    """The text as a DNS label: lower case letters, digits and inner dashes; "" when nothing of it is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[: max(0, length)].strip("-")


def to_label_value(text: str) -> str:
    """What may stand as a label's value: at most 63 of letters, digits, "-", "_" and ".", none of those at the ends."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("-_.")
    return clean[:LABEL_LENGTH].rstrip("-_.")
