"""How the tasks of a run share its time."""

from __future__ import annotations

import pytest

from bootstrap.settings.run_limits import LAST_TASK, longest_rollout, task_limits


@pytest.mark.parametrize("minutes", [5, 6, 10, 20, 60, 1440])
def test_a_rollout_is_over_long_before_its_task(minutes: int) -> None:
    """Else the task is ended in the middle of it, and nobody waits for the way back."""
    limits = task_limits(minutes)
    assert sum(limits.values()) <= minutes * 60
    assert limits["notify"] == LAST_TASK
    assert limits["deploy"] - longest_rollout(minutes) >= 10
    assert longest_rollout(minutes) >= limits["deploy"] // 2


def test_of_the_default_time() -> None:
    assert task_limits(20) == {"git-clone": 180, "build-image": 600, "deploy": 300, "notify": 120}
    assert longest_rollout(20) == 225
