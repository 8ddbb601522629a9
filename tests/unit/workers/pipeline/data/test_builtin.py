"""Built-in sets: reproducible, and disjoint parts whatever the seeds."""

from itertools import islice

import pytest

from app.recipes.data import Builtin
from workers.pipeline.data.builtin import Purpose, builtin_records
from workers.pipeline.data.source import load_dataset


def digests(name, part, seed):
    return {record.digest for record in islice(builtin_records(name, part, seed), 200)}


@pytest.mark.parametrize("name", Builtin)
def test_no_record_serves_both_purposes(name):
    calibration = digests(name, Purpose.CALIBRATION, 0) | digests(name, Purpose.CALIBRATION, 1)
    assert calibration.isdisjoint(digests(name, Purpose.EVALUATION, 0))


@pytest.mark.parametrize("name", Builtin)
def test_a_seed_gives_the_same_records_again(name):
    first, again, other = (
        load_dataset(name, Purpose.CALIBRATION, samples=8, seed=seed) for seed in (3, 3, 4)
    )
    assert first.digests == again.digests != other.digests


def test_calibration_starts_over_and_evaluation_does_not():
    calibration = load_dataset("sentences", Purpose.CALIBRATION, samples=300, seed=0)
    evaluation = load_dataset("sentences", Purpose.EVALUATION, samples=300, seed=0)
    assert len(calibration.records) == 300
    assert len(evaluation.records) == len(set(evaluation.digests)) == 60


def test_shapes_held_out_share_no_caption_with_calibration():
    texts = {
        part: {record.text for record in islice(builtin_records(Builtin.SHAPES, part, 5), 300)}
        for part in Purpose
    }
    assert texts[Purpose.CALIBRATION].isdisjoint(texts[Purpose.EVALUATION])
