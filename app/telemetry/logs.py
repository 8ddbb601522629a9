"""Logs: one line an event, with the ids of the work at hand, whoever writes it.

Our own loggers, those of libraries and warnings go through the standard library's logging;
structlog renders them. What `structlog.contextvars` has bound (request, job, attempt, task) is in
every line. Nothing reaches a line but through `_bounded`: without secrets, bounded in size.
"""

import logging
import re
import sys
import threading
from enum import StrEnum
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

from app.telemetry import tracebacks
from app.telemetry.redaction import MASK, is_secret, scrub

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
# Fields that no caller fills.
OURS = ("service", "logger", "level", "timestamp")
MOST_ITEMS = 50  # of a mapping or a sequence
DEEPEST = 4
VALUE = 2000  # characters of one value that a line has beside its message
FIELDS = 16384  # characters of them all
_CONTAINERS = (dict, list, tuple, set, frozenset)
# Characters that move a terminal's cursor, or pretend to begin another line.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

logger = logging.getLogger("secateur")


def configure(service: str, log_format: LogFormat, level: LogLevel) -> None:
    """Have this process write its log to standard error, uncaught exceptions included.

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
    rendering: list[Processor] = [_one_line, structlog.dev.ConsoleRenderer(colors=False)]
    if log_format is LogFormat.JSON:
        rendering = [structlog.processors.JSONRenderer()]
    drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=every, processors=[drop_meta, _bounded, *rendering]
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[*every, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    logging.captureWarnings(capture=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


class _Handler(logging.StreamHandler[Any]):
    """As the standard library's, which would print the arguments of a record it cannot format."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  as it is called
        error = sys.exc_info()[1]
        if isinstance(error, OSError):  # nobody reads the log any more
            return
        why = f"{type(error).__name__}: {tracebacks.message(error)}" if error else ""
        told = scrub(str(record.msg), VALUE)
        self.stream.write(f"a line of {record.name} cannot be written: {told!r} ({why})\n")


def _bounded(_: Any, __: str, event: "EventDict") -> "EventDict":
    """What the line says, as plain values without secrets; an exception as its text."""
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    stack = event.pop("stack_info", None)
    message = scrub(str(event.pop("event", ""))).strip()
    ours = {key: event.pop(key) for key in OURS if key in event}
    cleaned: dict[str, Any] = {"event": message, **ours, **_Fields().clean(event)}
    if isinstance(stack, str):
        cleaned["stack"] = scrub(stack)
    if isinstance(error, BaseException):
        cleaned["exception"] = tracebacks.render(error)
    return cleaned


class _Fields:
    """Makes plain values of what a line has beside its message, as long as there is room."""

    def __init__(self) -> None:
        self._room = FIELDS

    def clean(self, value: Any, depth: int = 0) -> Any:
        if self._room <= 0 or (depth >= DEEPEST and isinstance(value, _CONTAINERS)):
            return "..."
        match value:
            case None | bool() | int() | float():
                self._room -= 8
                return value
            case dict():
                items = islice(value.items(), MOST_ITEMS)
                return {
                    self._text(str(key)): self._value(str(key), item, depth) for key, item in items
                }
            case list() | tuple() | set() | frozenset():
                return [self.clean(item, depth + 1) for item in islice(value, MOST_ITEMS)]
            case _:
                return self._text(_told(value))

    def _value(self, name: str, value: Any, depth: int) -> Any:
        return MASK if is_secret(name) else self.clean(value, depth + 1)

    def _text(self, text: str) -> str:
        cleaned = scrub(text, min(VALUE, max(self._room, 1)))
        self._room -= len(cleaned)
        return cleaned


def _told(value: Any) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001  whatever a foreign repr does
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _one_line(_: Any, __: str, event: "EventDict") -> "EventDict":
    """For people: control characters as escapes, so that no text looks like lines of its own."""
    blocks = {"exception", "stack"}
    return {
        key: _CONTROL.sub(lambda found: ascii(found.group())[1:-1], value)
        if isinstance(value, str) and key not in blocks
        else value
        for key, value in event.items()
    }


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        logger.critical("uncaught exception", exc_info=error)


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "a thread"
        logger.critical("uncaught exception in %s", name, exc_info=args.exc_value)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    logger.error("exception ignored in %r", args.object, exc_info=args.exc_value)
