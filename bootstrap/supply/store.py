"""The content-addressed cache: one folder per part and key, complete or absent.

A result appears by one rename, so a killed build leaves nothing that looks finished. A lock file per
part lets two commands build side by side: the second waits and then finds the first one's result.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

KEEP = 2
"""Results kept per part: the newest ones, so that going back one version costs nothing."""


def key_of(*inputs: bytes | str) -> str:
    """The key of a part: 16 hex digits over all inputs, each framed by its length."""
    digest = hashlib.sha256()
    for item in inputs:
        data = item.encode() if isinstance(item, str) else item
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:16]


def tree_key(root: Path, paths: Iterable[Path]) -> str:
    """The key of files: their paths below `root`, modes and contents."""
    inputs: list[bytes | str] = []
    for path in sorted(paths):
        inputs += [str(path.relative_to(root)), f"{path.stat().st_mode & 0o111:o}", path.read_bytes()]
    return key_of(*inputs)


class Store:
    """Folders `root/store/<part>/<key>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, part: str, key: str) -> Path:
        return self.root / "store" / part / key

    def has(self, part: str, key: str) -> bool:
        return self.path(part, key).is_dir()

    def put(self, part: str, key: str, build: Callable[[Path], None], waiting: Callable[[], None]) -> Path:
        """The folder of (part, key); `build(empty folder)` is called only if it is not there.

        `waiting` is called once if another process is building this part.
        """
        target = self.path(part, key)
        with self.locked(part, waiting):
            if not target.is_dir():
                self._build(target, build)
        os.utime(target)
        return target

    def _build(self, target: Path, build: Callable[[Path], None]) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        try:
            build(temporary)
            temporary.chmod(0o755)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._prune(target.parent)

    @staticmethod
    def _prune(folder: Path) -> None:
        """Called with the part's lock held, so `.new-*` folders belong to builds that were killed."""
        results = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        finished = [path for path in results if not path.name.startswith(".new-")]
        for path in [*(p for p in results if p not in finished), *finished[KEEP:]]:
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock `name`; the kernel frees it when the process ends, however it does."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                while True:  # not a blocking flock: Ctrl-C has to get through
                    with contextlib.suppress(BlockingIOError):
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    time.sleep(0.2)
            yield
