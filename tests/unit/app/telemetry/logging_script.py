"""Run as a process of its own: logs whatever it is given in every way that there is."""

import json
import logging
import sys
import threading
import warnings

import structlog

from app.telemetry import logs

secrets = json.loads(sys.stdin.read())
logs.configure("test", logs.LogFormat(sys.argv[1]), logs.LogLevel.DEBUG)


class Broken:
    def __repr__(self):
        raise ValueError(secrets[0])


def fail(text):
    local = f"local {text}"
    try:
        {}[local]
    except KeyError as error:
        raise RuntimeError(f"outer {text}") from error


def fail_together(text):
    raise ExceptionGroup(text, [ValueError(text)])


NAMES = ("secateur.api", "uvicorn.error", "uvicorn.access", "celery.worker", "asyncio", "other")
for name in NAMES:
    logging.getLogger(name).setLevel(logging.DEBUG)
for text in secrets:
    for name in NAMES:
        logger = logging.getLogger(name)
        message = f"message {text}"
        logger.info(message)
        logger.info("argument %s %r", text, {"inner": [text, text.encode()]})
        logger.info("extra", extra={"data": {"args": (text,), "deep": {"er": {"still": [text]}}}})
        badly = f"formats badly %d {text}"
        logger.info(badly, text)
        logger.warning("stack %s", text, stack_info=True)
        try:
            fail(text)
        except RuntimeError:
            logger.exception("failed with %s", text)
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", f"/x?q={text}", "1.1", 200
    )
    with structlog.contextvars.bound_contextvars(origin=text):
        structlog.get_logger().error(f"event {text}", bound=text)
        logging.getLogger("secateur").info("bound")
    try:
        fail_together(text)
    except ExceptionGroup:
        structlog.get_logger("mine").exception("group")
    warnings.warn(text, stacklevel=1)
    thread = threading.Thread(target=fail, args=(text,), name=text)
    thread.start()
    thread.join()
logging.getLogger("other").info("broken", extra={"broken": Broken()})
fail(secrets[-1])
