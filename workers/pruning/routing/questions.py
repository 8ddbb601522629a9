"""A second question about every picture: twice as many prompts of one set.

Ours; the paper asks each picture its own. From few prompts a router learns what stands out in
pictures; to read the question it needs more of them. Pairs are made from what the dense model
answers, so a question needs no label, and one of another record will do. That is as good as twice
as many pictures (`benchmarks/README.md`).
"""

from collections.abc import Sequence
from dataclasses import replace

from workers.pruning.models.inputs.inputs import CalibrationRecord


def asked_twice(
    records: Sequence[CalibrationRecord], pictures: Sequence[str]
) -> list[CalibrationRecord]:
    """Every record, each followed by its picture with the set's next question.

    That is the text of the next record whose text is another one; the first record follows the
    last. A picture of which the set asks several things stays as it is, and so do all where the
    set asks one thing only. The number is that of the question's record: the picture has been
    encoded with its own before, so an error is about the question.

    Args:
        records: pictures with what is asked.
        pictures: digest of each record's picture.
    """
    asked: dict[str, set[str | None]] = {}
    for record, picture in zip(records, pictures, strict=True):
        asked.setdefault(picture, set()).add(record.text)
    found = []
    for record, picture, other in zip(records, pictures, _following(records), strict=True):
        found.append(record)
        if other is not None and len(asked[picture]) == 1:
            found.append(replace(other, image=record.image))
            asked[picture].add(other.text)
    return found


def _following(records: Sequence[CalibrationRecord]) -> list[CalibrationRecord | None]:
    """For each record the next one with another text; None where there is none."""
    found: list[CalibrationRecord | None] = [None] * len(records)
    next_one, other = None, None
    for place in reversed([*range(len(records)), *range(len(records))]):
        if next_one is not None and next_one.text != records[place].text:
            other = next_one
        next_one = records[place]
        found[place] = other
    return found
