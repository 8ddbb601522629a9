"""What every process of the service does first."""

import os
import sys

from app.settings import Settings

_NO_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105  the name of a switch


def prepare(settings: Settings) -> None:
    """Keep files private, and the machine's hub token out of jobs unless it is for all of them."""
    os.umask(int(settings.umask, 8))
    if not settings.models.shared_hub_token:
        os.environ[_NO_TOKEN] = "1"  # read when huggingface_hub is imported, in children too
        if constants := sys.modules.get("huggingface_hub.constants"):
            setattr(constants, _NO_TOKEN, True)
