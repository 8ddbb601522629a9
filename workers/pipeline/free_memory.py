"""How much memory another process may take beside this one's."""

import psutil
import torch

from workers.pipeline.context import RunContext


def free_bytes(context: RunContext, device: torch.device) -> int:
    """Bytes that another process may take now: of the GPU, or of what a job may have here."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    available: int = psutil.virtual_memory().available
    if context.machine is None:
        return available
    ours = psutil.Process()
    taken = sum(_taken(each) for each in (ours, *ours.children(recursive=True)))
    return max(0, min(available, context.machine.memory_bytes - taken))


def _taken(process: psutil.Process) -> int:
    """Without pages of files, which the system drops when it wants to."""
    try:
        held = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(held.rss - getattr(held, "shared", 0))
