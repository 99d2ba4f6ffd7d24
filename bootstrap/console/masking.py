"""Foreign text made fit for the page: no control characters that could mislead the eye, and no secrets. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bootstrap.core.model import Secret
from bootstrap.core.text import coloured
from bootstrap.incluster.text import clean

MASK = "***"
SHORTEST = 4
"""Characters: masking anything shorter would only tear holes into words."""

KEEP_SECONDS = 10.0

_PATTERNS = (
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),  # credentials in an address
    re.compile(r"""(?i)(?<=authorization)(["']?\s*[:=]\s*["']?(?:basic|bearer)\s+)[^\s"']+"""),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"),  # a token of a ServiceAccount
)


def mask(text: str, secrets: Iterable[Secret]) -> str:
    """Without the given secrets, and without what has the looks of one."""
    for secret in sorted({each.reveal() for each in secrets}, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: (match[1] if match.re.groups else "") + MASK, text)
    return text


def presentable(value: Any, secrets: Iterable[Secret]) -> Any:
    """A JSON document with every text of it cleaned and masked; keys of mappings too."""
    known = tuple(secrets)
    if isinstance(value, str):
        return mask(clean(value), known)
    if isinstance(value, Mapping):
        return {presentable(key, known): presentable(each, known) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [presentable(each, known) for each in value]
    return value


class Mask:
    """Everything that goes to a browser passes here. secrets: asked for the known ones, anew every few seconds.

    now: monotonic seconds.
    """

    def __init__(self, secrets: Callable[[], Iterable[Secret]], now: Callable[[], float]) -> None:
        self._ask = secrets
        self._now = now
        self._known: tuple[Secret, ...] = ()
        self._good_until = float("-inf")

    def __call__(self, value: Any) -> Any:
        """The document, or the text, without secrets and control characters."""
        return presentable(value, self._secrets())

    def log(self, lines: Iterable[str]) -> list[str]:
        """The same for lines of a log, whose colours stay."""
        return mask(coloured("\n".join(lines)), self._secrets()).split("\n")

    def _secrets(self) -> tuple[Secret, ...]:
        if self._now() >= self._good_until:
            self._known = tuple(self._ask())
            self._good_until = self._now() + KEEP_SECONDS
        return self._known
