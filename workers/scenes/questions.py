"""What can be asked about a scene, and the right answer.

A question kind returns None where the scene does not allow it (no digit to read, no two things
side by side). Answers are drawn evenly where a kind would otherwise favour one of them, so that
guessing without the picture does not pay.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np

from workers.scenes.scene import COLOURS, DIGITS, POSITIONS, SHAPES, Scene, Thing

QuestionAnswer = tuple[str, str]
Asker = Callable[[Scene, np.random.Generator], QuestionAnswer | None]

NUMBERS = ("zero", "one", "two", "three", "four", "five")
PLURALS = dict(zip(SHAPES, ("circles", "squares", "triangles", "crosses"), strict=True))


def _caption(scene: Scene, _rng: np.random.Generator) -> QuestionAnswer:
    return "describe the scene .", scene.key


def _digits(scene: Scene, _rng: np.random.Generator) -> QuestionAnswer | None:
    """All digits in reading order, at least two."""
    found = [thing.kind for thing in scene.things if thing.is_digit]
    return ("read the digits .", " ".join(found)) if len(found) > 1 else None


def _cell(scene: Scene, rng: np.random.Generator) -> QuestionAnswer:
    """What stands in a cell; one time in six in an empty one."""
    occupied = [thing.cell for thing in scene.things]
    empty = [cell for cell in range(len(POSITIONS)) if cell not in occupied]
    cell = int(rng.choice(empty if rng.random() < 1 / 6 else occupied))
    return f"what is in the {POSITIONS[cell]} ?", str(scene.at(cell) or "nothing")


def _digit(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    thing = _pick([thing for thing in scene.things if thing.is_digit], rng)
    return (
        None if thing is None else (f"which digit is in the {POSITIONS[thing.cell]} ?", thing.kind)
    )


def _colour(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    kinds = Counter(thing.kind for thing in scene.things)
    thing = _pick([thing for thing in scene.things if kinds[thing.kind] == 1], rng)
    return None if thing is None else (f"which colour is the {_noun(thing)} ?", thing.colour)


def _position(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    thing = _pick(_named_once(scene), rng)
    return None if thing is None else (f"where is the {thing} ?", POSITIONS[thing.cell])


def _count(scene: Scene, rng: np.random.Generator) -> QuestionAnswer:
    """How many of a shape, of a colour, of all digits or of all shapes."""
    counts = dict.fromkeys(("digits", "shapes", *PLURALS.values()), 0)
    counts |= {f"{colour} things": 0 for colour in COLOURS}
    for thing in scene.things:
        groups = ("digits",) if thing.is_digit else ("shapes", PLURALS[thing.kind])
        for group in (*groups, f"{thing.colour} things"):
            counts[group] += 1
    number = int(rng.choice(sorted(set(counts.values()))))
    group = str(rng.choice([group for group in counts if counts[group] == number]))
    return f"how many {group} ?", NUMBERS[number]


def _relation(scene: Scene, rng: np.random.Generator) -> QuestionAnswer | None:
    """Which side of another thing one stands on."""
    things = _named_once(scene)
    pairs = [
        (a, b, axis)
        for a in things
        for b in things
        for axis in ("column", "row")
        if getattr(a, axis) != getattr(b, axis)
    ]
    if not pairs:
        return None
    a, b, axis = pairs[int(rng.integers(len(pairs)))]
    before, after = ("left", "right") if axis == "column" else ("above", "below")
    question = f"is the {a} {before} or {after} of the {b} ?"
    return question, before if getattr(a, axis) < getattr(b, axis) else after


def _exists(scene: Scene, rng: np.random.Generator) -> QuestionAnswer:
    """Yes or no, half each; half of the absent ones differ from a present one in one word."""
    present = {(thing.colour, thing.kind) for thing in scene.things}
    if rng.random() < 1 / 2:
        colour, kind = sorted(present)[int(rng.integers(len(present)))]
        return f"is there a {colour} {kind} ?", "yes"
    while True:
        colour, kind = sorted(present)[int(rng.integers(len(present)))]
        change = rng.random()
        if change > 1 / 4:
            colour = str(rng.choice(COLOURS))
        if change < 3 / 4:
            kind = str(rng.choice(DIGITS if rng.random() < 1 / 2 else SHAPES))
        if (colour, kind) not in present:
            return f"is there a {colour} {kind} ?", "no"


def _pick(things: list[Thing], rng: np.random.Generator) -> Thing | None:
    return things[int(rng.integers(len(things)))] if things else None


def _named_once(scene: Scene) -> list[Thing]:
    names = Counter(str(thing) for thing in scene.things)
    return [thing for thing in scene.things if names[str(thing)] == 1]


def _noun(thing: Thing) -> str:
    return f"digit {thing.kind}" if thing.is_digit else thing.kind


ASKERS: dict[str, Asker] = {
    "caption": _caption,
    "digits": _digits,
    "cell": _cell,
    "digit": _digit,
    "colour": _colour,
    "position": _position,
    "count": _count,
    "relation": _relation,
    "exists": _exists,
}
KINDS = tuple(ASKERS)
