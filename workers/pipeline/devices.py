"""Which device a job computes on, and how exactly."""

import torch

from app.errors import NoWorkerError
from app.recipes.device import is_gpu, ordinal


def find_device(asked: str, default: str = "auto") -> torch.device:
    """The device of this machine that a job means.

    Args:
        asked: by the job: auto, cpu, cuda or cuda:N.
        default: what the worker takes `auto` for; itself auto: a GPU if there is one.

    Raises:
        NoWorkerError: this machine has no such GPU.
    """
    name = default if asked == "auto" else asked
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not is_gpu(name):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if ordinal(name) >= count:
        raise NoWorkerError(f"this worker has {count} GPUs; there is no {name}")
    return torch.device("cuda", ordinal(name))


def set_precision(*, tf32: bool) -> None:
    """Whether GPUs may round the factors of float32 products; torch lets convolutions, by default.

    Masks depend on small differences, so the service asks for what float32 says.
    """
    setattr(torch.backends, "fp32_precision", "tf32" if tf32 else "ieee")  # noqa: B010 - torch does not declare it
