"""Which files of a repository concern an application: patterns, as one expression that Python and RE2 (Go, CEL) read
alike. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LENGTH, NUMBER = 200, 20
"""The most characters of a pattern, and the most patterns of an application; the schema says the same."""
DEEP, WILD = 2, 2
"""The most `**` of a pattern, and the most `*` of one name in it: Python's time grows by their power."""
_REFUSED = re.compile(r"[\x00-\x1f\x7f\\?\[\]{}]|\A!")
"""What other programs' patterns mean something by, and these do not."""


def find_path_fault(pattern: str) -> str:
    """What is wrong with a pattern, in one sentence; "" if nothing. The schema refuses the same."""
    parts = pattern.removesuffix("/").split("/")
    if not pattern or len(pattern) > LENGTH:
        return f"a path must have 1 to {LENGTH} characters"
    if _REFUSED.search(pattern):
        return "a path must be of names, * and **, without any of ? [ ] { } \\ and with no ! first"
    if any(part in ("", ".", "..") for part in parts):
        return "a path must be within the repository, such as services/orders/**"
    if any("**" in part and part != "**" for part in parts):
        return "** must stand between slashes, such as services/**/api"
    if parts.count("**") > DEEP or any(part != "**" and part.count("*") > WILD for part in parts):
        return f"a path must have at most {DEEP} ** and, in one name, at most {WILD} *"
    return ""


def build_path_regex(patterns: Iterable[str]) -> str:
    """One regular expression for all patterns; it has to match the whole path of a file.

    `*` stands for any text within one name, `**` for any number of folders. A pattern whose last name is plain means
    that file, or everything below the folder of that name; one with a slash at its end only the latter.
    """
    return f"(?s:{'|'.join(map(_build_one, patterns))})"


def _build_one(pattern: str) -> str:
    *parts, last = pattern.removesuffix("/").split("/")
    head = "".join("(?:.*/)?" if part == "**" else f"{_build_name(part)}/" for part in parts)
    if pattern.endswith("/") and last != "**":
        return f"{head}{_build_name(last)}/.*"
    if last == "**":
        return f"{head}.*"
    return f"{head}{_build_name(last)}" + ("" if "*" in last else "(?:/.*)?")


def _build_name(part: str) -> str:
    return "[^/]*".join(map(re.escape, part.split("*")))


def has_match(patterns: Sequence[str], files: Iterable[str]) -> bool:
    """Whether one of the files is one of these."""
    wanted = re.compile(build_path_regex(patterns))
    return any(wanted.fullmatch(each) for each in files)
