"""Samples of answers: short, and of characters that can be stored and printed."""

import pytest

from app.recipes.evaluation import MOST_CHARACTERS, SampleAnswer


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" red\n", "red"),
        ("one\ntwo", "one\ntwo"),
        ("a\x00b\ud800c\x1bd", "a\ufffdb\ufffdc\ufffdd"),
        ("x" * MOST_CHARACTERS, "x" * MOST_CHARACTERS),
        ("x" * 10_000, "x" * (MOST_CHARACTERS - 1) + "\u2026"),
        ("\u6a2a\u30b9", "\u6a2a\u30b9"),
    ],
)
def test_what_was_said_is_shown_as_far_as_it_can_be(text, shown):
    found = SampleAnswer.of(1, prompt=text, expected=text, dense=text, pruned=text)
    assert {found.prompt, found.expected, found.dense, found.pruned} == {shown}
    found.model_dump_json().encode()
