"""Files and YAML that come from outside: nothing in them makes a command hang, run for ever or end without a cause.

Settings files have a stricter reader (`settings/strict_yaml`), which reads its file by `read_file` as well.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from bootstrap.core.errors import Fault, UsageError

MAX_DEPTH = 200
"""Levels of nesting; a CustomResourceDefinition's schema has some thirty."""
MAX_VALUES = 1_000_000
"""Values of a text, each alias counted as all that it stands for; Tekton's manifests have some fifty thousand."""


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises OSError, with its cause as `strerror`.

    A pipe, a socket or a device is refused: to read one can take for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without: a FIFO waits for its writer
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {_format_size(most)}", str(path))
    return data


def load_yaml(text: str, where: str, loader: Any = None) -> list[Any]:
    """The values of all documents of a YAML text.

    where: the file, for faults. loader: PyYAML's, the safe one by default. Raises UsageError with the line.
    """
    import yaml

    check_yaml(text, where)
    try:
        return list(yaml.load_all(text, Loader=loader or get_safe_loader()))
    except yaml.MarkedYAMLError as error:
        raise make_yaml_error(where, error) from None
    except (yaml.YAMLError, ValueError) as error:  # a character that YAML does not allow, a date that is none
        raise make_yaml_error(where, error) from None


def check_yaml(text: str, where: str) -> None:
    """Look for what would make reading it, or a walk through what was read, endless. Takes linear time.

    Raises UsageError for a text that is no YAML, is nested deeper than MAX_DEPTH, has an alias within what it stands
    for, or more than MAX_VALUES values with every alias written out.
    """
    import yaml

    try:
        counter = _Counter(where)
        for event in yaml.parse(text, Loader=get_safe_loader()):
            counter.count(event)
    except yaml.YAMLError as error:
        raise make_yaml_error(where, error) from None


def get_safe_loader() -> Any:
    """PyYAML's safe loader, libyaml's where there is one."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def make_yaml_error(where: str, error: Exception) -> UsageError:
    """A fault of a YAML text, by its line where the parser knows it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or (str(error).splitlines() or ["it cannot be read"])[0]
    return _make_error(where, mark.line + 1 if mark else 0, f"it is not YAML: {problem}")


def _make_error(where: str, line: int, text: str) -> UsageError:
    return UsageError(f"{where}: {text}", faults=[Fault(where, line, text)])


class _Counter:
    """Counts the values of a text by its parser's events."""

    def __init__(self, where: str) -> None:
        """_open: of each collection that is not closed yet, its anchor and how many values were there before it."""
        self._where = where
        self._open: list[tuple[str | None, int]] = []
        self._sizes: dict[str, int] = {}
        self._total = 0

    def count(self, event: Any) -> None:
        """Raises UsageError for the event by which the text is too deep or too large, or has no end."""
        line = event.start_mark.line + 1
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            self._sizes.clear()
        elif kind == "AliasEvent":
            self._add_alias(event.anchor, line)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._begin(event.anchor, line)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, before = self._open.pop()
            self._sizes |= {anchor: self._total - before} if anchor else {}
        elif kind == "ScalarEvent":
            self._total += 1
            self._sizes |= {event.anchor: 1} if event.anchor else {}
        if self._total > MAX_VALUES:
            raise _make_error(self._where, line, f"its aliases stand for more than {MAX_VALUES:,} values")

    def _begin(self, anchor: str | None, line: int) -> None:
        self._open.append((anchor, self._total))
        self._total += 1
        if len(self._open) > MAX_DEPTH:
            raise _make_error(self._where, line, f"it is nested deeper than {MAX_DEPTH} levels")

    def _add_alias(self, anchor: str, line: int) -> None:
        if any(open_ == anchor for open_, _ in self._open):
            raise _make_error(self._where, line, f"*{anchor} stands within what it stands for")
        self._total += self._sizes.get(anchor, 1)


def _format_size(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
