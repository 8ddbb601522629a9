"""What users are told of the ways to run a result."""

import pytest

from app.recipes.runtime_support import runtime_support
from app.recipes.structure import Depth, Experts, Width

WIDTH, DEPTH, EXPERTS = Width(mlp_removed=0.5), Depth(removed=0.5), Experts(removed=0.5)


@pytest.mark.parametrize(
    ("kind", "structure", "runtime", "told"),
    [
        ("encoder", (), "transformers", (True, False, False)),
        ("encoder", (), "OpenVINO", (True, False, False)),
        ("encoder", (WIDTH,), "ONNX Runtime", (True, True, True)),
        ("encoder", (DEPTH, WIDTH), "transformers", (True, True, True)),
        ("decoder", (WIDTH,), "transformers", (True, True, True)),
        ("decoder", (WIDTH,), "ONNX Runtime", (None, None, None)),
        ("decoder", (EXPERTS,), "transformers", (True, True, None)),
        ("encoder", (EXPERTS, WIDTH), "OpenVINO", (None, None, None)),
        ("other", (WIDTH,), "transformers", (True, True, None)),
        ("other", (), "OpenVINO", (None, None, None)),
        ("encoder", (WIDTH,), "vLLM", (None, None, None)),
        ("decoder", (), "llama.cpp", (True, False, False)),
        ("decoder", (DEPTH, WIDTH), "llama.cpp", (True, True, True)),
        ("decoder", (EXPERTS,), "llama.cpp", (None, None, None)),
        ("encoder", (WIDTH,), "llama.cpp", (None, None, None)),
    ],
)
def test_what_each_runtime_makes_of_it(kind, structure, runtime, told):
    found = {each.runtime: each for each in runtime_support(kind, structure)}[runtime]
    assert (found.loads, found.smaller, found.faster) == told
    assert (found.version is None) == (found.loads is None)
