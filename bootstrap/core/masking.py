"""Text without secrets: those that are given, those that this process knows of, and what looks like a credential.

Pure, but for `mask_known`, which reads the secrets that exist in this process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

from bootstrap.core.model import Secret, list_known_secrets

MASK = "***"
MIN_SECRET_CHARACTERS = 4
"""A shorter secret is not masked: it would be found within ordinary words."""

_PATTERNS = (
    re.compile(r"(?<=://)[^/\s@]++(?=@)"),  # credentials in an address
    re.compile(r"""(?i)(?<=authorization)(["']?\s*[:=]\s*["']?(?:basic|bearer)\s+)[^\s"']+"""),
    re.compile(  # a token of a ServiceAccount, also after a hyphen; that is sought only where a token's three parts are
        r"(?<![\w-])(?=[\w-]++\.[\w-]{8,}+\.[\w-]{8})((?:[\w-]*?-)??)eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]{8,}+"
    ),
)
"""None of them takes longer than the text is long: a log's line may be of any length."""


def mask_secrets(text: str, secrets: Iterable[Secret]) -> str:
    """Replace the given secrets, and whatever looks like a credential, by MASK.

    A secret is found as it is, without the white space around it, and as it stands in an address or in quotes.
    Credentials are recognized in URLs (user:password@), after "Authorization:", and as ServiceAccount tokens.
    """
    for spelling in sorted({each for secret in secrets for each in _spell(secret.reveal())}, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: (match[1] if match.re.groups else "") + MASK, text)
    return text


def mask_known(text: str) -> str:
    """`mask_secrets` with all secrets that this process has come to know."""
    return mask_secrets(text, list_known_secrets())


def _spell(secret: str) -> list[str]:
    """The forms in which a message may hold a secret."""
    bare = secret.strip()
    forms = {secret, bare, quote(bare, safe=""), json.dumps(bare)[1:-1], repr(bare)[1:-1]}
    return [each for each in forms if len(each) >= MIN_SECRET_CHARACTERS]
