"""What the bench says of a class whose parts are taken out, or which is stored in 8 bits."""

import pytest

from benchmarks.families import smaller

pytestmark = pytest.mark.filterwarnings("ignore")  # the reader of 8 bits warns of its own ways


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LlamaForCausalLM", {"width": "ok", "heads": "ok", "depth": "ok", "int8": "ok"}),
        ("ElectraModel", {"width": "ok", "heads": "structure_not_configurable", "int8": "ok"}),
        ("Dinov2Model", {"heads": "ok", "int8": "quantization_not_applicable"}),
        ("Glm5NextForConditionalGeneration", {"int8": "quantization_not_applicable"}),
        ("BartForConditionalGeneration", {"int8": "ok"}),  # which generates
        ("DetrForObjectDetection", {"int8": "ok"}),  # with weights in buffers
        ("ViltModel", {"width": "ok", "depth": "ok", "int8": "ok"}),  # which draws its patches
        ("GroundingDinoForObjectDetection", {"int8": "ok"}),  # with outputs that are infinite
        ("Qwen3MoeForCausalLM", {"experts": "ok", "int8": "quantization_not_applicable"}),
    ],
)
def test_each_step_comes_to_a_result_or_a_refusal(tmp_path, name, expected):
    found = smaller.attempt(name, tmp_path)["checks"]
    assert {check: found[check].partition(":")[0] for check in expected} == expected


def test_other_outputs_are_a_defect(tmp_path, monkeypatch):
    monkeypatch.setattr(smaller, "NEAR", -1)
    found = smaller.attempt("BertModel", tmp_path)["checks"]
    assert found["width"].startswith("defect outputs differ")
