"""Tries again what failed for a reason that may pass: a deadlock, a cut connection, a busy disk."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger("secateur.retries")

T = TypeVar("T")

_FIRST, _LONGEST = 0.05, 5.0  # seconds between two tries


def retried(
    work: Callable[[], T],
    passing: Callable[[Exception], bool],
    *,
    seconds: float,
    pause: Callable[[float], None] = time.sleep,
) -> T:
    """What `work` returns in the end; its last error once `seconds` are over.

    Args:
        work: may be called several times.
        passing: whether an error is worth another try.
        seconds: no try begins later than this after the first.
        pause: waits; what it raises ends the tries.
    """
    until = time.monotonic() + seconds
    wait = _FIRST
    while True:
        try:
            return work()
        except Exception as error:
            if not passing(error) or time.monotonic() + wait > until:
                raise
            reason = str(error).strip().partition("\n")[0]
            logger.warning("trying again in %.2f s: %s: %s", wait, type(error).__name__, reason)
        # Two that met in a deadlock should not meet again.
        pause(wait * random.uniform(0.5, 1))  # noqa: S311  no secret
        wait = min(2 * wait, _LONGEST)
