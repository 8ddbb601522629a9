"""The tasks that a worker offers: those that load here, with their data."""

import logging
import time

from app.recipes.tasks import OFFER, Harness
from workers.pipeline.context import HarnessAccess
from workers.pipeline.line_process import ProcessFaultError
from workers.pipeline.tasks.harness import open_harness

logger = logging.getLogger("secateur.tasks")

_SECONDS = 300.0


def find_offers(access: HarnessAccess) -> tuple[str, ...]:
    """Names of tasks as workers announce them: `lm-eval/hellaswag`; a harness that fails has none.

    Args:
        access: what this worker has.
    """
    found: list[str] = []
    for harness in access.interpreters:
        try:
            found += _of(access, harness)
        except (ProcessFaultError, OSError) as error:
            logger.warning("%s is not offered: %s", harness, error)
        except Exception:
            logger.exception("%s is not offered", harness)
    return tuple(sorted(found))


def _of(access: HarnessAccess, harness: Harness) -> list[str]:
    wanted = [name.partition("/") for name in access.offered]
    names = [name for its, _, name in wanted if its == harness]
    task = {"do": "offer", "names": names}
    deadline = time.monotonic() + _SECONDS
    with open_harness(
        access, harness, task, name=harness, deadline=deadline, check=lambda: None
    ) as process:
        told = process.hear()
    for name, reason in told["left_out"].items():
        logger.warning("the task %s/%s is not offered: %s", harness, name, reason)
    return [offer for name in told["tasks"] if OFFER.fullmatch(offer := f"{harness}/{name}")]
