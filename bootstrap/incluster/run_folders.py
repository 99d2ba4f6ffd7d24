"""The folders of runs on the volume that their tasks share: which are left over, and how one goes.

The last task of a run removes the run's folder. A run that is deleted, cancelled at once or killed never gets there.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

MARKER = ".tekton-bootstrap-run"
"""File in the folder of a run, with the run's name; the task git-clone writes it. Other folders are the user's."""


def list_run_folders(volume: Path) -> list[str]:
    """The names of the folders in `volume` that are a run's, sorted. Raises OSError."""
    return sorted(each.name for each in volume.iterdir() if _read_run(each) == each.name)


def find_left_over(folders: Collection[str], under_way: Collection[str]) -> list[str]:
    """The folders that no run under way has. The folders are to be listed before the runs: a run is there first."""
    return [each for each in folders if each not in set(under_way)]


def remove_run_folder(volume: Path, run: str) -> None:
    """Remove the folder of a run, its marker last, so that one that is removed in part is found again.

    Links are removed and not followed. Raises OSError.
    """
    folder = volume / run
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != MARKER:
            each.unlink()
    (folder / MARKER).unlink()
    folder.rmdir()


def _read_run(folder: Path) -> str:
    """The name in the folder's marker; "" if it has none, or is no folder."""
    if folder.is_symlink() or not folder.is_dir():
        return ""
    try:
        with (folder / MARKER).open(encoding="utf-8", errors="replace") as file:
            return file.read(300).strip()
    except OSError:
        return ""
