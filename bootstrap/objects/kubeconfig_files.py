"""Kubeconfig files, read and merged as kubectl does; what cannot be done as kubectl would is refused by field and file.

Of several files the first that has a cluster, a user, a context or the current context decides about it (client-go,
tools/clientcmd/loader.go). Paths within a file are relative to its folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.core import untrusted
from bootstrap.core.errors import PreconditionError, UsageError
from bootstrap.core.model import Object, Secret
from bootstrap.incluster.text import one_line
from bootstrap.objects.kubeconfig import is_loopback, list_contexts, minify

MAX_BYTES = 4 << 20
"""Of one file; client certificates and keys are some thousand bytes each."""
_ENTRIES = {"clusters": "cluster", "users": "user", "contexts": "context"}
_PATHS = {
    "clusters": ("certificate-authority",),
    "users": ("client-certificate", "client-key", "tokenFile"),
    "contexts": (),
}
_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")
_LOGINS = ("token", "tokenFile", "exec", "auth-provider", "username", "client-certificate", "client-certificate-data")


def list_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The user's kubeconfig files, by priority: those of KUBECONFIG, else ~/.kube/config."""
    listed = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return listed or [Path(environ.get("HOME") or Path.home()) / ".kube" / "config"]


def locate(context: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The first of the user's kubeconfig files that has `context`.

    Missing files are passed over, as kubectl does. Raises PreconditionError, naming the contexts that there are, and
    for a file that cannot be read.
    """
    seen: list[str] = []
    for file in list_files(environ):
        document = _read_file(file)
        here = list_contexts(document, source=str(file)) if document is not None else []
        if context in here:
            return file
        seen += here
    raise PreconditionError(
        f"there is no context {context} in your kubeconfig; it has: {', '.join(seen) or 'none'}",
        hint="kubectl config get-contexts",
    )


def read_files(files: Sequence[Path]) -> Object:
    """The kubeconfig that these files are together, with absolute paths. Raises PreconditionError."""
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", **{list_: [] for list_ in _ENTRIES}}
    for file in files:
        document = _read_file(file)
        if document is None:
            continue
        if document.get("current-context") and "current-context" not in merged:
            merged["current-context"] = str(document["current-context"])
        for list_ in _ENTRIES:
            known = {each["name"] for each in merged[list_]}
            merged[list_] += [each for each in _read_entries(document, list_, file) if each["name"] not in known]
    return merged


def read_login(files: Sequence[Path], context: str) -> Object:
    """The one context of these files with all that it needs to log in, checked.

    A token file is read and trimmed, as kubectl does, and takes the place of `token`. Raises PreconditionError for what
    is missing, contradicts itself, or cannot be done as kubectl would.
    """
    source = ":".join(map(str, files))
    document = minify(read_files(files), context, source=source)
    cluster = document["clusters"][0]
    document["users"] = document["users"] or [{"name": "", "user": {}}]
    user = document["users"][0]
    for fault in _find_faults(cluster["cluster"], user["user"]):
        raise PreconditionError(f"{source}: {fault} (cluster {cluster['name']}, user {user['name']})")
    _check_program(user["user"], source)
    user["user"] = _read_token(user["user"], source)
    return document


def list_token_files(document: Object) -> list[Path]:
    """The files that `read_login` has read a token from: it may change in them."""
    return [Path(each["user"]["tokenFile"]) for each in document["users"] if each["user"].get("tokenFile")]


def _read_file(file: Path) -> Mapping[str, Any] | None:
    """The document of one file, {} of an empty one, None if it is not there. Raises PreconditionError."""
    try:
        [document] = untrusted.load_yaml(untrusted.read_file(file, MAX_BYTES).decode(), str(file)) or [{}]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PreconditionError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PreconditionError(f"{file} is not UTF-8 text") from None
    except UsageError as error:
        fault = error.faults[0]
        raise PreconditionError(f"{file}{f', line {fault.line}' if fault.line else ''}: {fault.text}") from None
    except ValueError:
        raise PreconditionError(f"{file} is not a kubeconfig: it has several documents") from None
    if document is not None and not isinstance(document, dict):
        raise PreconditionError(f"{file} is not a kubeconfig")
    return document or {}


def _read_entries(document: Mapping[str, Any], list_: str, file: Path) -> Iterator[Object]:
    """The named entries of a list, with absolute paths; a name that YAML takes for a number is a text."""
    entries = document.get(list_)
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or "name" not in entry:
            continue
        body = entry.get(_ENTRIES[list_])
        body = dict(body) if isinstance(body, dict) else {}
        folder = file.absolute().parent
        for key in _PATHS[list_]:
            if body.get(key):
                body[key] = str(folder / str(body[key]))
        program = body.get("exec") if list_ == "users" else None
        if isinstance(program, dict) and "/" in str(program.get("command", "")):
            body["exec"] = {**program, "command": str(folder / str(program["command"]))}
        yield {"name": str(entry["name"]), _ENTRIES[list_]: body}


def _find_faults(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> Iterator[str]:
    """What kubectl would do and we would not, or what it refuses."""
    server = urlsplit(str(cluster.get("server", "")))
    has_ca = bool(cluster.get("certificate-authority") or cluster.get("certificate-authority-data"))
    if server.scheme not in ("http", "https"):
        yield f"server: {server.geturl()} is neither https nor http"
    if has_ca and cluster.get("insecure-skip-tls-verify"):
        yield "insecure-skip-tls-verify: true together with a certificate-authority; one of them is wrong"
    if cluster.get("proxy-url") and urlsplit(str(cluster["proxy-url"])).scheme not in ("http", "https"):
        yield "proxy-url: only http and https proxies are supported"
    yield from (f"{key}: acting as somebody else is not supported" for key in _IMPERSONATION if user.get(key))
    logs_in = any(user.get(key) for key in _LOGINS)
    if server.scheme == "http" and logs_in and not is_loopback(server.geturl()):
        yield "server: a login is not sent over http; use https"
    yield from _find_missing_files({**cluster, **user})


def _find_missing_files(entry: Mapping[str, Any]) -> Iterator[str]:
    for key in (*_PATHS["clusters"], *_PATHS["users"]):
        if entry.get(key) and not entry.get(f"{key}-data"):
            try:
                untrusted.read_file(Path(str(entry[key])), MAX_BYTES)
            except OSError as error:
                yield f"{key}: {entry[key]}: {error.strerror}"


def _check_program(user: Mapping[str, Any], source: str) -> None:
    program = user.get("exec")
    if not isinstance(program, dict):
        return
    command = str(program.get("command", ""))
    if not shutil.which(command):
        hint = one_line(str(program.get("installHint") or ""))
        raise PreconditionError(f"{source}: exec.command: the program {command} is not there", hint=hint)


def _read_token(user: Mapping[str, Any], source: str) -> Object:
    if not user.get("tokenFile"):
        return dict(user)
    try:
        token = untrusted.read_file(Path(user["tokenFile"]), MAX_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise PreconditionError(f"{source}: tokenFile: {user['tokenFile']}: {why}") from None
    return {**user, "token": Secret(token).reveal()}
