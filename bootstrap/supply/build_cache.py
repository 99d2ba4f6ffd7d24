"""A cache of results by content: one folder per part and key, which is complete or absent.

A result appears by one rename, so a killed build leaves nothing that looks finished. A lock file per part lets two
commands build side by side: the second waits and then finds the first one's result.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from bootstrap.core.clock import Clock

KEEP = 2
"""Results kept per part: the last used ones, so that going back one version costs nothing."""
_UNFINISHED = ".new-"


def compute_key(*inputs: bytes | str) -> str:
    """The key of a part: the first 16 hex digits of the SHA-256 of all inputs, each preceded by its length."""
    digest = hashlib.sha256()
    for item in inputs:
        data = item.encode() if isinstance(item, str) else item
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:16]


def compute_tree_key(root: Path, paths: Iterable[Path]) -> str:
    """The key of files: their paths below `root`, whether they are executable, and their contents or link targets."""
    inputs: list[bytes | str] = []
    for path in sorted(paths):
        inputs.append(str(path.relative_to(root)))
        if path.is_symlink():
            inputs += ["link", str(path.readlink())]
        else:
            inputs += ["111" if path.stat().st_mode & 0o100 else "0", path.read_bytes()]
    return compute_key(*inputs)


class Store:
    """The cache's folders `root/store/PART/KEY`, and its locks."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self._clock = clock

    def get_path(self, part: str, key: str) -> Path:
        """The folder of a part and key, whether it exists or not."""
        return self.root / "store" / part / key

    def has(self, part: str, key: str) -> bool:
        """Whether the result is there."""
        return self.get_path(part, key).is_dir()

    def put(self, part: str, key: str, build: Callable[[Path], None], waiting: Callable[[], None]) -> Path:
        """The folder of a part and key. `build` is called with an empty folder to fill, only if the result is not
        there.

        waiting: called once if another process is building this part. Raises Interrupted while it waits, and whatever
        `build` raises.
        """
        target = self.get_path(part, key)
        with self.hold_lock(part, waiting):
            if target.is_dir():
                os.utime(target)
            else:
                self._build(target, build)
        return target

    def make_scratch(self, name: str) -> Path:
        """An empty folder for work in progress; what was in it is deleted. Only for the holder of the lock `name`."""
        folder = self.root / "tmp" / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    @contextlib.contextmanager
    def hold_lock(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock `name`. The kernel frees it when the process ends, however it ends. Raises Interrupted while it
        waits.

        waiting: called once if another process holds it.
        """
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as handle:
            if not _try_lock(handle):
                waiting()
                while not _try_lock(handle):  # not a blocking flock: an interruption has to get through
                    self._clock.sleep(0.2)
            yield

    @staticmethod
    def _build(target: Path, build: Callable[[Path], None]) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent))
        try:
            build(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        os.utime(target)
        _prune(target)


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prune(current: Path) -> None:
    """Called with the part's lock held, so unfinished folders belong to builds that were killed."""
    others = [path for path in current.parent.iterdir() if path != current]
    finished = [path for path in others if not path.name.startswith(_UNFINISHED)]
    finished.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in finished[KEEP - 1 :]:
        # Out of sight first: half deleted, it must not look like a result.
        others.append(path.rename(path.with_name(f"{_UNFINISHED}{path.name}")))
    for path in others:
        if path.name.startswith(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
