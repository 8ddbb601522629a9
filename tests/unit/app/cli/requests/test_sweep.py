"""What a sweep tries, from options and from a file."""

import pytest
import typer

from app.cli.requests.sweep import sweep_request
from app.domain.sweeps import SweepRequest


def tried(*param, **options):
    return sweep_request("tiny", param=list(param), **options).body


def test_every_field_can_vary():
    body = tried(
        *("sparsity=0.5,0.6", "method=wanda,sparsegpt", "pattern=unstructured,2:4"),
        *("parameters.damping=1e-2,0.1", "seed=1,2"),
    )
    damping = [{"damping": 0.01}, {"damping": 0.1}]
    assert body == {
        "model": "tiny",
        "sparsities": [0.5, 0.6],
        "methods": [
            {"method": method, "parameters": each}
            for method in ("wanda", "sparsegpt")
            for each in damping
        ],
        "recipes": [
            {"pattern": pattern, "seed": seed}
            for pattern in ("unstructured", "2:4")
            for seed in (1, 2)
        ],
    }


def test_the_service_takes_what_is_made():
    body = tried("sparsity={text: .5},0.6", "recipe.importance.kind=magnitude,wanda")
    assert len(SweepRequest.model_validate(body).members()) == 4


def test_options_and_param_say_the_same():
    named = sweep_request("tiny", method=["wanda", "magnitude"], sparsity=[0.5], pattern=["2:4"])
    assert named.body == tried("method=wanda,magnitude", "sparsity=0.5", "pattern=2:4")


def test_a_file_is_varied_further(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "model: other\n"
        "methods: [{method: sparsegpt, parameters: {block_size: 64}}, {method: wanda}]\n"
        "sparsities: [0.5, 0.7]\n"
        "objective: {metric: similarity}\n"
    )
    asked = sweep_request(
        None,
        file=str(file),
        param=["method=sparsegpt", "parameters.damping=0.1,0.2", "sparsity=0.6"],
        max_drop=0.1,
        fields=["methods.0.parameters.damping=0.3"],
    )
    assert asked.file == str(file)
    assert asked.body == {
        "model": "other",
        "methods": [
            {"method": "sparsegpt", "parameters": {"block_size": 64, "damping": 0.3}},
            {"method": "sparsegpt", "parameters": {"block_size": 64, "damping": 0.2}},
            {"method": "sparsegpt", "parameters": {"damping": 0.1}},
            {"method": "sparsegpt", "parameters": {"damping": 0.2}},
        ],
        "sparsities": [0.6],
        "objective": {"metric": "similarity", "max_drop": 0.1},
    }


@pytest.mark.parametrize("param", ["sparsity", "sparsity=", "=0.5", "a..b=1", "ignore=*.a,*.b"])
def test_what_is_no_list_of_values_is_refused(param):
    with pytest.raises(typer.BadParameter, match=r"name=value,value|line 1"):
        tried(param)
