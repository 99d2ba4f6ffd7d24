"""Why a run failed, in plain words of the reader's language."""

from __future__ import annotations

from bootstrap.console.translations import Translator
from bootstrap.objects.run_status import Run, RunState

_CODES = {
    126: "the program could not be started",
    127: "the program was not found",
    130: "it was interrupted",
    137: "it was killed, most often because it needed more memory than it may have",
    139: "it crashed",
    143: "it was told to stop",
}


def explain_failure(run: Run, translate: Translator) -> str:
    """Why the run failed, was cancelled, timed out or was superseded; "" for one that succeeded or is not over."""
    task = run.failed_task
    if run.state is RunState.SUCCEEDED or not run.state.is_over:
        return ""
    if run.state is RunState.CANCELLED:
        return translate("It was cancelled.")
    if run.state is RunState.SUPERSEDED:
        if run.superseded_by:
            return translate("Run {name} came after it, and took its place.", name=run.superseded_by)
        return translate.translate_message(run.why)
    if run.state is RunState.TIMED_OUT:
        where = translate(" It was in task {task}.", task=task.name) if task else ""
        return translate("It took longer than a run may take.") + where
    if task is None:
        return run.why
    if task.state is RunState.TIMED_OUT:
        return translate("Task {task} took longer than it may.", task=task.name)
    if not task.failed_step:
        return translate("Task {task} could not be run: {why}", task=task.name, why=task.why)
    code = task.exit_code or 0
    text = translate(
        "Task {task} failed: its step {step} ended with exit {code}", task=task.name, step=task.failed_step, code=code
    )
    if "OOMKilled" in task.why:
        return f"{text} ({translate('it needed more memory than it may have')})."
    return f"{text} ({translate(_CODES[code])})." if code in _CODES else f"{text}."
