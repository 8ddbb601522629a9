"""Trust the files, not the memory: count the zeros in what was exported."""

from collections.abc import Iterable
from pathlib import Path

import torch

from app.errors import VerificationError
from app.recipes.pruning_report import MatrixReport, PruningReport
from app.recipes.recipe import Uniform
from workers.pruning.models.files.checkpoint import open_checkpoint

_PIECE = 1 << 24  # bytes looked at together


def verify_sparsity(directory: Path, reports: Iterable[MatrixReport]) -> None:
    """Check every pruned matrix of the exported checkpoint.

    Args:
        directory: the exported checkpoint.
        reports: what the run says it did; parts of one fused tensor are added up.

    Raises:
        VerificationError: a tensor has other zeros than the report says, or fewer than asked for.
    """
    zeros: dict[str, int] = {}
    asked: dict[str, int] = {}
    for report in reports:
        zeros[report.file_key] = zeros.get(report.file_key, 0) + report.zeros
        asked[report.file_key] = asked.get(report.file_key, 0) + report.asked
    counted = dict(_count_zeros(directory, set(zeros)))
    for key, expected in zeros.items():
        found = counted.get(key)
        if found != expected or found < asked[key]:
            raise VerificationError(
                f"{key} was exported with {found} zeros; {asked[key]} were asked for and "
                f"{expected} were in memory"
            )


def verify_target(report: PruningReport) -> None:
    """Check the totals against what the recipe asks for.

    More zeros than asked are allowed: weights may have been zero before. The report warns of them.
    Fewer are allowed where the recipe rounds as the papers do, which it then says.

    Raises:
        VerificationError: weights that were to be zero are not.
    """
    allocation = report.recipe.allocation
    if isinstance(allocation, Uniform) and allocation.rounding == "paper":
        return
    for each in report.targets:
        if each.difference < 0:
            raise VerificationError(
                f"{each.scope}: {each.zeros} weights are zero and {each.target} were asked for"
            )


def _count_zeros(directory: Path, keys: set[str]) -> Iterable[tuple[str, int]]:
    checkpoint = open_checkpoint(directory)
    for key in keys.intersection(checkpoint.tensors):
        stored = checkpoint.tensors[key]
        if (dtype := stored.torch_dtype) is None:
            continue
        zeros = 0
        with (directory / stored.file).open("rb") as stream:
            stream.seek(stored.begin)
            for begin in range(stored.begin, stored.end, _PIECE):
                piece = bytearray(stream.read(min(_PIECE, stored.end - begin)))
                values = torch.frombuffer(piece, dtype=dtype)
                zeros += values.numel() - int(values.count_nonzero())
        yield key, zeros
