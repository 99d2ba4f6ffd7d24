"""Where things live on the host: XDG folders, and nothing outside them but the engine's socket."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PRODUCT = "tekton-bootstrap"
PROJECT = Path(__file__).resolve().parents[2]
"""The checkout: manifests/, images/ and demo/ are read from here."""


@dataclass(frozen=True)
class Paths:
    """cache: may be deleted at any time, costs only time. state: of all environments; env: of this one.

    env holds the CA, the credentials (0600) and our own copy of the kubeconfig; `down` deletes it.
    run: sockets and pid files; one folder per state root, so that two of them never share an engine.
    """

    cache: Path
    state: Path
    env: Path
    run: Path

    @staticmethod
    def of(name: str, environ: Mapping[str, str] = os.environ) -> Paths:
        """The folders of environment `name`, by XDG_CACHE_HOME and XDG_STATE_HOME or their defaults below HOME."""
        home = Path(environ.get("HOME") or Path.home())
        cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / PRODUCT
        state = Path(environ.get("XDG_STATE_HOME") or home / ".local/state") / PRODUCT
        mark = hashlib.sha256(str(state).encode()).hexdigest()[:6]
        return Paths(cache=cache, state=state, env=state / "environments" / name, run=Path("/run") / PRODUCT / mark)

    def list_others(self) -> list[str]:
        """Names of further environments of this user."""
        folder = self.env.parent
        return sorted(each.name for each in folder.iterdir() if each != self.env) if folder.is_dir() else []

    def purge(self) -> None:
        """Delete the caches."""
        # Go keeps its module folders read-only.
        for folder, _, _ in os.walk(self.cache):
            Path(folder).chmod(0o700)
        shutil.rmtree(self.cache, ignore_errors=True)

    def remove_empty(self) -> None:
        """Delete the folders of the state that are empty."""
        for path in (self.state / "locks", self.state / "environments", self.state):
            with contextlib.suppress(OSError):  # not empty, or never there
                path.rmdir()
