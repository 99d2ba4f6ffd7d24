"""The base file system, which mmdebstrap makes from the machine's own Debian or Ubuntu package sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from bootstrap.core.errors import PreconditionError
from bootstrap.world import apt, host
from bootstrap.world.shell import Shell

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PACKAGES = "ca-certificates"
EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
"""Files of packages that no image needs; the setting stays in the image, for packages installed later."""


def read_cas() -> bytes:
    """The certificates that this machine trusts, in PEM. Raises PreconditionError if it has none."""
    try:
        return CA_BUNDLE.read_bytes()
    except FileNotFoundError:
        raise PreconditionError(f"{CA_BUNDLE} does not exist", hint="apt-get install ca-certificates") from None


def parse_os_release(text: str) -> dict[str, str]:
    """The fields of os-release(5), name -> value."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip("\"'") for key, value in pairs}


def list_distribution_sources(files: Iterable[str], codename: str) -> list[str]:
    """One-line package sources of the distribution itself, from files in either of apt's formats.

    Sources of other vendors, whose suites have other names, are left out: images hold only what the distribution ships.
    Format: sources.list(5).
    """
    suites = {codename, f"{codename}-updates", f"{codename}-security", f"{codename}/updates"}
    found: list[str] = []
    for text in files:
        stanzas = text.split("\n\n") if re.search(r"^URIs:", text, re.MULTILINE) else []
        for stanza in stanzas:
            fields = _parse_deb822(stanza)
            if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
                continue
            for uri in fields.get("uris", "").split():
                wanted = [suite for suite in fields.get("suites", "").split() if suite in suites]
                found += [f"deb {uri} {suite} {fields.get('components', 'main')}" for suite in wanted]
        for line in () if stanzas else text.splitlines():
            words = re.sub(r"\[[^]]*\]", "", line).split()
            if len(words) >= 4 and words[0] == "deb" and words[2] in suites:
                found.append(" ".join(words))
    return list(dict.fromkeys(found))


def _parse_deb822(stanza: str) -> dict[str, str]:
    lines = (line for line in stanza.splitlines() if ":" in line and not line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, value in (line.split(":", 1) for line in lines)}


def read_machine_sources(etc: Path = Path("/etc")) -> tuple[str, list[str]]:
    """(codename, package sources) of this machine. Raises PreconditionError if it is not Debian or Ubuntu."""
    release = parse_os_release((etc / "os-release").read_text()) if (etc / "os-release").exists() else {}
    codename = release.get("VERSION_CODENAME", "")
    folder = etc / "apt/sources.list.d"
    files = [etc / "apt/sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    sources = list_distribution_sources([path.read_text() for path in files if path.exists()], codename)
    if not codename or not sources:
        raise PreconditionError(
            "supply source builds on Debian or Ubuntu: this machine has no package sources of its release",
            hint="invoke up --bundle FILE, or --supply with mirror or upstream (docs/machines.md)",
        )
    return codename, sources


def build(shell: Shell, target: Path, arch: str, on_cause: Callable[[str], None]) -> None:
    """Write the root file system as the tar file `target`. on_cause: gets the text of the progress.

    Raises PreconditionError on another kind of machine, or if mmdebstrap is missing and cannot be installed.
    """
    codename, sources = read_machine_sources()
    if not shell.which("mmdebstrap"):
        if not host.is_root():
            raise PreconditionError("mmdebstrap is not installed", hint="sudo apt-get install mmdebstrap")
        apt.install_packages(shell, ["mmdebstrap"], on_cause)
    argv = ["mmdebstrap", "--variant=minbase", f"--architectures={arch}", f"--include={PACKAGES}", "--quiet"]
    keep_small = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    trim = ["--customize-hook=rm -rf $1/var/cache/apt/*.bin $1/var/log/*"]
    shell.run([*argv, *keep_small, *trim, codename, str(target), "-"], stdin="\n".join(sources) + "\n", limit=900)
