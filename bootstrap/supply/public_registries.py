"""Public registries and the host of Tekton's releases, each reached itself or at the copy that the settings name."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from bootstrap.core.clock import Clock
from bootstrap.core.errors import NotFound, PreconditionError
from bootstrap.objects.image_refs import Reference
from bootstrap.settings.config import MirrorSettings, UpstreamSettings
from bootstrap.supply.upstream_lock import PLATFORMS, Platform, PublicImage, strip_digest
from bootstrap.world.http_download import DownloadAccess, download
from bootstrap.world.registry.user import Advice, MirrorRegistry
from bootstrap.world.shell import Shell


class PublicRegistries:
    """crane: gives the program once it is built. Login, CA and plain HTTP of the settings are for copies alone."""

    def __init__(self, shell: Shell, clock: Clock, crane: Callable[[], Path], settings: UpstreamSettings) -> None:
        self._shell = shell
        self._clock = clock
        self._crane = crane
        self._settings = settings
        self._copies = dict(each.split("=", 1) for each in settings.registries)
        self._greeted: set[str] = set()
        self._lock = threading.Lock()

    def fetch_document(self, path: str) -> bytes:
        """The bytes of a file below `upstream.releases`. Raises NotFound, PreconditionError."""
        settings, own = self._settings, type(self._settings)()
        url = f"{settings.releases.rstrip('/')}/{path}"
        if settings.releases == own.releases:
            return download(url, DownloadAccess(), self._clock)
        if settings.username and url.startswith("http:") and settings.plain_http == "off":
            hint = "set upstream.plain_http: on, if that is meant so"
            raise PreconditionError("upstream.releases has no TLS, and a password would go there", hint=hint)
        return download(url, DownloadAccess(settings.username, settings.password, settings.ca_file), self._clock)

    @contextlib.contextmanager
    def open(self, reference: Reference) -> Iterator[tuple[MirrorRegistry, str]]:
        """The registry that has the image, logged in, and the image's repository there. Raises PreconditionError."""
        copy = self._copies.get(reference.domain, "")
        address, _, folder = (copy or reference.domain).partition("/")
        given = self._settings
        if copy:
            settings = MirrorSettings(address, folder, given.username, given.password, given.ca_file, given.plain_http)
            login = "set upstream.username and INVOKE_UPSTREAM_PASSWORD"
        else:
            settings = MirrorSettings(address, "")
            login = f"docker login {address}"
        again = f"check upstream.registries: the copy of {reference.domain}" if copy else "the same command again"
        door = MirrorRegistry(
            self._shell, self._clock, self._crane(), settings, Advice("upstream", "upstream.registries", login, again)
        )
        with door.log_in() as registry:
            if copy:
                self._require_tls_once(address, registry)
            yield registry, reference.path

    def resolve(self, reference: Reference) -> PublicImage:
        """The digests that a reference leads to now, for each of our platforms. Raises NotFound, PreconditionError."""
        with self.open(reference) as (registry, path):
            digest = reference.digest or registry.read_digest(f"{path}:{reference.tag or 'latest'}")
            if not digest:
                raise NotFound(f"{registry.address} does not have {path}:{reference.tag or 'latest'}")
            top = registry.read_manifest(f"{path}@{digest}")
            platforms = {}
            for arch, child in self._find_platforms(registry, path, digest, top).items():
                document = top if child == digest else registry.read_manifest(f"{path}@{child}")
                size = sum(int(each["size"]) for each in (document["config"], *document["layers"]))
                platforms[arch] = Platform(child, size)
        return PublicImage(str(strip_digest(reference)), digest, platforms)

    @staticmethod
    def _find_platforms(registry: MirrorRegistry, path: str, digest: str, top: dict[str, object]) -> dict[str, str]:
        """Architecture -> digest of the image for it, from an index or from a single image."""
        children = top.get("manifests")
        if not isinstance(children, list):
            arch = str(registry.read_config(f"{path}@{digest}").get("architecture"))
            return {arch: digest} if arch in PLATFORMS else {}
        found: dict[str, str] = {}
        for each in children:
            platform = each.get("platform") or {}
            if platform.get("os") == "linux" and platform.get("architecture") in PLATFORMS:
                found.setdefault(platform["architecture"], each["digest"])
        return found

    def _require_tls_once(self, address: str, registry: MirrorRegistry) -> None:
        """Check once for each copy that it speaks TLS, before a password goes there."""
        with self._lock:
            if address not in self._greeted:
                registry.require_tls()
                self._greeted.add(address)
