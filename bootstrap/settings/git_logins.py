"""Logins for git repositories elsewhere: as one setting gives them, and as git reads them from a Secret. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from bootstrap.core.model import Secret

SECRET = "git-logins"  # noqa: S105  its name
FOLDER = "/etc/git-logins"
"""Where steps and the poller find it; manifests/pipeline and manifests/poller say the same."""
CONFIG = "config"
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class GitLogin:
    """A login for a git host, or for one repository of it.

    host: "https://git.example.org:8443". path: "/you/app" of one repository, without .git, or "" for the whole host.
    """

    host: str
    path: str
    username: str
    password: Secret


def parse(text: str) -> list[GitLogin]:
    """The logins of "https://USER:PASSWORD@HOST[/PATH]", several of them separated by spaces.

    User and password are percent-encoded. Raises ValueError, whose message never repeats the text.
    """
    found = [_parse_login(number, each) for number, each in enumerate(text.split(), start=1)]
    places = [(each.host, each.path) for each in found]
    for number, place in enumerate(places, start=1):
        if place in places[: number - 1]:
            raise ValueError(f"login {number} is for the same place as login {places.index(place) + 1}")
    return found


def _parse_login(number: int, text: str) -> GitLogin:
    """The login at this place (1-based) of the setting. Raises ValueError as `parse` does."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    username, password = unquote(parts.username or "") if host else "", unquote(parts.password or "") if host else ""
    if not host or parts.scheme not in ("http", "https") or not username or not password:
        raise ValueError(f"login {number} is not of the form https://USER:PASSWORD@HOST or .../PATH")
    path = parts.path.rstrip("/").removesuffix(".git")
    if parts.query or parts.fragment or not _PATH.fullmatch(path) or not re.fullmatch(r"[a-z0-9.:-]+", host):
        raise ValueError(f"login {number} has an address that is none")
    if _CONTROL.search(username + password):
        raise ValueError(f"login {number} holds a line break or another control character")
    shown = f"[{host}]" if ":" in host else host
    return GitLogin(f"{parts.scheme}://{shown}" + (f":{port}" if port else ""), path, username, Secret(password))


def render_files(logins: Sequence[GitLogin], folder: str = FOLDER) -> dict[str, str]:
    """Name -> contents: `config`, to be included by git, and for each login what git's credential helpers answer.

    git asks every helper that fits, in order, and each section begins with an empty one, which takes back those before:
    so the longest path wins, and all win over what the including configuration had for that place.
    """
    ordered = sorted(logins, key=lambda each: len(each.path))
    answers = {
        str(number): f"username={each.username}\npassword={each.password.reveal()}\n"
        for number, each in enumerate(ordered)
    }
    sections = (
        f'[credential "{place}"]\n\thelper =\n\thelper = "!f() {{ cat {folder}/{number}; }}; f"\n'
        for number, each in enumerate(ordered)
        for place in _list_scopes(each)
    )
    return {CONFIG: "".join(sections), **answers}


def _list_scopes(login: GitLogin) -> Iterator[str]:
    """The addresses that git compares a repository's with: people write a path with or without .git."""
    yield f"{login.host}{login.path}"
    if login.path:
        yield f"{login.host}{login.path}.git"
