"""What a user needs to train a pruned model on: its masks, and a file that keeps them."""

import json
import math
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from app.recipes.pruning_report import MatrixReport
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files.checkpoint import header_of
from workers.pruning.models.layout.converted import stored
from workers.pruning.selection import keep_sparse

if TYPE_CHECKING:
    from workers.pruning.models.layout.structure import Matrix

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
    for matrix in adapter.matrices:
        if matrix.name in modules:
            places[matrix.file_key].append((matrix.file_row, matrix))
            for key in matrix.copies:
                places[key].append((0, matrix))
    shapes = {key: adapter.loaded.checkpoint.tensors[key].shape for key in sorted(places)}
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
                matrix.part_of(rows).copy_(matrix.weight != 0)
                adapter.memory.release()
            stream.write(keep_sparse.pack(kept).numpy().data)
    shutil.copyfile(keep_sparse.__file__, directory / Path(keep_sparse.__file__).name)
