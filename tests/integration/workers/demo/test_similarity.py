"""The demo's measure: one for the same model, less for a pruned one, and zeros counted."""

import json

import pytest
import torch
from transformers import AutoModel

from tests.families import BY_NAME
from workers.demo.similarity import main


@pytest.fixture
def measure(tmp_path):
    BY_NAME["bert"].build(tmp_path / "dense")

    def measure(share):
        model = AutoModel.from_pretrained(tmp_path / "dense")
        for name, weight in model.named_parameters():
            if name.startswith("encoder.") and weight.dim() == 2:
                with torch.no_grad():
                    weight[: round(share * weight.shape[0])] = 0
        model.save_pretrained(tmp_path / "pruned")
        for file in (tmp_path / "dense").glob("*token*"):
            (tmp_path / "pruned" / file.name).write_bytes(file.read_bytes())
        main(*(str(tmp_path / name) for name in ("answer.json", "dense", "pruned")))
        (found,) = json.loads((tmp_path / "answer.json").read_text())
        return found

    return measure


def test_the_same_model_is_at_one(measure):
    assert measure(0.0) == {"cosine": pytest.approx(1), "sparsity": 0}


def test_a_pruned_model_is_further_away_the_more_is_gone(measure):
    half, most = measure(0.5), measure(0.75)
    assert (half["sparsity"], most["sparsity"]) == (0.5, 0.75)
    assert 1 > half["cosine"] > most["cosine"]
