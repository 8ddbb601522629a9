"""The demo is judged on sentences that calibration has not seen."""

import re
from importlib.resources import files

import pytest


def sentences(package: str, name: str) -> list[str]:
    return files(package).joinpath(name).read_text().splitlines()


CALIBRATION = sentences("workers.pipeline", "data/sentences.txt")
HELD_OUT = sentences("workers.pipeline", "data/held_out.txt")


def word_runs(sentence: str, length: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", sentence.lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def test_no_five_words_in_a_row_are_shared():
    seen = set().union(*(word_runs(sentence, 5) for sentence in CALIBRATION))
    assert [s for s in HELD_OUT if word_runs(s, 5) & seen] == []


@pytest.mark.parametrize(("lines", "at_least"), [(CALIBRATION, 160), (HELD_OUT, 60)])
def test_sentences_are_many_different_and_whole(lines, at_least):
    assert len(lines) >= at_least
    assert len(set(lines)) == len(lines)
    assert all(8 <= len(line.split()) <= 30 and line.endswith(".") for line in lines)
