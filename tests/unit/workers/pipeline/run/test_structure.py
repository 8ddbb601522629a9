"""A job that makes a model smaller: its files, its report, its card, and a second job on them."""

import json

import pytest
import transformers

from app.domain.submission import JobRequest, resolve
from app.recipes.structure_report import StructureReport
from app.reports.figures import number
from tests.families import BY_NAME
from tests.models_of_experts import TEXT, moe
from tests.run_listener import Listener
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run.run import run

WIDTH = {"kind": "width", "mlp_removed": 0.5}
COUNTED = ("num_experts", "num_local_experts", "n_routed_experts")
CALIBRATION = {"set": "sentences", "samples": 8, "batch_size": 4}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    BY_NAME["llama"].build(root / "llama")
    for name in ("mixtral", "qwen3_moe"):
        TEXT[name](root / name)
    _, grouped = moe(
        "grouped", "DeepseekV3ForCausalLM", num_local_experts=8, n_group=2, num_key_value_heads=4
    )
    grouped(root / "grouped")
    return root


@pytest.fixture
def job(roots, tmp_path):
    """Runs a job and gives its directory, its result and its listener."""

    def carried_out(name="made", *, model="llama", **request):
        asked = {"model": model, "device": "cpu", "calibration": CALIBRATION} | request
        staging = tmp_path / name
        staging.mkdir()
        context = RunContext(
            spec=resolve(JobRequest(**asked)),
            staging=staging,
            models=ModelAccess((roots, tmp_path), "http://127.0.0.1:1", tmp_path / "hub"),
            datasets=tmp_path / "datasets",
            checkpoints=CheckpointPlace(tmp_path / f"checkpoints-{name}", 1 << 30),
            activation_bytes=1 << 30,
            report=Listener(),
        )
        return staging, run(context).result, context.report

    return carried_out


def test_the_result_is_smaller_and_every_reader_is_told(job):
    evaluation = {"set": "sentences", "samples": 4, "metrics": ["perplexity"]}
    made, result, listener = job(
        method="width", parameters={"mlp_removed": 0.5}, evaluation=evaluation
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(made)
    told = StructureReport.model_validate(result.structure)
    assert told.parameters_kept == sum(p.numel() for p in model.parameters())
    assert told.towers[0].width_kept == model.config.intermediate_size == told.towers[0].width // 2
    assert told.bytes_kept < (made / "model.safetensors").stat().st_size < told.bytes
    report = json.loads((made / "pruning_report.json").read_text())
    assert [block["kept"] for block in report["structure"]["blocks"]] == [12, 12]
    assert "perplexity" in report["evaluation"]["metrics"]
    left = f"{number(told.parameters_kept)} of {number(told.parameters)} parameters are left"
    assert left in (made / "README.md").read_text()
    assert left in (made / "report.html").read_text()
    runs = {each.runtime: each for each in result.runtime_support}
    assert (runs["transformers"].smaller, runs["transformers"].faster) == (True, True)
    assert (runs["llama.cpp"].smaller, runs["llama.cpp"].faster) == (True, True)
    assert (runs["OpenVINO"].loads, runs["vLLM"].loads) == (True, None)
    assert report["runtime_support"] == [each.model_dump() for each in result.runtime_support]
    row = f"| transformers | {runs['transformers'].version} | yes | yes | yes |"
    assert row in (made / "README.md").read_text()
    assert "<h2>Where it runs</h2>" in (made / "report.html").read_text()
    assert not (made / "sparse/masks.safetensors").exists()
    assert listener.shares == sorted(listener.shares)


def test_zeros_go_into_what_is_left(job):
    made, result, listener = job(structure=[WIDTH], method="wanda", sparsity=0.5)
    model = transformers.AutoModelForCausalLM.from_pretrained(made)
    weight = model.model.layers[0].mlp.down_proj.weight
    assert weight.shape[1] == 12
    assert int((weight == 0).sum()) == weight.numel() // 2
    assert result.sparsity == pytest.approx(0.5, abs=0.01)
    assert (made / "sparse/masks.safetensors").exists()
    assert listener.shares == sorted(listener.shares)


def test_a_second_job_takes_more_from_what_is_left(job):
    first, _, _ = job("first", method="width")
    second, result, _ = job("second", model=str(first), method="width")
    told = StructureReport.model_validate(result.structure)
    assert (told.towers[0].width, told.towers[0].width_kept) == (12, 6)
    assert json.loads((second / "config.json").read_text())["intermediate_size"] == 6


@pytest.mark.parametrize(("name", "before"), [("mixtral", 4), ("qwen3_moe", 4), ("grouped", 8)])
def test_experts_go_and_what_is_left_is_pruned_like_any_model(job, name, before):
    made, result, listener = job(
        model=name,
        structure=[{"kind": "experts", "removed": 0.25}],
        method="wanda",
        sparsity=0.5,
        expert_tokens=1,
    )
    told = StructureReport.model_validate(result.structure)
    tower = told.towers[0]
    assert (tower.experts, tower.experts_kept) == (before, before * 3 // 4)
    config = json.loads((made / "config.json").read_text())
    assert before * 3 // 4 in {config.get(key) for key in COUNTED}
    assert f"| {before * 3 // 4} (of {before}) |" in (made / "README.md").read_text()
    report = json.loads((made / "pruning_report.json").read_text())
    assert all(len(block["experts"]) == block["kept"] for block in report["structure"]["blocks"])
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        made, output_loading_info=True
    )
    assert not any(loading.values())
    assert sum(p.numel() for p in model.parameters()) <= told.parameters_kept
    assert result.sparsity == pytest.approx(0.5, abs=0.02)
    assert listener.shares == sorted(listener.shares)
