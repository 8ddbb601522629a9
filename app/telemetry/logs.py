"""Logs: one line an event, with the ids of the work at hand, whoever writes it.

Our own loggers and those of libraries go through the standard library's logging; structlog renders
them. What `structlog.contextvars` has bound (request, job, attempt, task) is in every line.
"""

import logging
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.types import EventDict, Processor


class LogFormat(StrEnum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The quietest lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


# Libraries that tell at INFO what our own lines tell with more ids.
QUIET = ("httpx2", "httpcore2", "alembic.runtime.plugins", "uvicorn.access", "celery.app.trace")


def configure(service: str, log_format: LogFormat, level: LogLevel) -> None:
    """Have this process write its log to standard error.

    Args:
        service: name of the process, in every line.
        log_format: for people or for machines.
        level: what is quieter is left out.
    """

    def name_service(_: Any, __: str, event: "EventDict") -> "EventDict":
        event["service"] = service
        return event

    every: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        name_service,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[Processor] = [structlog.dev.ConsoleRenderer(colors=False)]
    if log_format is LogFormat.JSON:
        rendering = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=every,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
