"""Which branches are watched: names and patterns, as one expression that Python and RE2 (Go, CEL) read alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable


def expression(patterns: Iterable[str]) -> str:
    """ "main", "release/*" -> "main|release/[^/]*": for a match of the whole name. `*` is any run without a slash."""
    return "|".join("[^/]*".join(map(re.escape, each.split("*"))) for each in patterns)
