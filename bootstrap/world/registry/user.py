"""The door to a registry of the user's, by crane: its credentials, its CA, its retries, and one message per fault.

Format and errors: the OCI distribution-spec. crane itself tries again after 408 and 5xx; 429 and what still fails
then is tried again here. crane shows no headers, so a registry that is busy is asked how long it wants to be left
alone (Retry-After) by a request of our own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bootstrap.core.clock import Clock
from bootstrap.core.errors import BootstrapError, CommandError, NotFound, PreconditionError
from bootstrap.core.text import format_duration
from bootstrap.settings.config import MirrorSettings
from bootstrap.world import probe
from bootstrap.world.registry.http import RegistryHttp, docker_config
from bootstrap.world.shell import Shell

LIMIT = 1800.0
LOOK_LIMIT = 10.0
PAUSES = (1.0, 4.0, 10.0)
"""Seconds before it is tried again, unless the registry names some."""
LONGEST_PAUSE = 120.0

# What crane prints, as far as it is read. Nobody else matches texts of crane's. Read from crane 0.22.1, that of
# images/tools/go.mod. A refusal is "GET https://HOST/v2/...: CODE: message", with a code of the OCI distribution-spec,
# or "...: unexpected status code 404 Not Found" (pkg/v1/remote/transport/error.go). What Go says of connections, names
# and certificates (net, crypto/x509) is passed on, and so is what the system says of files.

CRANE_ABSENT = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|NOT_FOUND|\b404\b")
CRANE_BUSY = re.compile(
    r"TOOMANYREQUESTS|\b429\b|\b50[0234]\b|connection reset|broken pipe|unexpected EOF|EOF$|i/o timeout", re.MULTILINE
)
"""Of a registry, or a way to it, that may answer the next time."""
CRANE_RATE_LIMITED = re.compile(r"TOOMANYREQUESTS|\b429\b|\b503\b")
"""Of a registry that may say for how long it wants no requests."""
CRANE_REGISTRY = re.compile(r"https?://([^/\s\"?]+)/v2/")
"""The registry that a complaint is about, HOST[:PORT]."""
CRANE_CAUSES = (
    (r"UNAUTHORIZED|\b401\b", "it wants a login, or another one", "{login}"),
    (r"DENIED|\b403\b", "that user may not do this", "give the user the right to push and pull there"),
    (r"TOOMANYREQUESTS|\b429\b", "it answers 429: too many requests", "wait, then the same command again: it goes on"),
    (r"x509|certificate", "its certificate is of no CA that we know", "set {group}.ca_file"),
    (r"no such host", "there is no host of that name", "check {address} and DNS"),
    (r"connection refused|no route|timeout", "nothing answers there", "check {address} and network"),
    (r"no space left", "a disk is full", "df -h"),
    (r"DIGEST_INVALID|digest mismatch|does not match", "a blob is not what its digest says", "{again}"),
)
"""Pattern, cause, hint; the first that fits counts. The names in the hints are those of `Advice`."""


@dataclass(frozen=True)
class Advice:
    """What the hints name: the settings' group, the setting with the address, how to log in, how to mend a copy."""

    group: str = "mirror"
    address: str = "mirror.registry"
    login: str = "set mirror.username and INVOKE_MIRROR_PASSWORD"
    again: str = "push it again: invoke mirror"


