"""Totals that fall short of what was asked fail a job; those beyond it are the report's to tell."""

import pytest
import torch
from safetensors.torch import save_file

from app.domain.errors import VerificationError
from app.domain.recipe import ECoFLaP, Pooled, Recipe, Uniform
from app.domain.report import MatrixReport, PruningReport, Tally, Target
from workers.pipeline import verify
from workers.pipeline.verify import verify_sparsity, verify_target


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


def exported(directory, **tensors):
    save_file(tensors, directory / "model.safetensors")
    return directory


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


def tensor(zeros, dtype=torch.float32):
    values = torch.ones(10, 10, dtype=dtype)
    values.view(-1)[:zeros] = 0
    return values


@pytest.mark.parametrize("piece", [1 << 24, 8, 48])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_zeros_are_counted_in_the_files(tmp_path, monkeypatch, dtype, piece):
    monkeypatch.setattr(verify, "_PIECE", piece)
    directory = exported(tmp_path, a=tensor(0, dtype), w=tensor(50, dtype), z=tensor(100, dtype))
    verify_sparsity(directory, [pruned("w", 50, 50)])
    verify_sparsity(directory, [pruned("w", 50, 49)])
    for zeros, asked in ((51, 50), (49, 49), (50, 51)):
        words = f"w was exported with 50 zeros; {asked} were asked for and {zeros} were in memory"
        with pytest.raises(VerificationError, match=words):
            verify_sparsity(directory, [pruned("w", zeros, asked)])


def test_parts_of_one_tensor_are_added_up(tmp_path):
    directory = exported(tmp_path, w=tensor(50), v=tensor(1))
    verify_sparsity(directory, [pruned("w", 20, 20), pruned("v", 1, 1), pruned("w", 30, 30)])
    with pytest.raises(VerificationError):
        verify_sparsity(directory, [pruned("w", 50, 50), pruned("w", 30, 30)])
    with pytest.raises(VerificationError):
        verify_sparsity(directory, [pruned("w", 25, 26), pruned("w", 25, 25)])


def test_a_tensor_that_was_not_exported_or_cannot_be_counted_fails(tmp_path):
    directory = exported(tmp_path, w=tensor(50))
    with pytest.raises(VerificationError, match="x was exported with None zeros"):
        verify_sparsity(directory, [pruned("x", 0, 0)])


@pytest.mark.parametrize("allocation", [Pooled(), ECoFLaP()])
def test_other_allocations_reach_their_total(allocation):
    verify_target(report(0, allocation=allocation))
    with pytest.raises(VerificationError, match="499 weights"):
        verify_target(report(-1, allocation=allocation))
