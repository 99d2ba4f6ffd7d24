"""The layers of settings above the defaults: a file, the environment, flags. Texts in, values out, and every fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.core.errors import Fault
from bootstrap.core.text import suggest_word
from bootstrap.incluster.text import one_line
from bootstrap.settings import strict_yaml
from bootstrap.settings.strict_yaml import Node, quote
from bootstrap.settings.validators import InvalidSetting, Meta

PREFIX = "INVOKE_"
INVOKE_KEYS = frozenset({"run", "runners", "sudo", "tasks", "timeouts", "debug"})
"""Top-level keys that invoke itself reads from the same file."""


@dataclass(frozen=True)
class Given:
    """What one layer says about one key. text: None where it cannot be a value; `otherwise` says what it is.

    where: file, variable or flag; line: 1-based, 0 if none.
    """

    where: str
    line: int
    text: str | None
    otherwise: str = ""

    @property
    def origin(self) -> str:
        """ "invoke.yaml line 7", or the variable or flag."""
        return f"{self.where} line {self.line}" if self.line else self.where


def to_variable(key: str) -> str:
    """The environment variable of a setting: "git.port" -> INVOKE_GIT_PORT."""
    return PREFIX + key.replace(".", "_").upper()


class Layers:
    """Reads one layer after the other. settings: every known key; those with a dot form groups.

    given: key -> what the last layer that names it says. values: key -> that, by its rule. faults: of all layers.
    """

    def __init__(self, settings: Mapping[str, Meta]) -> None:
        self._settings = settings
        self.groups = tuple(dict.fromkeys(key.partition(".")[0] for key in settings if "." in key))
        self.given: dict[str, Given] = {}
        self.values: dict[str, Any] = {}
        self.faults: list[Fault] = []

    def read_file(self, file: Path) -> None:
        """Read invoke.yaml. A missing or faulty file adds faults."""
        root, faults = strict_yaml.read(file, file.name)
        self.faults += faults
        if root is None or root.is_null:
            return
        if not isinstance(root.value, dict):
            self._add_fault(file.name, root.line, f"holds {root.describe()} where settings (key: value) are expected")
            return
        for key, node in root.value.items():
            if key in self.groups:
                self._read_group(file.name, key, node, root.lines[key])
            elif key not in INVOKE_KEYS:
                self._take(key, _read_node(file.name, node, root.lines[key]))

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Read the variables of settings. Those that begin with no group of ours belong to invoke itself."""
        names = {to_variable(key): key for key in self._settings}
        groups = tuple(f"{to_variable(group)}_" for group in self.groups)
        for name, text in environ.items():
            if name in names:
                self._take(names[name], Given(name, 0, text))
            elif name.startswith(groups):
                self._add_fault(name, 0, f"no setting has this variable{suggest_word(name, names)}")

    def read_flags(self, flags: Mapping[str, str]) -> None:
        """Read flags, key -> text, as given by --key ("bundle.file": by --bundle); an empty text was not given."""
        for key, text in flags.items():
            if text:
                self._take(key, Given(f"--{key.partition('.')[0].replace('_', '-')}", 0, text))

    def read_sets(self, sets: Sequence[str]) -> None:
        """Read what --set was given: "git.port=1" each."""
        for item in sets:
            key, equals, text = item.partition("=")
            key = one_line(key)
            if equals and key:
                self._take(key, Given(f"--set {key}", 0, text))
            else:
                self._add_fault("--set", 0, f"{quote(key)}: KEY=VALUE is expected, as in git.port=3000")

    def _read_group(self, where: str, group: str, node: Node, line: int) -> None:
        if not isinstance(node.value, dict):
            self._add_fault(where, line, f"{group}: {node.describe()} where settings below it are expected")
            return
        for key, inner in node.value.items():
            self._take(f"{group}.{key}", _read_node(where, inner, node.lines[key]))

    def _take(self, key: str, given: Given) -> None:
        complaint = self._find_complaint(key, given)
        if complaint:
            self._add_fault(given.where, given.line, f"{one_line(key)}: {complaint}")
        else:
            self.given[key] = given

    def _find_complaint(self, key: str, given: Given) -> str:
        """What is wrong with a value, "" if nothing; then it is kept."""
        if key not in self._settings:
            if key in self.groups:
                return "is a group; name a setting below it"
            return f"unknown key{suggest_word(key, [*self.groups, *self._settings])}"
        if given.text is None:
            return given.otherwise
        try:
            self.values[key] = self._settings[key].rule(given.text)
        except InvalidSetting as wrong:
            return str(wrong)
        return ""

    def _add_fault(self, where: str, line: int, text: str) -> None:
        self.faults.append(Fault(where, line, text))


def _read_node(where: str, node: Node, line: int) -> Given:
    """What a file says about one key, from the value there."""
    if isinstance(node.value, str) and not node.is_null:
        return Given(where, line, node.value)
    return Given(where, line, None, f'{node.describe()} where one value is expected (empty text is "")')