class MirrorRegistry:
    """address: HOST[:PORT]/FOLDER, below which everything is. Use as a context: its login is a file for as long."""

    def __init__(
        self, shell: Shell, clock: Clock, crane: Path, settings: MirrorSettings, advice: Advice | None = None
    ) -> None:
        self.address = f"{settings.registry}/{settings.folder}".rstrip("/")
        self._shell = shell
        self._clock = clock
        self._crane = crane
        self._settings = settings
        self._advice = advice or Advice()
        self._environ: dict[str, str] = {}
        self._http = RegistryHttp(shell, settings, LOOK_LIMIT)

    @contextlib.contextmanager
    def login(self, *, ambient: bool = True) -> Iterator[MirrorRegistry]:
        """For the other registries of this machine's user nothing changes: docker's configuration and the machine's
        authorities hold for them as before. Without `ambient` it is nobody but the user of the settings, which is who
        pods are.
        """
        with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-") as folder:  # mode 0700
            if self._settings.username or not ambient:
                pair = f"{self._settings.username}:{self._settings.password.reveal()}"
                auth = b64encode(pair.encode()).decode() if len(pair) > 1 else ""
                document = with_login(self._settings.registry, auth, docker_config() if ambient else {})
                (Path(folder) / "config.json").write_text(json.dumps(document))
                self._environ["DOCKER_CONFIG"] = folder
            if self._settings.ca_file:
                (Path(folder) / "ca.pem").write_bytes(_authorities(Path(self._settings.ca_file)))
                self._environ["SSL_CERT_FILE"] = f"{folder}/ca.pem"
            yield self

    def refuse_plain(self) -> None:
        """Raise PreconditionError where it speaks plain HTTP and nobody said that it may.

        crane falls back to that by itself for addresses of private networks, with the password.
        """
        if self._settings.plain_http == "on":
            return
        place = urlsplit(f"//{self._settings.registry}")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only whether it is TLS; crane verifies
        try:
            probe.read_certificate(place.hostname or "", place.port or 443, context, LOOK_LIMIT)
        except ssl.SSLError:
            raise PreconditionError(
                f"{self._settings.registry} does not speak TLS",
                hint=f"set {self._advice.group}.plain_http: on, if that is meant so",
            ) from None
        except OSError:
            return  # a proxy may lie between; crane says what is wrong

    def manifest(self, name: str) -> dict[str, Any]:
        """Of "NAME:TAG" or "NAME@DIGEST": an image's or an index, as it is kept there. Raises NotFound."""
        found: dict[str, Any] = json.loads(self._run("manifest", self._reference(name), limit=120))
        return found

    def config(self, name: str) -> dict[str, Any]:
        """An image's configuration. Raises NotFound."""
        found: dict[str, Any] = json.loads(self._run("config", self._reference(name), limit=120))
        return found

    def digest(self, name: str) -> str:
        """Of "NAME:TAG" or "NAME@DIGEST"; "" if it is not there."""
        try:
            return self._run("digest", self._reference(name), limit=120)
        except NotFound:
            return ""

    def digests(self, wanted: Iterable[str]) -> dict[str, str]:
        """Of each, in the order of `wanted`."""
        asked = list(wanted)
        with ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="mirror") as pool:
            return dict(zip(asked, pool.map(self.digest, asked), strict=True))

    def alias(self, name: str, to: str) -> None:
        """Another name for an image, in the registry itself: no blob moves."""
        self._run("copy", self._reference(name), self._reference(to))

    def push(self, layout: Path, name: str) -> str:
        """The image of a layout folder; its digest."""
        return self._run("push", str(layout), self._reference(name)).rpartition("@")[2]

    def copy(self, source: str, name: str, platforms: Sequence[str] = ()) -> None:
        """ "HOST/PATH@DIGEST" of another registry. platforms: of an index only these ("linux/amd64"); all, if none."""
        if platforms:
            wanted = ",".join(platforms)
            self._run("index", "filter", source, f"--platform={wanted}", f"--tag={self._reference(name)}")
        else:
            self._run("copy", source, self._reference(name))

    def look(self, reference: str) -> str:
        """The digest of an image of any registry. Raises NotFound."""
        return self._run("digest", reference, limit=120)

    def document(self, reference: str) -> dict[str, Any]:
        """The manifest, or index, of an image of any registry. Raises NotFound."""
        found: dict[str, Any] = json.loads(self._run("manifest", reference, limit=120))
        return found

    def rate(self, seconds: float) -> float:
        """Bytes a second that pushing takes, measured; 0 if it cannot be told."""
        return self._http.rate("pause", seconds)

    def pull_layout(self, name: str, layout: Path) -> None:
        self._run("pull", "--format=oci", self._reference(name), str(layout))

    def pull_archive(self, name: str, archive: Path, platform: str = "") -> str:
        """ "NAME@DIGEST" for `docker load`; the reference by which the engine then knows it: crane makes up a tag.

        platform: of an index that one ("linux/arm64").
        """
        wanted = [f"--platform={platform}"] if platform else []
        self._run("pull", *wanted, self._reference(name), str(archive))
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
                if pause is None or not CRANE_BUSY.search(error.evidence):
                    raise self._explained(error, words[0]) from None
                self._clock.sleep(self._asked(error.evidence) or pause)
        raise AssertionError

    def _asked(self, evidence: str) -> float:
        """Seconds that the registry wants to be left alone, 0 if it names none. Raises PreconditionError for many."""
        if not CRANE_RATE_LIMITED.search(evidence) or _host(evidence) not in ("", self._settings.registry):
            return 0.0
        wanted = self._http.manifest("environment:latest").wait
        if wanted > LONGEST_PAUSE:
            message = f"{self._settings.registry} answers 429, and wants {format_duration(wanted)} without requests"
            raise PreconditionError(message, hint="the same command then: it goes on where it was")
        return wanted

    def _explained(self, error: CommandError, verb: str) -> BootstrapError:
        host = _host(error.evidence) or self._settings.registry
        ours = host == self._settings.registry
        if CRANE_ABSENT.search(error.evidence):
            hint = self._advice.again.rpartition(": ")[2] if ours else "check the reference"
            return NotFound(f"{self.address if ours else host} does not have it", hint=hint, evidence=error.evidence)
        for pattern, cause, hint in CRANE_CAUSES:
            if re.search(pattern, error.evidence):
                hint = (
                    hint.format_map(vars(self._advice)) if ours else f"docker login {host}, its address, or the network"
                )
                return PreconditionError(f"{host}: {cause}", hint=hint, evidence=error.evidence)
        return CommandError(f"crane {verb} failed at {host}", code=error.code, evidence=error.evidence)


def with_login(host: str, auth: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """docker's configuration `known` with one login more, none for "".

    Its store of all logins would outweigh that, so it becomes the helper
    of those hosts that are named.
    """
    auths, helpers = dict(known.get("auths") or {}), dict(known.get("credHelpers") or {})
    if store := known.get("credsStore"):
        helpers = dict.fromkeys(auths, store) | helpers
    helpers.pop(host, None)
    return {"auths": auths | ({host: {"auth": auth}} if auth else {}), "credHelpers": helpers}


def _authorities(ca_file: Path) -> bytes:
    """That one, and what the machine's variable names, which it would replace. Raises PreconditionError."""
    files = [ca_file, *map(Path, filter(None, [os.environ.get("SSL_CERT_FILE")]))]
    try:
        return b"\n".join(file.expanduser().read_bytes() for file in files)
    except OSError as error:
        message = f"mirror.ca_file: {error.filename} cannot be read: {error.strerror}"
        raise PreconditionError(message, hint="invoke config") from None


def _host(evidence: str) -> str:
    """The last registry that crane's complaint names, "" for none."""
    found = CRANE_REGISTRY.findall(evidence)
    return str(found[-1]) if found else ""
