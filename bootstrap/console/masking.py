"""Foreign text made fit for the page: no control characters that could mislead the eye, and no secrets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bootstrap.core.masking import mask_secrets
from bootstrap.core.model import Secret
from bootstrap.core.text import clean_except_colours
from bootstrap.incluster.text import clean

KEEP_SECONDS = 10.0
"""How long the known secrets are kept until they are asked for again."""


def sanitize(value: Any, secrets: Iterable[Secret]) -> Any:
    """The JSON document with every string in it, keys too, without control characters and secrets."""
    known = tuple(secrets)
    if isinstance(value, str):
        return mask_secrets(clean(value), known)
    if isinstance(value, Mapping):
        return {sanitize(key, known): sanitize(each, known) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [sanitize(each, known) for each in value]
    return value


class Mask:
    """Makes documents and log lines safe to show. Everything that goes to a browser passes here.

    secrets: returns all secrets that are known; called again after KEEP_SECONDS. now: a clock of monotonic seconds.
    Threads may share it.
    """

    def __init__(self, secrets: Callable[[], Iterable[Secret]], now: Callable[[], float]) -> None:
        self._ask = secrets
        self._now = now
        self._known: tuple[Secret, ...] = ()
        self._good_until = float("-inf")

    def __call__(self, value: Any) -> Any:
        """The document, or the string, without secrets and control characters."""
        return sanitize(value, self._current_secrets())

    def mask_lines(self, lines: Iterable[str]) -> list[str]:
        """Lines of a log without secrets and control characters; the codes for colours stay."""
        return mask_secrets(clean_except_colours("\n".join(lines)), self._current_secrets()).split("\n")

    def _current_secrets(self) -> tuple[Secret, ...]:
        if self._now() >= self._good_until:
            self._known = tuple(self._ask())
            self._good_until = self._now() + KEEP_SECONDS
        return self._known
