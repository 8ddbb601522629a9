"""Two models run in turns, so that whatever else the machine does meets both alike."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.recipes.performance import ROUNDS, Timed
from workers.pipeline.line_process import ProcessFaultError
from workers.pipeline.performance.process import ModelProcess

_BOTH = 2.25  # peaks of the dense model: its own, and somewhat more for the result


@dataclass
class Side:
    """One of the models.

    Attributes:
        start: makes its process.
        seconds: of every round.
        told: what it takes, as its process said last.
    """

    start: Callable[[], ModelProcess]
    seconds: list[dict[Timed, float]] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def loaded(self) -> Iterator[ModelProcess]:
        """Its process, in which the model has run once, untimed."""
        with self.start() as process:
            self.told = process.hear()
            yield process

    def run(self, process: ModelProcess) -> None:
        """Run it once more."""
        self.told = process.turn()
        self.seconds.append(self.told["seconds"])


def take_turns(
    sides: Sequence[Side], free: Callable[[], int], progress: Callable[[float], None]
) -> bool:
    """Run both in every round; which one goes first changes from round to round.

    Where memory does not hold both, each is loaded anew for every round, and ends before the other
    is loaded. When the time is over, the rounds that were done count.

    Args:
        sides: the dense model's first.
        free: tells the bytes of memory that there are.
        progress: told the share of rounds done.

    Returns:
        Whether both were in memory at a time.

    Raises:
        ProcessFaultError: not one round was done.
    """
    room = free()  # transformers maps files on a CPU: a loaded model looks as if it took nothing
    with ExitStack() as opened:
        processes = [opened.enter_context(sides[0].loaded())]
        together: bool = room >= _BOTH * sides[0].told["peak"]
        if together:
            processes.append(opened.enter_context(sides[1].loaded()))
        else:
            opened.close()
        for number in range(ROUNDS):
            try:
                for at in (0, 1) if number % 2 == 0 else (1, 0):
                    if together:
                        sides[at].run(processes[at])
                        continue
                    with sides[at].loaded() as process:
                        sides[at].run(process)
            except ProcessFaultError as error:
                if number and error.fault == "timed_out":
                    break
                raise
            progress((number + 1) / ROUNDS)
    return together
