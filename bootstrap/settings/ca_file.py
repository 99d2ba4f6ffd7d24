"""Certificate authorities of the settings: read, and laid beside the machine's own for the programs that run here."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

from bootstrap.core import untrusted
from bootstrap.core.errors import PreconditionError
from bootstrap.settings.config import Config

VARIABLES = ("SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
"""Variables that name a bundle to programs: Go's and OpenSSL's, git, curl, Python's requests, pip."""
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Where machines keep theirs: Debian's and Ubuntu's, Fedora's, Alpine's and macOS's."""
BUNDLE = "authorities.crt"
MAX_BYTES = 10 << 20
"""Of a file of certificates: that of a machine has 200 KB."""


def read(key: str, file: str) -> str:
    """The certificates of a file that the setting `key` names. Raises PreconditionError."""
    hint = f"--set {key}=FILE"
    try:
        text = untrusted.read_file(Path(file).expanduser(), MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PreconditionError(f"{key}: {file} cannot be read: {why}", hint=hint) from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise PreconditionError(f"{key}: {file} holds no certificate in PEM", hint=hint)
    return text.rstrip("\n") + "\n"


def read_machine_bundle(environ: Mapping[str, str]) -> str:
    """The certificates that this machine trusts, PEM; "" if it keeps them in no file that is known here."""
    known = (environ.get("SSL_CERT_FILE"), *BUNDLES, ssl.get_default_verify_paths().cafile)
    found = next((path for path in known if path and Path(path).is_file()), None)
    return Path(found).read_text().rstrip("\n") + "\n" if found else ""


def write_bundle(config: Config, environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the machine's authorities and those of `ca_file` to a file in `folder`.

    Answers the variables that name the file to programs, {} without `ca_file`. Raises PreconditionError.
    """
    if not config.ca_file:
        return {}
    text = read_machine_bundle(environ) + read("ca_file", config.ca_file)
    path = folder / BUNDLE
    if not path.exists() or path.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return dict.fromkeys(VARIABLES, str(path))
