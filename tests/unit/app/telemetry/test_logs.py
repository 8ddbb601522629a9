"""What reaches the log of a process, whichever way: no secrets, no locals, bounded, one line."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from app.telemetry import logs, tracebacks
from app.telemetry.redaction import LONGEST
from tests.unit.app.telemetry.test_redaction import HOLDING, SECRET

SCRIPT = Path(__file__).with_name("logging_script.py")
# The last one is also raised at the top of the script.
SECRETS = [*HOLDING, f"Bearer {SECRET}"]


@pytest.fixture(scope="module", params=logs.LogFormat)
def written(request):
    """Everything that a process wrote that logged each secret in every way."""
    done = subprocess.run(
        [sys.executable, SCRIPT, request.param],
        input=json.dumps(SECRETS),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path.cwd(),
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return request.param, done.stderr


def test_no_secret_is_written(written):
    _, text = written
    for holding in SECRETS:
        secret = SECRET if SECRET in holding else holding.rsplit(" ", maxsplit=1)[-1]
        assert secret not in text


def test_every_way_is_written(written):
    log_format, text = written
    ways = ("message", "argument", "extra", "stack", "failed with", "127.0.0.1:1", "event", "bound")
    for way in ways:
        assert text.count(way) >= len(SECRETS), way
    for way in ("outer", "uncaught exception", "group", "UserWarning", "cannot be written"):
        assert way in text
    if log_format is logs.LogFormat.JSON:
        lines = [line for line in text.splitlines() if "cannot be written" not in line]
        events = [json.loads(line) for line in lines]
        assert {event["service"] for event in events} == {"test"}
        assert "RuntimeError: outer" in events[-1]["exception"]


def test_no_local_variable_is_written(written):
    assert "local = " not in written[1].replace('local = f"local {text}"', "")
    assert "'local'" not in written[1]


def deep(levels):
    """Raise from a depth, with a local variable that is dear to write."""
    costly = "a customer's text" * 1000
    if levels:
        return deeper(levels - 1)
    raise ValueError(len(costly))


def deeper(levels):
    return deep(levels)


def test_a_traceback_is_bounded_in_frames():
    with pytest.raises(ValueError, match="17000") as raised:
        deep(100)
    text = tracebacks.render(raised.value)
    assert text.count(", in deep") == tracebacks.FRAMES
    assert "customer's text" not in text.replace('costly = "a customer\'s text" * 1000', "")
    assert text.endswith("ValueError: 17000")


def test_a_chain_of_causes_is_bounded():
    error = None
    for number in range(10_000):
        following = ValueError(f"number {number} " + "x" * 100_000)
        following.__cause__, error = error, following
    text = tracebacks.render(error)
    assert len(text) < tracebacks.LONGEST + 10
    assert "number 9999" in text
    assert "earlier causes are left out" in text
    assert "number 9994" not in text


def test_an_exception_that_cannot_be_told_is_told_of():
    class SilentError(Exception):
        def __str__(self):
            raise RuntimeError

    assert tracebacks.render(SilentError()).endswith("<its text cannot be had: RuntimeError>")


def test_a_circle_of_causes_ends():
    error = ValueError("a")
    error.__cause__ = TypeError("b")
    error.__cause__.__cause__ = error
    text = tracebacks.render(error)
    assert text.count("ValueError") == text.count("TypeError") == 1


@pytest.fixture
def lines():
    """Format records as a process of this format does."""

    def formatted(log_format, message, *args, **extra):
        root = logging.getLogger()
        before = root.handlers[:], root.level
        hooks = sys.excepthook, sys.unraisablehook
        try:
            logs.configure("test", log_format, logs.LogLevel.INFO)
            record = root.makeRecord("some", logging.INFO, "f", 1, message, args, None, extra=extra)
            return root.handlers[0].format(record)
        finally:
            root.handlers[:], root.level = before
            sys.excepthook, sys.unraisablehook = hooks
            logging.captureWarnings(capture=False)

    return formatted


@pytest.mark.parametrize("log_format", logs.LogFormat)
def test_a_line_is_bounded(lines, log_format):
    many = {f"field{n}": ["x" * 10_000] * 1000 for n in range(1000)}
    line = lines(log_format, "%s", "y" * 10_000_000, **many, deep={"a": {"b": {"c": {"d": {}}}}})
    assert len(line) < 2 * logs.FIELDS + LONGEST


def test_no_text_pretends_to_be_a_line(lines):
    line = lines(logs.LogFormat.TEXT, "a\n2026-01-01 [info] b\x1b[2K%s", "\r\u2028", more="c\nd")
    assert len(line.splitlines()) == 1
    assert "a\\n2026-01-01 [info] b\\x1b[2K" in line
