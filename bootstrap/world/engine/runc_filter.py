"""An OCI runtime in front of runc that leaves out the capabilities this machine does not have.

Some virtual machines and sandboxes withhold a capability from the bounding set. runc then refuses
`--privileged` containers ("unable to apply caps"), although nothing in them needs that one. dockerd
starts this file by itself at each create, run and exec: it stands alone, uses the standard library
only, and is copied out of the checkout so that moving the checkout cannot break running containers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CAPABILITIES = """
    CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID
    CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK
    CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN
    CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE
    CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
    CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE
""".split()  # noqa: SIM905 - one name per quoted word reads worse
"""Names by bit, as in linux/capability.h."""


def find_missing_capabilities(bounding: int, last: int) -> frozenset[str]:
    """Names of the capabilities up to bit `last` that are not in the set `bounding`."""
    return frozenset(name for bit, name in enumerate(CAPABILITIES[: last + 1]) if not bounding >> bit & 1)


def read_missing_capabilities(proc: Path = Path("/proc")) -> frozenset[str]:
    """Names of the capabilities that the kernel knows and this process may not pass on (CapBnd in /proc/PID/status)."""
    status = (proc / "self/status").read_text()
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    last = int((proc / "sys/kernel/cap_last_cap").read_text())
    return find_missing_capabilities(int(bounding, 16), last)


def filter_process(process: dict[str, Any], without: frozenset[str]) -> dict[str, Any]:
    """The same OCI process (runtime-spec, config.md) with `without` taken out of each of its capability sets."""
    sets = process.get("capabilities")
    if not sets:
        return process
    kept = {kind: [name for name in names or () if name not in without] for kind, names in sets.items()}
    return {**process, "capabilities": kept}


def rewrite_file(file: Path, without: frozenset[str], *, key: str = "") -> None:
    """Filter the OCI process in `file`: the whole document, or its member `key`."""
    before = json.loads(file.read_text())
    after = {**before, key: filter_process(before.get(key) or {}, without)} if key else filter_process(before, without)
    if after != before:
        file.write_text(json.dumps(after))


def find_option(argv: Sequence[str], *names: str) -> str:
    """The value of the first of `names` in argv, written `--name value` or `--name=value`; "" without one."""
    for index, word in enumerate(argv):
        head, equals, value = word.partition("=")
        if head in names:
            return value if equals else "".join(argv[index + 1 : index + 2])
    return ""


def prepare_file(argv: Sequence[str], without: frozenset[str]) -> None:
    """Rewrite the file that runc is about to read, if its arguments `argv` are those of create, run or exec."""
    if "exec" in argv:
        process = find_option(argv, "--process", "-p")
        if process:
            rewrite_file(Path(process), without)
    elif "create" in argv or "run" in argv:
        bundle = find_option(argv, "--bundle", "-b") or "."
        rewrite_file(Path(bundle) / "config.json", without, key="process")


def main() -> None:
    """Prepare the file for this machine, then become runc with the same arguments."""
    runc = shutil.which("runc") or "/usr/sbin/runc"
    prepare_file(sys.argv[1:], read_missing_capabilities())
    os.execv(runc, [runc, *sys.argv[1:]])  # noqa: S606 - becoming runc is the whole point


if __name__ == "__main__":
    main()
