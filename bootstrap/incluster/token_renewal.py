"""Renews the token that the pipeline deploys with, so that pushes go on deploying where nobody types `invoke up`.

Runs in the cluster as a CronJob, on the standard library. The account of the token may ask for another token for
itself, at the API server that it deploys to; nobody else's credentials are needed, also for a second cluster.

Environment: NAMESPACE (of the Secret), SECRET (its name). Its key `kubeconfig` is JSON, with one cluster, one user and
one context. Ends with 1 if the token could not be renewed; an event tells it too.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import MERGE, Api, ApiFailure, write_event
from bootstrap.incluster.token_claims import CRON_JOB, KEY, Claims, is_due, read_claims

SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")


class RenewalError(Exception):
    """Why the token was not renewed, in a sentence without secrets."""


class TokenRenewal:
    """Renews the token of one Secret. clock: seconds since the epoch; say: prints one line.

    open_target: the API of the server that a kubeconfig names, with its token.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        secret: str,
        say: Callable[[str], None],
        open_target: Callable[[Object], Api],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
        self._namespace = namespace
        self._say = say
        self._open_target = open_target
        self._clock = clock

    def run(self) -> int:
        """Renew the token if it is due, and write an event about a failure. Answers the exit code."""
        try:
            self._say(self.renew())
        except RenewalError as error:
            self._say(str(error))
            self._write_event(str(error))
            return 1
        return 0

    def renew(self) -> str:
        """What was done, in a sentence. Raises RenewalError."""
        try:
            live = self._api.request("GET", self._path)
        except ApiFailure as error:
            raise RenewalError(f"the Secret could not be read: {error.strerror}") from None
        document, user, claims = _read(live)
        days = (claims.expires - self._clock()) / 86400
        if not is_due(claims, self._clock()):
            return f"the token is good for {days:.1f} days more"
        user["token"] = self._ask(document, claims)
        self._keep(live, document)
        after = (read_claims(user["token"]).expires - self._clock()) / 86400
        return f"renewed: it had {max(0.0, days):.1f} days left, and has {after:.1f} now"

    def _ask(self, document: Object, claims: Claims) -> str:
        """A new token of the same account and life."""
        path = f"/api/v1/namespaces/{claims.namespace}/serviceaccounts/{claims.account}/token"
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": round(claims.life)},
        }
        try:
            with closing(self._open_target(document)) as target:
                answer = target.request("POST", _prefix(document) + path, wanted)
            return str(answer["status"]["token"])
        except (ApiFailure, KeyError, TypeError) as error:
            why = error.strerror if isinstance(error, ApiFailure) else "its answer holds no token"
            raise RenewalError(
                f"the API server that is deployed to gives no new token: {why}; next: invoke up"
            ) from None

    def _keep(self, live: Object, document: Object) -> None:
        """Write it into the Secret, unless that has changed since it was read."""
        data = base64.b64encode(json.dumps(document).encode()).decode()
        version = live["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "data": {KEY: data}}
        try:
            self._api.request("PATCH", self._path, patch, MERGE)
        except ApiFailure as error:
            raise RenewalError(f"the new token could not be kept: {error.strerror}") from None

    def _write_event(self, message: str) -> None:
        write_event(
            self._api.request,
            self._say,
            namespace=self._namespace,
            cron_job=CRON_JOB,
            reason="TokenRenewalFailed",
            message=message,
            seconds=self._clock(),
        )


def _read(live: Object) -> tuple[Object, dict[str, Any], Claims]:
    """The kubeconfig of a Secret, its user, and what its token says. Raises RenewalError."""
    try:
        document: Object = json.loads(base64.b64decode(live["data"][KEY]))
        user: dict[str, Any] = document["users"][0]["user"]
        return document, user, read_claims(user["token"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise RenewalError("the Secret holds no kubeconfig of ours; next: invoke up") from None


def _prefix(document: Object) -> str:
    """The path of the server's URL, which some clusters behind a gateway have."""
    return urlsplit(str(document["clusters"][0]["cluster"]["server"])).path.rstrip("/")


def open_target(document: Object, folder: Path) -> Api:
    """The API of the kubeconfig's server, with its token. folder: where the token and the CA are put for it.

    Raises RenewalError for a proxy that is reached by TLS.
    """
    cluster = document["clusters"][0]["cluster"]
    parts = urlsplit(cluster["server"])
    ca = cluster.get("certificate-authority-data")
    (folder / "ca.crt").write_bytes(base64.b64decode(ca) if ca else SYSTEM_CAS.read_bytes())
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(document["users"][0]["user"]["token"])
    server_name, proxy = cluster.get("tls-server-name") or "", cluster.get("proxy-url") or ""
    if proxy and urlsplit(proxy).scheme != "http":
        raise RenewalError(f"a proxy by {urlsplit(proxy).scheme} is not supported here; next: invoke up")
    return Api(parts.hostname or "", parts.port or 443, folder, server_name=server_name, proxy=proxy)


def main(environ: Mapping[str, str]) -> int:
    """Renew as the variables say; answers the exit code."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    with closing(Api.from_environ(environ)) as api, tempfile.TemporaryDirectory() as folder:
        return TokenRenewal(
            api, environ["NAMESPACE"], environ["SECRET"], say, lambda document: open_target(document, Path(folder))
        ).run()


if __name__ == "__main__":
    sys.exit(main(os.environ))
