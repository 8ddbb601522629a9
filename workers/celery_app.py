"""Where the Celery application was: `celery -A workers.celery_app` of earlier installations."""

import warnings

from workers.runtime.celery_app import celery

__all__ = ["celery"]

warnings.warn(
    "`-A workers.celery_app` is now `-A workers.runtime.celery_app`",
    FutureWarning,
    stacklevel=2,
)
