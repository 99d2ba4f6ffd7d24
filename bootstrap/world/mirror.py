"""The door to a registry of the user's, by crane: its credentials, its CA, its retries, and one message per fault.

Format and errors: the OCI distribution-spec. crane itself tries again after 408 and 5xx; 429 and what still fails
then is tried again here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from bootstrap.config import MirrorSettings
from bootstrap.errors import BootstrapError, CommandError, NotFound, PreconditionError
from bootstrap.world.clock import Clock
from bootstrap.world.shell import Shell

LIMIT = 1800.0
LOOK_LIMIT = 10.0
PAUSES = (1.0, 4.0, 10.0)
"""Seconds before it is tried again."""

_ABSENT = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|NOT_FOUND|\b404\b")
_BUSY = re.compile(
    r"TOOMANYREQUESTS|\b429\b|\b50[0234]\b|connection reset|unexpected EOF|EOF$|i/o timeout", re.MULTILINE
)
_CAUSES = (
    (r"UNAUTHORIZED|\b401\b", "it wants a login, or another one", "set mirror.username and INVOKE_MIRROR_PASSWORD"),
    (r"DENIED|\b403\b", "that user may not do this", "give the user the right to push and pull there"),
    (r"TOOMANYREQUESTS|\b429\b", "it answers 429: too many requests", "wait, then the same command again: it goes on"),
    (r"x509|certificate", "its certificate is of no authority that we know", "set mirror.ca_file"),
    (r"no such host", "there is no host of that name", "check mirror.registry and DNS"),
    (r"connection refused|no route|timeout", "nothing answers there", "check mirror.registry and network"),
    (r"no space left", "a disk is full", "df -h"),
    (
        r"DIGEST_INVALID|digest mismatch|does not match",
        "a blob is not what its digest says",
        "push it again: invoke mirror",
    ),
)


class MirrorRegistry:
    """address: HOST[:PORT]/FOLDER, below which everything is. Use as a context: its login is a file for as long."""

    def __init__(self, shell: Shell, clock: Clock, crane: Path, settings: MirrorSettings) -> None:
        self.address = f"{settings.registry}/{settings.folder}".rstrip("/")
        self._shell = shell
        self._clock = clock
        self._crane = crane
        self._settings = settings
        self._environ: dict[str, str] = {"SSL_CERT_FILE": settings.ca_file} if settings.ca_file else {}

    @contextlib.contextmanager
    def login(self) -> Iterator[MirrorRegistry]:
        """Without a user in the settings crane looks into docker's own configuration."""
        if not self._settings.username:
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-") as folder:  # mode 0700
            pair = f"{self._settings.username}:{self._settings.password.reveal()}"
            auth = {"auth": b64encode(pair.encode()).decode()}
            (Path(folder) / "config.json").write_text(json.dumps({"auths": {self._settings.registry: auth}}))
            self._environ["DOCKER_CONFIG"] = folder
            yield self

    def refuse_plain(self) -> None:
        """Raise PreconditionError where it speaks plain HTTP and nobody said that it may.

        crane falls back to that by itself for addresses of private networks, with the password.
        """
        if self._settings.plain_http == "on":
            return
        host, _, port = self._settings.registry.partition(":")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only whether it is TLS; crane verifies
        connection = http.client.HTTPSConnection(host, int(port or 443), timeout=LOOK_LIMIT, context=context)
        try:
            connection.connect()
        except ssl.SSLError:
            raise PreconditionError(
                f"{self._settings.registry} does not speak TLS", hint="set mirror.plain_http: on, if that is meant so"
            ) from None
        except OSError:
            return  # a proxy may lie between; crane says what is wrong
        finally:
            connection.close()

    def digest(self, name: str) -> str:
        """Of "NAME:TAG" or "NAME@DIGEST"; "" if it is not there."""
        try:
            return self._run("digest", self._reference(name), limit=120)
        except NotFound:
            return ""

    def push(self, layout: Path, name: str) -> str:
        """The image of a layout folder; its digest."""
        return self._run("push", str(layout), self._reference(name)).rpartition("@")[2]

    def pull_layout(self, name: str, layout: Path) -> None:
        self._run("pull", "--format=oci", self._reference(name), str(layout))

    def pull_archive(self, name: str, archive: Path) -> str:
        """ "NAME@DIGEST" for `docker load`; the reference by which the engine then knows it: crane makes up a tag."""
        self._run("pull", self._reference(name), str(archive))
        return f"{self._reference(name).partition('@')[0]}:i-was-a-digest"

    def put_files(self, layer: Path, name: str) -> str:
        """A tar file as an image of one layer."""
        return self._run("append", f"--new_layer={layer}", f"--new_tag={self._reference(name)}").rpartition("@")[2]

    def get_files(self, name: str, layer: Path) -> None:
        """The files of such an image as a tar file."""
        self._run("export", self._reference(name), str(layer))

    def _reference(self, name: str) -> str:
        return f"{self.address}/{name}"

    def _run(self, *words: str, limit: float = LIMIT) -> str:
        """Raises NotFound, PreconditionError with the cause."""
        insecure = ["--insecure"] if self._settings.plain_http == "on" else []
        for pause in (*PAUSES, None):
            try:
                return self._shell.run(
                    [str(self._crane), *words, *insecure], env=self._environ, limit=limit
                ).stdout.strip()
            except CommandError as error:
                if pause is None or not _BUSY.search(error.evidence):
                    raise self._explained(error, words[0]) from None
                self._clock.sleep(pause)
        raise AssertionError

    def _explained(self, error: CommandError, verb: str) -> BootstrapError:
        if _ABSENT.search(error.evidence):
            return NotFound(f"{self.address} does not have it", hint="invoke mirror", evidence=error.evidence)
        for pattern, cause, hint in _CAUSES:
            if re.search(pattern, error.evidence):
                return PreconditionError(f"{self._settings.registry}: {cause}", hint=hint, evidence=error.evidence)
        return CommandError(f"crane {verb} failed at {self.address}", code=error.code, evidence=error.evidence)
