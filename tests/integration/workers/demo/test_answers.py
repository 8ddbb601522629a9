"""The demo's questions: the dense model answers them, a ruined one does not."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from workers.demo.answers import KINDS, main

MODEL = Path(__file__).parents[4] / "benchmarks" / "models" / "scenes-llava"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    directory = tmp_path_factory.mktemp("answers")
    shutil.copytree(MODEL, directory / "ruined")
    weights = load_file(MODEL / "model.safetensors")
    ruined = {name: weight * ("layers" not in name) for name, weight in weights.items()}
    save_file(ruined, directory / "ruined" / "model.safetensors", {"format": "pt"})
    main(str(directory / "answer.json"), str(MODEL), str(directory / "ruined"))
    return json.loads((directory / "answer.json").read_text())


def test_one_question_of_each_kind_is_asked(found):
    assert len(found) == len(KINDS)
    assert len({question["question"] for question in found}) == len(KINDS)


def test_the_dense_model_is_right_and_the_ruined_one_is_not(found):
    dense, ruined = zip(*(question["said"] for question in found), strict=True)
    right = [question["right"] for question in found]
    assert sum(a == b for a, b in zip(dense, right, strict=True)) >= len(KINDS) - 1
    assert not any(a == b for a, b in zip(ruined, right, strict=True))
