import ast
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.mutation.__main__ import sample
from benchmarks.mutation.breaks import breaks_of
from benchmarks.mutation.explained import explained
from benchmarks.mutation.guards import GUARDS

ROOT = Path(__file__).parents[3]
SOURCE = b'''
"""A module."""
LIMIT: int = 10

@cached(size=3)
def allowed(size: int, names) -> bool:
    """Text."""
    if size > LIMIT and names:
        raise ValueError("too many: %d" % size)
    logger.warning("seen %d", 5)
    names += [size]
    return check(size)
'''


@pytest.fixture
def found():
    return breaks_of(SOURCE)


def test_every_kind_of_break_is_made(found):
    names = {each.name for each in found}
    assert names == {
        "module: constant moved: 10 -> 11",
        "module: constant moved: 10 -> 9",
        "allowed: boolean inverted: size > LIMIT and names -> (size > LIMIT or names)",
        "allowed: part dropped: size > LIMIT",
        "allowed: part dropped: names",
        "allowed: comparison turned: size > LIMIT -> (size <= LIMIT)",
        "allowed: comparison turned: size > LIMIT -> (size >= LIMIT)",
        'allowed: statement dropped: raise ValueError("too many: %d" % size)',
        "allowed: arithmetic changed: names += [size] -> names -= [size]",
        "allowed: statement dropped: names += [size]",
        "allowed: return replaced: check(size) -> (not (check(size)))",
    }


def test_a_break_changes_its_place_alone(found):
    turned = next(each for each in found if each.after == "(size >= LIMIT)")
    assert turned.applied(SOURCE) == SOURCE.replace(b"size > LIMIT", b"(size >= LIMIT)")
    assert turned.line == 8


def test_breaks_with_one_name_are_numbered():
    names = [each.name for each in breaks_of(b"a = 0\nb = 0\n")]
    assert names == ["module: constant moved: 0 -> 1", "module: constant moved: 0 -> 1 (2)"]


def test_a_sample_has_every_kind_and_is_drawn_again(found):
    drawn = sample(found, 6, "seed")
    assert len({each.kind for each in drawn}) == 6
    assert drawn == sample(found, 6, "seed")
    assert sample(found, 99, "seed") == found


@pytest.mark.parametrize("module", GUARDS)
def test_breaks_of_the_guarding_modules_are_python_with_names_of_their_own(module):
    source = (ROOT / module).read_bytes()
    found = breaks_of(source)
    for each in sample(found, 20, module):
        ast.parse(each.applied(source))
    assert max(Counter(each.name for each in found).values()) == 1
    assert all((ROOT / test).exists() for test in GUARDS[module])


def test_what_is_explained_exists():
    for module, reasons in explained().items():
        names = {each.name for each in breaks_of((ROOT / module).read_bytes())}
        assert set(reasons) <= names
        assert module in GUARDS
