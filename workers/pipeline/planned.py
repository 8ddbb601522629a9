"""How long the longest step of a job should take here."""

from pathlib import Path

from app.domain.submission import JobSpec
from app.errors import UserError
from app.planning.layout import Anatomy
from app.planning.machines import Machine
from app.planning.model_files.files import read_config
from app.planning.model_files.headers import read_header
from app.planning.time import estimate_seconds


def longest_step(directory: Path, spec: JobSpec, machine: Machine) -> float:
    """Seconds, as a plan of the job would say; 0 where the headers cannot be read.

    Args:
        directory: the model's files.
        spec: the job.
        machine: this one, measured.
    """
    if not machine.gflops or not machine.disk_rate:
        return 0.0
    try:
        headers = [read_header(file) for file in sorted(directory.glob("*.safetensors"))]
        config = read_config(directory)
    except UserError:  # the job meets it as well, and says so
        return 0.0
    tensors = {name: tensor for header in headers for name, tensor in header.items()}
    seconds = estimate_seconds(Anatomy.of(tensors, config), spec, machine)
    return max(seconds.values())
