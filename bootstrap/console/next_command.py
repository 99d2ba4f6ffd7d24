"""Which command to type next, from the state of the steps and the runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bootstrap.core.model import Failed, Pending, Ready, Unknown
from bootstrap.objects.run_status import Run
from bootstrap.steps.reconcile import Outcome


@dataclass(frozen=True)
class NextCommand:
    """command: to be typed as it is. why: half a sentence that says what it is for."""

    command: str
    why: str


def choose_next_command(outcomes: Sequence[Outcome], runs: Sequence[Run] | None, flags: str = "") -> NextCommand:
    """The command that repairs the first step that is not ready; if all are, the one that follows from the newest run.

    outcomes: of every step. runs: newest first, None if they could not be read. flags: what commands need in order to
    mean this environment, " --name NAME" or "".
    """
    return _repair(outcomes, flags) or _next_run(runs, flags)


def _repair(outcomes: Sequence[Outcome], flags: str) -> NextCommand | None:
    wrong = [each for each in outcomes if not isinstance(each.verdict, Ready)]
    if not wrong:
        return None
    # What failed stays so until something else is typed; what only waits for another step says nothing of the cause.
    first = min(wrong, key=lambda each: (Failed, Pending, Unknown).index(type(each.verdict)))
    why = f"{first.name}: {first.verdict.why}"
    if isinstance(first.verdict, Failed) and first.verdict.hint:
        return NextCommand(first.verdict.hint, why)
    return NextCommand(f"invoke up{flags}", why)


def _next_run(runs: Sequence[Run] | None, flags: str) -> NextCommand:
    if runs is None:
        return NextCommand(f"invoke doctor{flags}", "the environment is ready, but its runs cannot be read")
    if not runs:
        return NextCommand(f"invoke test-run{flags}", "everything is ready; nothing has run yet")
    newest = runs[0]
    if not newest.state.is_over:
        return NextCommand(
            f"invoke logs --run {newest.name}{flags}", "a run is under way; its log is below, or in the terminal"
        )
    if newest.state.is_bad:
        return NextCommand(
            f"invoke rerun --run {newest.name}{flags}", f"run {newest.name}: {newest.why or newest.state.value}"
        )
    return NextCommand(f"invoke test-run{flags}", "everything is ready; push a commit, then run it")
