"""What the settings say of evaluation harnesses; imported by the parent too, so without torch."""

from typing import TYPE_CHECKING

from app.settings import Settings
from workers.pipeline.context import HarnessAccess

if TYPE_CHECKING:
    from app.recipes.tasks import Harness


def harness_access(settings: Settings) -> HarnessAccess:
    """The harnesses of this worker."""
    given = settings.tasks
    named: dict[Harness, str] = {"lm-eval": given.lm_eval, "lmms-eval": given.lmms_eval}
    return HarnessAccess(
        # Not resolved: the interpreter of an environment is a link out of it.
        interpreters={name: settings.data_dir / path for name, path in named.items() if path},
        folder=given.dir,
        offered=given.offered,
        network=given.network,
        seconds=given.seconds,
    )
