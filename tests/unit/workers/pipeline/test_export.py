"""Totals that fall short of what was asked fail a job; those beyond it are the report's to tell."""

import hashlib
import json

import pytest

from app.domain.bill_of_materials import Findings
from app.domain.jobs import Artifact
from app.errors import VerificationError
from app.recipes.allocation import ECoFLaP, Pooled, Uniform
from app.recipes.pruning_report import STATISTICS_FILE, MatrixReport, PruningReport, Tally, Target
from app.recipes.recipe import Recipe
from workers.pipeline.export import (
    FOLDER,
    MANIFEST,
    MASKS,
    OutputFile,
    close_run,
    hash_files,
    verify_sparsity,
    verify_target,
    write_bill,
    write_json,
)


def report(difference, rounding="total", allocation=None):
    target = Target(
        scope="model",
        weights=1000,
        sparsity=0.5,
        target=500,
        zeros=500 + difference,
        difference=difference,
    )
    return PruningReport(
        recipe=Recipe(allocation=allocation or Uniform(rounding=rounding), sparsity=0.5),
        targets=(target,),
        matrices=(),
        blocks={},
        modalities={},
        model=Tally(weights=1000, asked=500, zeros=500 + difference),
        warnings=(),
    )


@pytest.mark.parametrize("difference", [0, 1, 200])
def test_as_many_zeros_as_asked_or_more_pass(difference):
    verify_target(report(difference))


def test_one_weight_short_fails():
    with pytest.raises(VerificationError, match="499 weights are zero and 500 were asked for"):
        verify_target(report(-1))


def test_the_papers_rounding_may_fall_short():
    verify_target(report(-40, "paper"))


def pruned(file_key, zeros, asked):
    return MatrixReport(
        weights=100,
        asked=asked,
        zeros=zeros,
        file_key=file_key,
        module=file_key,
        block="b",
        modality="language",
        shape=(10, 10),
    )


def test_zeros_are_those_that_were_in_memory_and_no_fewer_than_asked_for():
    verify_sparsity({"v": 0, "w": 50}, [pruned("w", 50, 50)])
    verify_sparsity({"v": 0, "w": 50}, [pruned("w", 50, 49)])
    for zeros, asked in ((51, 50), (49, 49), (50, 51)):
        words = f"w was exported with 50 zeros; {asked} were asked for and {zeros} were in memory"
        with pytest.raises(VerificationError, match=words):
            verify_sparsity({"v": 0, "w": 50}, [pruned("w", zeros, asked)])


def test_parts_of_one_tensor_are_added_up():
    found = {"w": 50, "v": 1}
    verify_sparsity(found, [pruned("w", 20, 20), pruned("v", 1, 1), pruned("w", 30, 30)])
    with pytest.raises(VerificationError):
        verify_sparsity(found, [pruned("w", 50, 50), pruned("w", 30, 30)])
    with pytest.raises(VerificationError):
        verify_sparsity(found, [pruned("w", 25, 26), pruned("w", 25, 25)])


def test_a_tensor_that_was_not_exported_or_cannot_be_counted_fails():
    with pytest.raises(VerificationError, match="x was exported with None zeros"):
        verify_sparsity({"w": 50}, [pruned("x", 0, 0)])


@pytest.mark.parametrize("allocation", [Pooled(), ECoFLaP()])
def test_other_allocations_reach_their_total(allocation):
    verify_target(report(0, allocation=allocation))
    with pytest.raises(VerificationError, match="499 weights"):
        verify_target(report(-1, allocation=allocation))


def test_the_manifest_tells_every_file_with_its_digest(tmp_path):
    (tmp_path / "sparse").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sparse" / "masks.safetensors").write_bytes(b"masks")
    files = {each.path: each for each in close_run(tmp_path, hash_files(tmp_path), {"seed": 1})}
    assert set(files) == {"config.json", "sparse/masks.safetensors", MANIFEST}
    found = json.loads((tmp_path / MANIFEST).read_text())
    assert found["seed"] == 1
    assert set(found["files"]) == {"config.json", "sparse/masks.safetensors"}
    for path, told in found["files"].items():
        content = (tmp_path / path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert told == {"size": len(content), "sha256": digest}
        assert (files[path].size, files[path].sha256) == (len(content), digest)
    assert files["config.json"].media_type == "application/json"
    assert files["sparse/masks.safetensors"].media_type == "application/octet-stream"
    assert files[MANIFEST].size == (tmp_path / MANIFEST).stat().st_size


def test_the_bill_of_materials_lists_what_holds_weights(tmp_path):
    for path in ("model.safetensors", "2_Dense/model.safetensors", "config.json"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path)
    for path in (STATISTICS_FILE, f"{FOLDER}/{MASKS}"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("no weights")
    origin = {
        "job": {"method": "wanda", "recipe": {}},
        "model_revision": None,
        "datasets": {},
        "versions": {"secateur": "1"},
    }
    files = hash_files(tmp_path)
    bill = write_bill(tmp_path, files, origin, Findings("minilm", "BertModel", {}))
    found = json.loads((tmp_path / bill.path).read_text())["metadata"]["component"]["components"]
    digests = {file.path: file.sha256 for file in files}
    assert {each["name"]: each["hashes"][0]["content"] for each in found} == {
        path: digests[path] for path in ("2_Dense/model.safetensors", "model.safetensors")
    }


def test_a_file_is_published_as_an_artifact_of_its_attempt():
    file = OutputFile("sparse/masks.safetensors", 5, "0a", "text/plain")
    assert file.published("job_1", 2) == Artifact(
        job_id="job_1",
        attempt=2,
        path="sparse/masks.safetensors",
        size=5,
        sha256="0a",
        media_type="text/plain",
    )


def test_a_file_that_was_read_before_is_not_read_again(tmp_path):
    (tmp_path / "2_Dense").mkdir()
    for path in ("2_Dense/x", "x"):
        (tmp_path / path).write_text("x")
    known, new = hash_files(tmp_path, {"2_Dense/x": "known"})
    assert (known.path, known.sha256, known.size) == ("2_Dense/x", "known", 1)
    assert (new.path, new.sha256) == ("x", hashlib.sha256(b"x").hexdigest())


def test_a_manifest_depends_on_the_files_alone(tmp_path):
    digests = []
    for name in "ab":
        directory = tmp_path / name
        directory.mkdir()
        (directory / "x").write_text("x")
        close_run(directory, hash_files(directory), {"b": 2, "a": 1})
        digests.append((directory / MANIFEST).read_bytes())
    assert digests[0] == digests[1]


def test_files_for_people_are_sorted_and_in_their_own_letters(tmp_path):
    write_json(tmp_path, "x.json", {"b": "Käse", "a": 1})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "a": 1,\n  "b": "Käse"\n}\n'
