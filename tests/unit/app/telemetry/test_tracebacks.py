"""Tracebacks: causes first, without locals, and never longer than their bounds."""

import re

import pytest

from app.telemetry.tracebacks import message, render


def raised(function, *arguments):
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError


def deep(depth):
    if depth:
        # Two lines in turn: Python would fold frames that are alike into one.
        if depth % 2:
            deep(depth - 1)
        deep(depth - 1)
    raise ValueError("the innermost")


def chain(length):
    error = None
    for number in range(length):
        error = caused(ValueError(f"number {number}"), error)
    return error


def caused(error, cause):
    error.__cause__ = cause
    return error


def frames(text):
    return re.findall(r'File ".*", line \d+, in (\w+)', text)


def test_the_innermost_twenty_frames_are_told():
    assert frames(render(raised(deep, 3))) == ["raised", *["deep"] * 4]
    assert frames(render(raised(deep, 18))) == ["raised", *["deep"] * 19]
    assert frames(render(raised(deep, 19))) == ["deep"] * 20
    assert frames(render(raised(deep, 200))) == ["deep"] * 20


def test_five_exceptions_of_a_chain_are_told():
    five, six = render(chain(5)), render(chain(6))
    assert re.findall(r"number \d", five) == [f"number {n}" for n in range(5)]
    assert re.findall(r"number \d", six) == [f"number {n}" for n in range(1, 6)]
    assert "left out" not in five
    assert six.startswith("[earlier causes are left out]\n")
    assert six.count("which was the cause of:") == 4


def test_causes_come_first_and_how_they_led_to_the_next():
    def handle():
        try:
            {}["inner"]
        except KeyError:
            raise ValueError("outer")  # noqa: B904

    lines = render(raised(handle)).splitlines()
    told = [line for line in lines if not line.startswith((" ", "Traceback"))]
    assert told == ["KeyError: 'inner'", "while that was handled:", "ValueError: outer"]

    def translate():
        try:
            {}["inner"]
        except KeyError as error:
            raise ValueError("outer") from error

    assert "which was the cause of:\n" in render(raised(translate))

    def hide():
        try:
            {}["inner"]
        except KeyError:
            raise ValueError("outer") from None

    assert "inner" not in render(raised(hide)).splitlines()[-1]
    assert "KeyError: " not in render(raised(hide))


def test_a_chain_that_bites_its_tail_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert re.findall(r"first|second", render(first)) == ["second", "first"]


def test_kinds_are_named_by_where_they_come_from():
    class OwnError(Exception):
        pass

    assert render(ValueError("x")).endswith("\nValueError: x")
    qualified = f"{OwnError.__module__}.{OwnError.__qualname__}: x"
    assert render(OwnError("x")).endswith(f"\n{qualified}")
    OwnError.__module__ = "__main__"
    assert render(OwnError("x")).endswith(f"\n{OwnError.__qualname__}: x")


def test_five_exceptions_of_a_group_are_told():
    group = ExceptionGroup("several", [ValueError(f"number {n}") for n in range(7)])
    text = render(group)
    assert re.findall(r"with ValueError: number \d", text) == [
        f"with ValueError: number {n}" for n in range(5)
    ]
    assert "with" not in render(ValueError("alone"))


def test_texts_are_cut():
    assert message(ValueError("x " * 1000)) == "x " * 1000
    assert message(ValueError("x " * 1000 + "y")).endswith(" [cut]")
    fitting = ExceptionGroup("g", [ValueError("y " * 990) for _ in range(5)])
    assert "[cut]" not in render(fitting)
    error = caused(fitting, chain(1))
    error.__cause__ = ExceptionGroup("h", [ValueError("z " * 990) for _ in range(5)])
    cut = render(error)
    assert cut.endswith(" [cut]")
    assert 16384 - 512 <= len(cut) <= 16384 + len(" [cut]")


def test_length_of_all_that_is_told():
    def told(more):
        error = ExceptionGroup(("y " * 200)[:more], [ValueError("y " * 990)] * 5)
        error.__cause__ = ExceptionGroup("h", [ValueError("y " * 990)] * 3)
        return render(error)

    left = 16384 - len(told(1))
    assert len(told(1 + left)) == 16384
    assert not told(1 + left).endswith(" [cut]")
    assert told(2 + left).endswith(" [cut]")


def test_a_text_that_cannot_be_had_is_told_of():
    class BrokenError(Exception):
        def __str__(self):
            raise KeyError

    assert message(BrokenError()) == "<its text cannot be had: KeyError>"


@pytest.mark.parametrize("show", [render, message])
def test_secrets_are_masked(show):
    assert "hunter22" not in show(ValueError("password=hunter22"))
