"""Which branches are watched: names and patterns, as one expression that Python and RE2 (Go, CEL) read alike. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable


def build_branch_regex(patterns: Iterable[str]) -> str:
    """One regular expression for all patterns: "main", "release/*" -> "main|release/[^/]*".

    It has to match the whole name. `*` stands for any text without a slash.
    """
    return "|".join("[^/]*".join(map(re.escape, each.split("*"))) for each in patterns)
