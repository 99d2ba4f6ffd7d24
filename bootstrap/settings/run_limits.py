"""How the tasks of a run share its time. Pure."""

from __future__ import annotations

SHARES = {"git-clone": 3, "build-image": 10, "deploy": 5}
"""Parts of the time that is left beside the last task; of the default 20 minutes they are minutes."""
LAST_TASK = 120
"""Seconds for notify; bootstrap.incluster.notify gives up before."""


def task_limits(minutes: int) -> dict[str, int]:
    """Seconds that each task of a run has, which is to be over after so many minutes.

    Together they leave the last task its time, so that a run which takes too long is told as well.
    """
    rest = minutes * 60 - LAST_TASK
    return {task: rest * share // sum(SHARES.values()) for task, share in SHARES.items()} | {"notify": LAST_TASK}


def longest_rollout(minutes: int) -> int:
    """Seconds that the rollout may take in a run of so many minutes.

    A quarter of its task's time is kept for what comes after a rollout that fails: to say why, and to go back.
    """
    return task_limits(minutes)["deploy"] * 3 // 4
