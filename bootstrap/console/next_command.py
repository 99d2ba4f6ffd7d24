"""Which command to type next, from what was seen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bootstrap.core.model import Failed, Pending, Ready, Unknown
from bootstrap.objects.run_status import Run
from bootstrap.steps.reconcile import Outcome


@dataclass(frozen=True)
class Advice:
    """command: to be typed as it is. why: half a sentence that says what for."""

    command: str
    why: str


def advise(outcomes: Sequence[Outcome], runs: Sequence[Run] | None, flags: str = "") -> Advice:
    """runs: newest first, None when they could not be read. flags: " --name NAME", or ""."""
    return _repair(outcomes, flags) or _next_run(runs, flags)


def _repair(outcomes: Sequence[Outcome], flags: str) -> Advice | None:
    wrong = [each for each in outcomes if not isinstance(each.verdict, Ready)]
    if not wrong:
        return None
    # What failed stays so until something else is typed; what only waits for another step says nothing of the cause.
    first = min(wrong, key=lambda each: (Failed, Pending, Unknown).index(type(each.verdict)))
    why = f"{first.name}: {first.verdict.why}"
    if isinstance(first.verdict, Failed) and first.verdict.hint:
        return Advice(first.verdict.hint, why)
    return Advice(f"invoke up{flags}", why)


def _next_run(runs: Sequence[Run] | None, flags: str) -> Advice:
    if runs is None:
        return Advice(f"invoke doctor{flags}", "the environment is ready, but its runs cannot be read")
    if not runs:
        return Advice(f"invoke test-run{flags}", "everything is ready; nothing has run yet")
    newest = runs[0]
    if not newest.state.over:
        return Advice(
            f"invoke logs --run {newest.name}{flags}", "a run is under way; its log is below, or in the terminal"
        )
    if newest.state.bad:
        return Advice(
            f"invoke rerun --run {newest.name}{flags}", f"run {newest.name}: {newest.why or newest.state.value}"
        )
    return Advice(f"invoke test-run{flags}", "everything is ready; push a commit, then run it")
