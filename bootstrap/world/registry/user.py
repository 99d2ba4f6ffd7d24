"""The adapter for a registry of the user's, by crane: its credentials, its CA, its retries, and one message per fault.

Format and errors: the OCI distribution-spec. crane itself tries again after 408 and 5xx; 429 and what still fails then
is tried again here. crane shows no headers, so a registry that is busy is asked how long it wants to be left alone
(Retry-After) by a request of our own.
"""

from __future__ import annotations

import contextlib
import ipaddress
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
from bootstrap.world.http_client import has_proxy
from bootstrap.world.registry.http import RegistryAnswer, RegistryHttp, read_docker_config
from bootstrap.world.shell import Shell

LIMIT = 1800.0
LOOK_LIMIT = 10.0
DIGEST_LIMIT = 3.0
"""Seconds for a look that is part of commands which take a second or two."""


def falls_back_to_http(host: str) -> bool:
    """Whether crane tries plain HTTP where HTTPS fails (go-containerregistry, pkg/name/registry.go, Scheme)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".localhost"))
    return address.is_loopback or (address.version == 4 and any(address in network for network in _PRIVATE))


_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"""Of RFC 1918."""
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
    """What the hints of errors name.

    group: of the settings. address: the setting with the registry's address. login: how to log in. again: how to repair
    a copy that is damaged or not complete.
    """

    group: str = "mirror"
    address: str = "mirror.registry"
    login: str = "set mirror.username and INVOKE_MIRROR_PASSWORD"
    again: str = "push it again: invoke mirror"


class MirrorRegistry:
    """A registry of the user's, below `address` (HOST[:PORT]/FOLDER). Use it inside `log_in`.

    Names are relative to the address: "pause:1", "pause@sha256:...". Methods that use crane raise NotFound (nothing of
    that name is there), PreconditionError (cause and hint) and CommandError (what crane says is not known here).
    advice: what hints name, by default the settings of the mirror.
    """

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
    def log_in(self, *, ambient: bool = True) -> Iterator[MirrorRegistry]:
        """Log in for the time of the block, by a docker configuration of its own in a temporary folder.

        For the other registries of this machine's user nothing changes: docker's configuration and the machine's CAs
        hold for them as before. Without `ambient` only the user of the settings is logged in, as pods are. Raises
        PreconditionError if `ca_file` cannot be read.
        """
        with tempfile.TemporaryDirectory(prefix="tekton-bootstrap-") as folder:  # mode 0700
            if self._settings.username or not ambient:
                pair = f"{self._settings.username}:{self._settings.password.reveal()}"
                auth = b64encode(pair.encode()).decode() if len(pair) > 1 else ""
                document = add_login(self._settings.registry, auth, read_docker_config() if ambient else {})
                (Path(folder) / "config.json").write_text(json.dumps(document))
                self._environ["DOCKER_CONFIG"] = folder
            if self._settings.ca_file:
                (Path(folder) / "ca.pem").write_bytes(_read_cas(Path(self._settings.ca_file)))
                self._environ["SSL_CERT_FILE"] = f"{folder}/ca.pem"
            yield self

    def require_tls(self) -> None:
        """Raise PreconditionError if the registry speaks plain HTTP and the settings do not allow that.

        crane falls back to plain HTTP by itself for addresses of private networks, however TLS failed, and sends the
        password. So of such an address TLS has to be seen, unless a proxy lies between.
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
        except OSError as error:
            host = place.hostname or ""
            if not falls_back_to_http(host) or has_proxy(host):
                return  # crane says what is wrong
            why = error.strerror or str(error) or type(error).__name__
            raise PreconditionError(
                f"{self._settings.registry} does not answer by TLS ({why})",
                hint=f"look whether it runs; or set {self._advice.group}.plain_http: on, if that is meant so",
            ) from None

    def read_manifest(self, name: str) -> dict[str, Any]:
        """The manifest of an image, or an index, as the registry keeps it. Raises NotFound."""
        found: dict[str, Any] = json.loads(self._run("manifest", self._make_reference(name), limit=120))
        return found

    def read_config(self, name: str) -> dict[str, Any]:
        """An image's configuration (OCI image-spec, config.md). Raises NotFound."""
        found: dict[str, Any] = json.loads(self._run("config", self._make_reference(name), limit=120))
        return found

    def read_digest(self, name: str) -> str:
        """The digest that "NAME:TAG" or "NAME@DIGEST" has there; "" if it is not there."""
        try:
            return self._run("digest", self._make_reference(name), limit=120)
        except NotFound:
            return ""

    def find_digest(self, name: str) -> RegistryAnswer:
        """Look for the digest of "NAME:TAG", without crane, which would try again for minutes.

        It needs no `log_in` and raises nothing: what goes wrong is in the answer, and so is a registry that does not
        answer within DIGEST_LIMIT.
        """
        late = RegistryAnswer(0, {}, f"no answer within {DIGEST_LIMIT:g} s")
        return probe.run_probes({name: lambda: self._http.find_digest(name)}, DIGEST_LIMIT, late=late)[name]

    def read_digests(self, wanted: Iterable[str]) -> dict[str, str]:
        """Name -> digest, "" for what is not there, in the order of `wanted`. Asks for several at the same time."""
        asked = list(wanted)
        with ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="mirror") as pool:
            return dict(zip(asked, pool.map(self.read_digest, asked), strict=True))

    def add_tag(self, name: str, to: str) -> None:
        """Give an image a further name `to` in the registry; no blob is sent."""
        self._run("copy", self._make_reference(name), self._make_reference(to))

    def push(self, layout: Path, name: str) -> str:
        """Push the image of an OCI layout folder. Returns its digest."""
        return self._run("push", str(layout), self._make_reference(name)).rpartition("@")[2]

    def copy(self, source: str, name: str, platforms: Sequence[str] = ()) -> None:
        """Copy "HOST/PATH@DIGEST" from another registry.

        platforms: of an index only these ("linux/amd64"); all, if none.
        """
        if platforms:
            wanted = ",".join(platforms)
            self._run("index", "filter", source, f"--platform={wanted}", f"--tag={self._make_reference(name)}")
        else:
            self._run("copy", source, self._make_reference(name))

    def resolve_reference(self, reference: str) -> str:
        """The digest of an image of any registry, by its full reference. Raises NotFound."""
        return self._run("digest", reference, limit=120)

    def read_foreign_manifest(self, reference: str) -> dict[str, Any]:
        """The manifest, or index, of an image of any registry, by its full reference. Raises NotFound."""
        found: dict[str, Any] = json.loads(self._run("manifest", reference, limit=120))
        return found

    def measure_push_rate(self, seconds: float) -> float:
        """Bytes a second that pushing reaches, measured for about `seconds`; 0 if the registry refuses the upload."""
        return self._http.measure_push_rate("pause", seconds)

    def pull_layout(self, name: str, layout: Path) -> None:
        """Pull an image into an OCI layout folder. Raises NotFound."""
        self._run("pull", "--format=oci", self._make_reference(name), str(layout))

    def pull_archive(self, name: str, archive: Path, platform: str = "") -> str:
        """Pull "NAME@DIGEST" into an archive for `docker load`. platform: of an index that one ("linux/arm64").

        Returns the reference by which the engine then knows the image: crane makes up the tag. Raises NotFound.
        """
        wanted = [f"--platform={platform}"] if platform else []
        self._run("pull", *wanted, self._make_reference(name), str(archive))
        return f"{self._make_reference(name).partition('@')[0]}:i-was-a-digest"

    def push_files(self, layer: Path, name: str) -> str:
        """Push a tar file as an image of one layer. Returns its digest."""
        return self._run("append", f"--new_layer={layer}", f"--new_tag={self._make_reference(name)}").rpartition("@")[2]

    def pull_files(self, name: str, layer: Path) -> None:
        """Write the files of an image to a tar file. Raises NotFound."""
        self._run("export", self._make_reference(name), str(layer))

    def _make_reference(self, name: str) -> str:
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
                    raise self._explain(error, words[0]) from None
                self._clock.sleep(self._read_wait(error.evidence) or pause)
        raise AssertionError

    def _read_wait(self, evidence: str) -> float:
        """Seconds that the registry wants to be left alone, 0 if it names none. Raises PreconditionError for many."""
        if not CRANE_RATE_LIMITED.search(evidence) or _find_host(evidence) not in ("", self._settings.registry):
            return 0.0
        wanted = self._http.find_manifest("environment:latest").wait
        if wanted > LONGEST_PAUSE:
            message = f"{self._settings.registry} answers 429, and wants {format_duration(wanted)} without requests"
            raise PreconditionError(message, hint="the same command then: it goes on where it was")
        return wanted

    def _explain(self, error: CommandError, verb: str) -> BootstrapError:
        host = _find_host(error.evidence) or self._settings.registry
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


