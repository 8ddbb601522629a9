"""A limit on the memory of a process, as far as this account may set one."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def cgroup(name: str, mebibytes: int) -> Path | None:
    """A memory cgroup with a limit, of either version; None where none may be made."""
    for root, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        group = Path("/sys/fs/cgroup") / root / name
        with suppress(OSError):
            group.mkdir(exist_ok=True)
            (group / limit).write_text(str(mebibytes << 20))
            return group
    return None


def entering(group: Path | None) -> Callable[[], None]:
    """What a new process calls to be in the group."""

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    return enter
