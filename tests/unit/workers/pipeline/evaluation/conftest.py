"""Tiny models and records to evaluate."""

import pytest

from app.recipes.evaluation import EvaluationSpec
from tests.families import BY_NAME
from tests.tiny_models import records
from workers.pipeline.data.record import Record, digest_of
from workers.pipeline.data.source import Dataset
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


@pytest.fixture
def subject(tmp_path):
    """A family's model in front of records of its kind, made by `change` from the usual ones."""

    def build(family, change=lambda record: record, **spec):
        directory = tmp_path / family
        if not directory.exists():
            BY_NAME[family].build(directory)
        made = [change(Record(r.text, r.image)) for r in records(BY_NAME[family].kind)]
        options = {"set": "shapes", "batch_size": 3, "max_length": 24, "max_new_tokens": 4} | spec
        return Subject(adapt(load_model(directory)), made, EvaluationSpec(**options))

    return build


@pytest.fixture
def dataset():
    def build(subject):
        digests = tuple(record.digest for record in subject.records)
        assert digest_of(digests)
        return Dataset("test", tuple(subject.records), digests)

    return build
