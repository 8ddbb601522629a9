"""Which class of workers a job goes to."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import JobTooLargeError, NoWorkerError, UnknownWorkerClassError
from app.planning.machines import Machine
from app.recipes.device import is_gpu, ordinal


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job asks for.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        worker_class: None where any will do.
        host_bytes: what it takes of a machine it computes on the CPU of; None where unknown.
        device_bytes: what it takes of a GPU.
    """

    device: str
    worker_class: str | None
    host_bytes: int | None
    device_bytes: int | None

    def needs(self, machine: Machine) -> int | None:
        """Bytes it takes there."""
        return self.device_bytes if uses_gpu(machine, self.device) else self.host_bytes


def place(machines: Sequence[Machine], wish: Wish) -> Machine | None:
    """The machine that fits: of those with a GPU if the job may use one, the smallest.

    Args:
        machines: one of each class.
        wish: what is asked for.

    Returns:
        None where no worker has ever started, so that nothing is known.

    Raises:
        UnknownWorkerClassError: no worker of the class asked for has ever started.
        NoWorkerError: no worker has the device.
        JobTooLargeError: the job fits none of them.
    """
    if wish.worker_class is not None:
        machines = _of_class(machines, wish.worker_class)
    elif not machines and not is_gpu(wish.device):
        return None
    able = [machine for machine in machines if _has(machine, wish.device)]
    if not able:
        raise NoWorkerError(_no_device(machines, wish))
    fitting = [m for m in able if room(m, wish.device) >= (wish.needs(m) or 0)]
    if not fitting:
        nearest = min(able, key=lambda m: (wish.needs(m) or 0) - room(m, wish.device))
        raise JobTooLargeError(
            f"the job needs about {gigabytes(wish.needs(nearest) or 0)} of memory; the worker "
            f"nearest to that, of class {nearest.worker_class!r}, has "
            f"{gigabytes(room(nearest, wish.device))}. "
            "Take fewer or shorter calibration rows, a smaller batch, or start a larger worker"
        )
    return min(fitting, key=lambda machine: _rank(machine, wish.device))


def room(machine: Machine, device: str) -> int:
    """Bytes a job on this device may take."""
    return (machine.device_bytes or 0) if uses_gpu(machine, device) else machine.memory_bytes


def uses_gpu(machine: Machine, device: str) -> bool:
    """Whether a job that asks for the device computes on a GPU there."""
    return machine.device == "cuda" and device != "cpu"


def gigabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:.1f} GB"


def _of_class(machines: Sequence[Machine], name: str) -> list[Machine]:
    found = [machine for machine in machines if machine.worker_class == name]
    if not found:
        known = ", ".join(sorted(machine.worker_class for machine in machines)) or "none"
        raise UnknownWorkerClassError(
            f"no worker of class {name!r} has ever started; known classes: {known}"
        )
    return found


def _has(machine: Machine, device: str) -> bool:
    return not is_gpu(device) or (machine.device == "cuda" and machine.devices > ordinal(device))


def _no_device(machines: Sequence[Machine], wish: Wish) -> str:
    among = f"of class {wish.worker_class!r}" if wish.worker_class else "of any class"
    most = max((machine.devices for machine in machines), default=0)
    return (
        f"device {wish.device!r} was asked for, and no worker {among} has it: "
        f"the most GPUs a worker has is {most}"
    )


def _rank(machine: Machine, device: str) -> tuple[bool, int, str]:
    """A GPU first where one may be used, last where it may not; then the smaller machine."""
    wasted = (machine.device == "cuda") == (device == "cpu")
    return wasted, room(machine, device), machine.worker_class