def add_login(host: str, auth: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """docker's configuration `known` with a login for `host` added.

    auth: base64 of USER:PASSWORD, "" for no login there. A credsStore of `known` would outweigh that login, so it
    becomes the credHelper of each host that `known` names.
    """
    auths, helpers = dict(known.get("auths") or {}), dict(known.get("credHelpers") or {})
    if store := known.get("credsStore"):
        helpers = dict.fromkeys(auths, store) | helpers
    helpers.pop(host, None)
    return {"auths": auths | ({host: {"auth": auth}} if auth else {}), "credHelpers": helpers}


def _read_cas(ca_file: Path) -> bytes:
    """The CA file's text, and that of the machine's SSL_CERT_FILE, which it replaces for crane.

    Raises PreconditionError.
    """
    files = [ca_file, *map(Path, filter(None, [os.environ.get("SSL_CERT_FILE")]))]
    try:
        return b"\n".join(file.expanduser().read_bytes() for file in files)
    except OSError as error:
        message = f"mirror.ca_file: {error.filename} cannot be read: {error.strerror}"
        raise PreconditionError(message, hint="invoke config") from None


def _find_host(evidence: str) -> str:
    """The last registry that crane's complaint names, "" for none."""
    found = CRANE_REGISTRY.findall(evidence)
    return str(found[-1]) if found else ""
