"""Kubeconfigs as values: read one context out of a text or a document, build a minimal one. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bootstrap.core import untrusted
from bootstrap.core.errors import PreconditionError, UsageError
from bootstrap.core.model import Object, Secret

Config = str | Mapping[str, Any]
"""A kubeconfig: its YAML text, or what that says."""


@dataclass(frozen=True)
class Access:
    """One context of a kubeconfig.

    server: URL. ca: PEM text, "" if the file names a path or relies on the system's CAs.
    insecure: the server's certificate is not checked. namespace: the context's own, "" if none.
    user: the user entry's name; its credentials stay in the file. tls_server_name: the name that the server's
    certificate is checked for in place of the address's, "" if none. proxy_url: the proxy to the server, "" if none.
    """

    context: str
    cluster: str
    user: str
    server: str
    ca: str = ""
    insecure: bool = False
    namespace: str = ""
    tls_server_name: str = ""
    proxy_url: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine's loopback, where no pod reaches it."""
        return is_loopback(self.server)


def read_access(config: Config, context: str, *, source: str = "kubeconfig") -> Access:
    """What `context` of a kubeconfig points at. source: the file, for messages.

    Raises PreconditionError when a text is no kubeconfig, has no such context, or the context
    names a cluster that is not there.
    """
    document = _parse(config, source)
    link = _find_entry(document, "contexts", context, "context", source)
    cluster_name = str(link.get("cluster", ""))
    cluster = _find_entry(document, "clusters", cluster_name, "cluster", source)
    server = str(cluster.get("server", ""))
    if not urlsplit(server).hostname:
        raise PreconditionError(f"{source}: cluster {cluster_name} has no usable server address")
    return Access(
        context=context,
        cluster=cluster_name,
        user=str(link.get("user", "")),
        server=server,
        ca=_decode(cluster.get("certificate-authority-data"), source),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=str(link.get("namespace") or ""),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
    )


_PLAIN_CLUSTER = {"server", "certificate-authority-data"}
_PLAIN_USER = {"client-certificate-data", "client-key-data", "token"}


@dataclass(frozen=True)
class ClusterLogin:
    """How a kubeconfig that holds all it needs logs in.

    Ca, certificate: PEM. Certificate and key, or token, may be empty.
    """

    server: str
    ca: str
    certificate: str = ""
    key: Secret = Secret("")
    token: Secret = Secret("")


def read_plain_login(config: Config, context: str) -> ClusterLogin | None:
    """What `context` needs to log in, if the file itself holds all of it, as kind's does; None for anything else."""
    try:
        document = minify(config, context)
        cluster = document["clusters"][0]["cluster"]
        user = document["users"][0]["user"]
        if not ({*cluster} == _PLAIN_CLUSTER and user and {*user} <= _PLAIN_USER):
            return None
        return ClusterLogin(
            server=str(cluster["server"]),
            ca=_decode(cluster["certificate-authority-data"], "kubeconfig"),
            certificate=_decode(user.get("client-certificate-data"), "kubeconfig"),
            key=Secret(_decode(user.get("client-key-data"), "kubeconfig")),
            token=Secret(str(user.get("token") or "")),
        )
    except (PreconditionError, KeyError, IndexError, TypeError):
        return None


def list_contexts(config: Config, *, source: str = "kubeconfig") -> list[str]:
    """The names of all contexts, in the file's order. Raises PreconditionError."""
    return [str(each["name"]) for each in _list_entries(_parse(config, source), "contexts") if "name" in each]


def read_current_context(config: Config, *, source: str = "kubeconfig") -> str:
    """The context that the file itself names as current. Raises PreconditionError if it names none."""
    name = _parse(config, source).get("current-context")
    if not name:
        raise PreconditionError(f"{source} names no current context", hint="set target.context in invoke.yaml")
    return str(name)


def minify(config: Config, context: str, *, source: str = "kubeconfig") -> Object:
    """The kubeconfig with only `context`, its cluster and its user, and current-context set to it.

    A context without a user has none afterwards either. Raises PreconditionError as `read_access` does, and when the
    context names a user that is not there.
    """
    chosen = read_access(config, context, source=source)
    document = _parse(config, source)
    wanted = {"contexts": context, "clusters": chosen.cluster, "users": chosen.user}
    if chosen.user:
        _find_entry(document, "users", chosen.user, "user", source)
    kept = {
        list_: [each for each in _list_entries(document, list_) if each.get("name") == name]
        for list_, name in wanted.items()
    }
    return {"apiVersion": "v1", "kind": "Config", "current-context": context, **kept}


def make_with_token(
    server: str,
    ca: str,
    token: Secret,
    *,
    namespace: str,
    name: str = "target",
    tls_server_name: str = "",
    proxy_url: str = "",
) -> Object:
    """A minimal kubeconfig: one cluster, one user with a bearer token, one context, all called `name`.

    server: URL as its reader reaches it. ca: PEM text; "" leaves the check to the system's CAs. tls_server_name,
    proxy_url: as in `Access`.
    The result holds the token in the clear: it may go into a Secret or a 0600 file, nowhere else.
    """
    cluster = {"server": server}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca.encode()).decode()
    if tls_server_name:
        cluster["tls-server-name"] = tls_server_name
    if proxy_url:
        cluster["proxy-url"] = proxy_url
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token.reveal()}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }


def is_loopback(server: str) -> bool:
    """The URL's host is localhost or a loopback address (127.0.0.0/8, ::1), or the wildcard that kind may write."""
    host = urlsplit(server).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _parse(config: Config, source: str) -> Mapping[str, Any]:
    """The document of a kubeconfig. Raises PreconditionError."""
    if not isinstance(config, str):
        return config
    try:
        [document] = untrusted.load_yaml(config, source)
    except UsageError as error:
        fault = error.faults[0]
        raise PreconditionError(f"{source}{f', line {fault.line}' if fault.line else ''}: {fault.text}") from None
    except ValueError:  # none, or several
        document = None
    if not isinstance(document, dict):
        raise PreconditionError(f"{source} is not a kubeconfig")
    return document


def _list_entries(document: Mapping[str, Any], list_: str) -> Sequence[Mapping[str, Any]]:
    entries = document.get(list_)
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []


def _find_entry(document: Mapping[str, Any], list_: str, name: str, what: str, source: str) -> Mapping[str, Any]:
    """The body of the entry called `name`: `{"name": ..., "<what>": body}`. Raises PreconditionError."""
    named = [each for each in _list_entries(document, list_) if each.get("name") == name]
    if not named:
        have = ", ".join(str(each.get("name")) for each in _list_entries(document, list_)) or "none"
        raise PreconditionError(f"{source} has no {what} {name or '(unnamed)'}; it has: {have}")
    body = named[0].get(what)
    return body if isinstance(body, dict) else {}


def _decode(data: object, source: str) -> str:
    """The PEM text of base64 data, "" for none; its lines may be broken, as for kubectl. Raises PreconditionError."""
    if not data:
        return ""
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", str(data)), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise PreconditionError(f"{source}: certificate-authority-data is not base64 of a PEM text") from None
