"""Trust the files, not the memory: count the zeros in what was exported."""

from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open

from app.domain.errors import VerificationError
from app.domain.report import MatrixReport


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


def _count_zeros(directory: Path, keys: set[str]) -> Iterable[tuple[str, int]]:
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in keys.intersection(tensors.keys()):
                weight = tensors.get_tensor(key)
                yield key, weight.numel() - int(weight.count_nonzero())
