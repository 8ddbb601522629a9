"""Samples are reproducible and their answers are right."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from workers.scenes.questions import KINDS, NUMBERS, PLURALS
from workers.scenes.samples import samples
from workers.scenes.scene import COLOURS, MAX_THINGS, POSITIONS, Scene, Thing, sample_scene
from workers.scenes.splits import Split


def drawn(kind, count=200, seed=0):
    return list(islice(samples(Split.TEST, seed=seed, kind=kind), count))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_samples(kind):
    first, second = drawn(kind, 5), drawn(kind, 5)
    for one, other in zip(first, second, strict=True):
        assert (one.scene, one.question, one.answer) == (other.scene, other.question, other.answer)
        assert one.image.tobytes() == other.image.tobytes()


def test_a_scene_holds_two_to_five_things_in_cells_of_their_own():
    for index in range(100):
        scene = sample_scene(Split.TRAIN, Split.TRAIN.rng(0, index))
        cells = [thing.cell for thing in scene.things]
        assert 2 <= len(cells) <= MAX_THINGS
        assert cells == sorted(set(cells))


def test_things_are_drawn_in_their_cells():
    for sample in drawn("caption", 20):
        pixels = np.asarray(sample.image, dtype=float).reshape(3, 16, 3, 16, 3)
        contrast = np.ptp(pixels.max(axis=4), axis=(1, 3)).ravel()
        occupied = np.isin(np.arange(9), [thing.cell for thing in sample.scene.things])
        assert contrast[occupied].min() > contrast[~occupied].max()


def test_captions_read_row_by_row():
    scene = Scene((Thing(0, "red", "circle"), Thing(4, "blue", "7", 7), Thing(5, "red", "1", 1)))
    assert scene.key == "red circle top-left , blue 7 middle-center , red 1 middle-right"


def test_digit_strings_read_row_by_row():
    for sample in drawn("digits"):
        things = sorted(sample.scene.things, key=lambda thing: (thing.row, thing.column))
        assert sample.answer.split() == [thing.kind for thing in things if thing.is_digit]


@pytest.mark.parametrize("kind", ["cell", "digit", "position"])
def test_cell_answers_name_what_stands_there(kind):
    for sample in drawn(kind):
        place = sample.answer if kind == "position" else sample.question[:-2].split(" in the ")[1]
        thing = sample.scene.at(POSITIONS.index(place))
        if kind == "position":
            assert sample.question == f"where is the {thing} ?"
        elif kind == "digit":
            assert sample.answer == thing.kind
        else:
            assert sample.answer == (str(thing) if thing else "nothing")


def test_colours():
    for sample in drawn("colour"):
        kind = sample.question[:-2].split()[-1]
        assert [t.colour for t in sample.scene.things if t.kind == kind] == [sample.answer]


def test_counts():
    for sample in drawn("count"):
        group = sample.question.removeprefix("how many ")[:-2]
        number = sum(
            group
            in (
                PLURALS.get(thing.kind),
                f"{thing.colour} things",
                "digits" if thing.is_digit else "shapes",
            )
            for thing in sample.scene.things
        )
        assert sample.answer == NUMBERS[number]


def test_relations():
    for sample in drawn("relation"):
        words = sample.question.split()
        one, other = " ".join(words[2:4]), " ".join(words[9:11])
        named = {str(thing): thing for thing in sample.scene.things}
        columns = named[other].column - named[one].column
        rows = named[other].row - named[one].row
        assert {"left": columns, "right": -columns, "above": rows, "below": -rows}[
            sample.answer
        ] > 0


def test_existence():
    for sample in drawn("exists"):
        name = sample.question.removeprefix("is there a ")[:-2]
        assert (sample.answer == "yes") == (name in {str(thing) for thing in sample.scene.things})


@pytest.mark.parametrize(
    ("kind", "share"), [("exists", 0.6), ("relation", 0.35), ("count", 0.45), ("colour", 0.25)]
)
def test_no_answer_dominates(kind, share):
    answers = Counter(sample.answer for sample in drawn(kind, 400))
    assert answers.most_common(1)[0][1] / 400 < share


def test_every_colour_is_asked_for():
    assert {sample.answer for sample in drawn("colour")} == set(COLOURS)
