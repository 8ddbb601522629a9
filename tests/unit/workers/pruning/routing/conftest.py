"""A LLaVA of six loud random layers with its processor, and prompts it has answered."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from tests.families import records
from tests.large_weight_llava import loud_llava
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.routing.answers import answer
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import Profile, layer_candidates

ANSWER_TOKENS = 4


@pytest.fixture(scope="session")
def adapter():
    with TemporaryDirectory() as name:
        loud_llava(Path(name))
        return adapt(load_model(Path(name)))


@pytest.fixture(scope="session")
def answered(adapter):
    with torch.no_grad():
        made = answer(
            adapter,
            records("pair", 9),
            batch_size=3,
            max_length=64,
            answer_tokens=ANSWER_TOKENS,
        )
        return list(made)


@pytest.fixture(scope="session")
def rules(adapter):
    return Rules(Profile(0.5, 5, 2), layer_candidates(6, 2), 0.1)
