"""What leaves the pipeline: masks, sizes, the check of the exported files, and the manifest."""

import hashlib
import json
import math
import mimetypes
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from app.domain.bill_of_materials import BILL_FILE, Findings, bill_of_materials
from app.domain.jobs import Artifact
from app.errors import VerificationError
from app.packed import unpack
from app.planning.model_files.files import SUFFIX
from app.recipes.pruning_report import STATISTICS_FILE, MatrixReport, PruningReport
from app.recipes.quantization import QuantizationReport
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import header_of
from workers.pruning.selection import keep_sparse
from workers.pruning.selection.selection import nonzero

if TYPE_CHECKING:
    from workers.pruning.models.layout.structure import Matrix

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of a run. `path` is relative, with forward slashes."""

    path: str
    size: int
    sha256: str
    media_type: str

    def published(self, job_id: str, attempt: int) -> Artifact:
        """The file as an artifact of a job."""
        return Artifact(job_id=job_id, attempt=attempt, **asdict(self))


def write_json(directory: Path, name: str, content: Any) -> None:
    """Write a file that people may read as well."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / name).write_text(text + "\n", encoding="utf-8")


def hash_files(directory: Path, known: Mapping[str, str] | None = None) -> list[OutputFile]:
    """Everything that lies in the directory, in the order of the paths.

    Args:
        directory: the staged files.
        known: digests by path of files that were read before.
    """
    digests = known or {}
    return [
        hash_file(directory, path, digests.get(path.relative_to(directory).as_posix()))
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    ]


def write_bill(
    directory: Path,
    files: Iterable[OutputFile],
    provenance: Mapping[str, Any],
    findings: Findings,
) -> OutputFile:
    """Write the bill of materials.

    Args:
        directory: the staged files.
        files: they, hashed.
        provenance: how they came about.
        findings: what else is known of them.
    """
    weights = {file.path: file.sha256 for file in files if _holds_weights(file.path)}
    write_json(directory, BILL_FILE, bill_of_materials(provenance, weights, findings))
    return hash_file(directory, directory / BILL_FILE)


def _holds_weights(path: str) -> bool:
    beside = path.startswith(f"{FOLDER}/") or path == STATISTICS_FILE
    return path.endswith(SUFFIX) and not beside


def close_run(
    directory: Path, files: Sequence[OutputFile], provenance: Mapping[str, Any]
) -> list[OutputFile]:
    """Write the manifest over the files; returns them and it.

    Args:
        directory: the staged files.
        files: they, hashed.
        provenance: how they came about. Without times, so that the same run gives the same file.
    """
    listed = {file.path: {"size": file.size, "sha256": file.sha256} for file in files}
    write_json(directory, MANIFEST, {"format": FORMAT, "files": listed, **provenance})
    return [*files, hash_file(directory, directory / MANIFEST)]


def hash_file(directory: Path, file: Path, digest: str | None = None) -> OutputFile:
    """A file that lies in the directory; it is read where its digest is not known."""
    if digest is None:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return OutputFile(
        path=file.relative_to(directory).as_posix(),
        size=file.stat().st_size,
        sha256=digest,
        media_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream",
    )


# Apart from the weights: some loaders read every safetensors file that lies beside config.json.
FOLDER = "sparse"
MASKS = "masks.safetensors"


def write_masks(directory: Path, adapter: Adapter, pruned: Iterable[MatrixReport]) -> None:
    """Write `masks.safetensors` and `keep_sparse.py`, which describes the format.

    One tensor's mask is in memory at a time.

    Args:
        directory: where; created if absent.
        adapter: the pruned model.
        pruned: its matrices that were pruned; the zeros in them are the mask.
    """
    directory.mkdir(exist_ok=True)
    modules = {report.module for report in pruned}
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in adapter.model.named_parameters(remove_duplicate=False):
        names[id(stored(parameter))].append(name)
    places: dict[str, list[tuple[int, Matrix]]] = defaultdict(list)
    shapes: dict[str, tuple[int, ...]] = {}
    for matrix in adapter.matrices:
        if matrix.name not in modules:
            continue
        keys = [matrix.file_key, *matrix.copies]
        if matrix.source is not None:  # the model has one parameter where the files have several
            keys = names[id(matrix.parameter)][:1]
        for key, first in zip(keys, (matrix.file_row, *(0 for _ in keys)), strict=False):
            places[key].append((first, matrix))
            known = adapter.loaded.checkpoint.tensors.get(key, matrix.parameter)
            shapes[key] = tuple(known.shape)
    shapes = dict(sorted(shapes.items()))
    tensors = {
        key: {
            "shape": shape,
            "parts": [
                {
                    "names": names[id(matrix.parameter)],
                    "rows": [first, first + len(matrix.parameter)],
                }
                for first, matrix in {at: (at, matrix) for at, matrix in places[key]}.values()
            ],
        }
        for key, shape in shapes.items()
    }
    layout = {key: ("U8", [-(-math.prod(shape) // 8)]) for key, shape in shapes.items()}
    with (directory / MASKS).open("wb") as stream:
        stream.write(header_of(layout, {"tensors": json.dumps(tensors)}))
        for key, shape in shapes.items():
            kept = torch.ones(shape, dtype=torch.bool)
            for first, matrix in places[key]:
                rows = kept[first : first + len(matrix.parameter)]
                matrix.place.put(rows, nonzero(matrix.weight))
                adapter.memory.release()
            # The bits of `keep_sparse.pack`, which needs no numpy and thirty times as long.
            stream.write(np.packbits(kept.numpy()).data)
    shutil.copyfile(keep_sparse.__file__, directory / Path(keep_sparse.__file__).name)


def write_decoder(folder: Path) -> None:
    """Put the decoder of packed downloads into a folder; it is created if absent."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(unpack.__file__, folder / Path(unpack.__file__).name)


def verify_sparsity(
    exported: Mapping[str, int],
    reports: Iterable[MatrixReport],
    quantized: QuantizationReport | None = None,
) -> None:
    """Check every pruned matrix of the exported checkpoint.

    Args:
        exported: zeros of its tensors, as the files were read.
        reports: what the run says it did; parts of one fused tensor are added up.
        quantized: which weights that stayed are zero in 8 bits, beside those that were pruned.

    Raises:
        VerificationError: a tensor has other zeros than the report says, or fewer than asked for.
    """
    zeros: dict[str, int] = {}
    asked: dict[str, int] = {}
    for report in reports:
        zeros[report.file_key] = zeros.get(report.file_key, 0) + report.zeros
        asked[report.file_key] = asked.get(report.file_key, 0) + report.asked
    for key, pruned in zeros.items():
        found = exported.get(key)
        expected = pruned + (quantized.rounded.get(key, 0) if quantized else 0)
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
    if not report.recipe.allocation.reaches_total:
        return
    for each in report.targets:
        if each.difference < 0:
            raise VerificationError(
                f"{each.scope}: {each.zeros} weights are zero and {each.target} were asked for"
            )
