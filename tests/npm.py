"""Packages of the npm registry, which tests use and nobody keeps here: fetched by npm itself, and checked by hash."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path


class Missing(Exception):
    """There is no npm here, or no registry answers it."""


def fetch(package: str, sha512: str, folder: Path) -> Path:
    """The archive of the package, in `folder`. package: NAME@VERSION. sha512: of the archive, in base64.

    Raises Missing, and AssertionError if the registry has another archive under that name.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Missing(f"npm is not installed, so that {package} cannot be fetched")
    argv = [npm, "pack", "--silent", "--pack-destination", str(folder), package]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm pack {package}: the registry does not answer") from None
    files = [*folder.glob("*.tgz")]
    if done.returncode or len(files) != 1:
        raise Missing(f"npm pack {package}: {done.stderr.strip()[-300:]}")
    found = base64.b64encode(hashlib.sha512(files[0].read_bytes()).digest()).decode()
    assert found == sha512, f"{package} is another archive than the one that was pinned"
    return files[0]
