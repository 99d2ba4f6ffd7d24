"""The tree drawn in the docstring of bootstrap.core.errors, held against the classes."""

from __future__ import annotations

import inspect
import re

from bootstrap.core import errors


def drawn() -> dict[str, int]:
    return {name: int(code) for name, code in re.findall(r"([A-Z]\w+) {2,}(\d+) ", errors.__doc__ or "")}


def test_the_drawing_lists_every_class_with_its_code() -> None:
    classes = {
        name: each.exit_code
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.BootstrapError)
    }
    assert drawn() == classes


def test_only_an_error_can_end_a_command_with_a_code_above_zero() -> None:
    assert all(code > 0 for code in drawn().values())
    assert drawn()["UsageError"] == 2
    assert drawn()["TimedOut"] == 124
    assert drawn()["Interrupted"] == 130


def test_an_error_carries_cause_evidence_and_hint() -> None:
    error = errors.CommandError("kind create failed with code 1", code=1, hint="invoke doctor", evidence="no space")
    assert (str(error), error.hint, error.evidence) == ("kind create failed with code 1", "invoke doctor", "no space")
