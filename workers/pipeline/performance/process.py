"""A process that has one model and runs it when told to; see `__main__` for its other side."""

import sys
from collections.abc import Callable
from typing import Any

from workers.pipeline.line_process import LineProcess, environment

_MODULE = "workers.pipeline.performance"
# Whatever a file says, nothing is downloaded.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


class ModelProcess(LineProcess):
    """Use it in a `with`: the process ends there at the latest."""

    def __init__(
        self, name: str, task: dict[str, Any], *, deadline: float, check: Callable[[], None]
    ) -> None:
        """Start nothing yet.

        Args:
            name: of the model, for messages.
            task: as the other side wants it.
            deadline: when it must be done, by the monotonic clock.
            check: called while waiting; what it raises ends the wait.
        """
        # -P: the working directory is no place to import from.
        command = [sys.executable, "-P", "-m", _MODULE]
        visible = environment(_OFFLINE)
        super().__init__(name, command, task, deadline=deadline, check=check, environment=visible)

    def turn(self) -> dict[str, Any]:
        """Let it run the model once; returns what it says, as `hear`."""
        self.say("run")
        return self.hear()
