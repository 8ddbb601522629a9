"""The page on models has every family that is counted, and is what its generator writes."""

import pytest

from benchmarks.families import record
from benchmarks.families.classes import KINDS
from docs._ext import models
from workers.pruning.models.families.registry import known_adapters


def _row(page, name):
    row, *_ = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_page_is_what_its_generator_writes():
    assert models.PAGE.read_text(encoding="utf-8") == models.page()


def test_the_table_of_the_benchmark_is_what_its_record_says():
    assert record.TABLE.read_text(encoding="utf-8") == record.page()


def test_every_family_is_on_the_page():
    page = models.PAGE.read_text(encoding="utf-8")
    for name in {*known_adapters(), *(name for names in KINDS.values() for name in names)}:
        assert f"`{name}`" in page


def test_a_family_that_was_never_tried_is_noticed():
    known = record.read()
    del known["Qwen3VLForConditionalGeneration"]
    with pytest.raises(KeyError, match="Qwen3VL"):
        models.page(known)


def test_a_family_that_fails_says_so():
    known = record.read()
    result = known["MixtralForCausalLM"]
    assert _row(models.page(), "MixtralForCausalLM")[2:5] == ["yes", "99.4%", "all"]
    result["checks"] |= {"wanda": "no", "statistics": "sums differ"}
    page = models.page(known)
    expected = ["partly", "99.4%", "magnitude, sparsegpt, ecoflap, multiflow"]
    assert _row(page, "MixtralForCausalLM")[2:5] == expected
    assert "- `MixtralForCausalLM`: statistics: sums differ; wanda: no" in page


def test_what_was_found_replaces_what_was_known_of_the_same_classes(tmp_path):
    path = tmp_path / "results.json"
    record.write({"ViTModel": {"name": "ViTModel", "day": "1"}, "BertModel": {"day": "1"}}, path)
    record.write({"ViTModel": {"name": "ViTModel", "day": "2"}}, path)
    assert record.read(path) == {
        "ViTModel": {"name": "ViTModel", "day": "2"},
        "BertModel": {"day": "1"},
    }
