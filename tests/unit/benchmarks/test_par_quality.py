"""What the quality benchmark of PAR takes a question to be about."""

import pytest

from benchmarks.par.subject import MODELS, asked, load
from benchmarks.par.swap import patches, relevant, swapped
from workers.scenes.scene import POSITIONS
from workers.scenes.splits import Split


def test_patches_of_a_cell():
    assert [patches(cell, 9) for cell in range(9)] == [[cell] for cell in range(9)]
    assert patches(0, 36) == [0, 1, 6, 7]
    assert patches(5, 36) == [16, 17, 22, 23]
    assert sorted(rank for cell in range(9) for rank in patches(cell, 36)) == list(range(36))


def test_questions_about_one_cell_are_told_from_others():
    one = 0
    for sample in asked(Split.VALIDATION, 0, 45):
        cell = relevant(sample)
        if sample.kind in {"cell", "digit"}:
            assert POSITIONS[cell] in sample.question
        elif sample.kind == "position":
            assert str(sample.scene.at(cell)) in sample.question
        else:
            assert cell is None
        one += cell is not None
    assert one == 15


def test_swapped_questions_are_about_two_things_of_one_picture():
    first, second = next(swapped())
    assert first.image is second.image
    assert relevant(first) != relevant(second)
    assert first.answer == str(first.scene.things[0])


@pytest.mark.parametrize("name", ["scenes-llava", "scenes-llava-8"])
def test_the_subjects_allow_their_budgets(name):

    subject = load(MODELS[name])
    budgets = subject.budgets
    assert set(budgets) in ({"tokens", "many tokens"}, {"tokens", "many tokens", "both"})
    assert all(rules.profile.tokens < 1 for rules in budgets.values())
