"""Which second question a picture is asked."""

from PIL import Image

from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.routing.questions import asked_twice

PICTURES = {name: Image.new("RGB", (1, 1)) for name in "abcd"}


def told(*asked):
    """(picture, question) of what comes of such records."""
    records = [
        CalibrationRecord(text, PICTURES[name], number)
        for number, (name, text) in enumerate(asked, start=1)
    ]
    names = {id(image): name for name, image in PICTURES.items()}
    made = asked_twice(records, [name for name, _ in asked])
    return [(names[id(each.image)], each.text, each.number) for each in made]


def test_every_picture_is_asked_the_next_question_too():
    assert told(("a", "who ?"), ("b", "what ?"), ("c", "where ?")) == [
        ("a", "who ?", 1),
        ("a", "what ?", 2),
        ("b", "what ?", 2),
        ("b", "where ?", 3),
        ("c", "where ?", 3),
        ("c", "who ?", 1),
    ]


def test_the_same_question_is_no_second_one():
    found = told(("a", "what ?"), ("b", "what ?"), ("c", "where ?"), ("d", "what ?"))
    assert [each[1] for each in found[::2]] == ["what ?", "what ?", "where ?", "what ?"]
    seconds = found[1::2]
    assert seconds == [
        ("a", "where ?", 3),
        ("b", "where ?", 3),
        ("c", "what ?", 4),
        ("d", "where ?", 3),
    ]


def test_a_set_of_one_question_stays_as_it_is():
    assert told(("a", "what ?"), ("b", "what ?")) == [("a", "what ?", 1), ("b", "what ?", 2)]
    assert told(("a", "what ?")) == [("a", "what ?", 1)]
    assert told() == []


def test_a_picture_that_is_asked_several_things_is_asked_no_more():
    found = told(("a", "who ?"), ("a", "what ?"), ("b", "where ?"))
    assert found == [
        ("a", "who ?", 1),
        ("a", "what ?", 2),
        ("b", "where ?", 3),
        ("b", "who ?", 1),
    ]


def test_a_picture_that_comes_twice_is_asked_a_second_question_once():
    found = told(("a", "who ?"), ("a", "who ?"), ("b", "what ?"))
    assert found.count(("a", "what ?", 3)) == 1
    assert len(found) == 5
