"""Archives for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def pack_tar(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files, each of them executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
