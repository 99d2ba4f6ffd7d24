"""A place from which no other host can be reached: a network name space that has nothing but its own loopback."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from bootstrap.world import host

NSENTER, UNSHARE = "/usr/bin/nsenter", "/usr/bin/unshare"


class Enclosure:
    """Use as a context. prefix: words before a command that is to run inside; its children stay inside as well."""

    def __init__(self) -> None:
        if not host.is_root():
            pytest.skip("only root may make a network name space")
        script = "ip link set lo up && exec sleep infinity"
        self._holder = subprocess.Popen([UNSHARE, "--net", "/bin/sh", "-c", script])
        self.prefix = (NSENTER, f"--net=/proc/{self._holder.pid}/ns/net", "--")

    def __enter__(self) -> Enclosure:
        end = time.monotonic() + 10
        outside = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self._holder.pid}/ns/net").readlink() == outside or not self._up():
            assert time.monotonic() < end, "there is no network name space"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.prefix, *words], capture_output=True, text=True, timeout=30, check=False)

    def _up(self) -> bool:
        return "UP" in self.run("ip", "-oneline", "link", "show", "dev", "lo").stdout.partition(">")[0]
