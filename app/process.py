"""What every process of the service does first, and how much memory it may have."""

import os
import resource
import sys
from pathlib import Path

import psutil

from app.settings import Settings

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NO_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105  the name of a switch


def prepare(settings: Settings) -> None:
    """Keep files private, and the machine's hub token out of jobs unless it is for all of them."""
    os.umask(int(settings.umask, 8))
    if not settings.models.shared_hub_token:
        os.environ[_NO_TOKEN] = "1"  # read when huggingface_hub is imported, in children too
        if constants := sys.modules.get("huggingface_hub.constants"):
            setattr(constants, _NO_TOKEN, True)


def memory_limit() -> int:
    """Bytes this process may have: of the machine, of its container, of its ulimit."""
    limits: list[int] = [psutil.virtual_memory().total]
    for name in _CGROUPS:
        file = Path(name)
        text = file.read_text().strip() if file.exists() else ""
        if text.isdigit():
            limits.append(int(text))
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if space != resource.RLIM_INFINITY:
        limits.append(space)
    return min(limits)
