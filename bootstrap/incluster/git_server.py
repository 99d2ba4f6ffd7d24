"""The environment's own git server: repositories are made there by PUT, see images/git-server."""

from __future__ import annotations

import urllib.error
import urllib.request
from base64 import b64encode
from http.client import HTTPException
from urllib.parse import urlsplit

SECONDS = 15.0


class RepositoryRefused(Exception):
    """Why a repository was not made, in one sentence."""


def create_repository(url: str, username: str, password: str) -> None:
    """Make an empty repository at `url`, or find it there. Raises RepositoryRefused."""
    login = b64encode(f"{username}:{password}".encode()).decode()
    address = f"{url.rstrip('/').removesuffix('.git')}.git"
    request = urllib.request.Request(address, method="PUT", headers={"Authorization": f"Basic {login}"})  # noqa: S310
    host = urlsplit(url).hostname
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is in the cluster
    try:
        with opener.open(request, timeout=SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise RepositoryRefused(f"{host} makes no repository {urlsplit(url).path}: HTTP {error.code}") from None
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        raise RepositoryRefused(f"{host} does not answer: {why}") from None
