"""What users are told of the ways to run a result."""

import pytest

from app.recipes.runtime_support import runtime_support
from app.recipes.structure import Depth, Experts, Width

WIDTH, DEPTH, EXPERTS = Width(mlp_removed=0.5), Depth(removed=0.5), Experts(removed=0.5)


@pytest.mark.parametrize(
    ("kind", "model_type", "structure", "runtime", "told"),
    [
        ("encoder", "bert", (), "transformers", (True, False, False)),
        ("encoder", "bert", (), "OpenVINO", (True, False, False)),
        ("encoder", "bert", (WIDTH,), "ONNX Runtime", (True, True, True)),
        ("encoder", "bert", (DEPTH, WIDTH), "llama.cpp", (True, True, True)),
        ("encoder", "xlnet", (DEPTH, WIDTH), "transformers", (True, True, True)),
        ("encoder", "xlnet", (WIDTH,), "ONNX Runtime", (None, None, None)),
        ("decoder", "bert", (WIDTH,), "ONNX Runtime", (None, None, None)),
        ("decoder", "llama", (WIDTH,), "transformers", (True, True, True)),
        ("decoder", "llama", (WIDTH,), "ONNX Runtime", (True, True, True)),
        ("decoder", "llama", (), "OpenVINO", (True, False, False)),
        ("decoder", "llama", (DEPTH, WIDTH), "llama.cpp", (True, True, True)),
        ("decoder", "gpt2", (), "llama.cpp", (None, None, None)),
        ("decoder", "mixtral", (EXPERTS,), "transformers", (True, True, None)),
        ("decoder", "llama", (EXPERTS,), "llama.cpp", (None, None, None)),
        ("encoder", "bert", (EXPERTS, WIDTH), "OpenVINO", (None, None, None)),
        ("vision-language", "llava", (WIDTH,), "transformers", (True, True, True)),
        ("vision-language", "llava", (DEPTH,), "OpenVINO", (True, True, True)),
        ("vision-language", "llava", (), "llama.cpp", (None, None, None)),
        ("vision-language", "qwen3_vl", (), "OpenVINO", (None, None, None)),
        ("other", "clip", (WIDTH,), "transformers", (True, True, None)),
        ("other", "clip", (), "OpenVINO", (None, None, None)),
        ("encoder", "bert", (WIDTH,), "vLLM", (None, None, None)),
    ],
)
def test_what_each_runtime_makes_of_it(kind, model_type, structure, runtime, told):
    support = runtime_support(kind, model_type, structure)
    found = {each.runtime: each for each in support}[runtime]
    assert (found.loads, found.smaller, found.faster) == told
    assert (found.version is None) == (found.loads is None)
