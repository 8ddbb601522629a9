"""What a user needs to train a pruned model on: its masks, and a file that keeps them."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from app.domain.report import MatrixReport
from workers.pruning import keep_sparse
from workers.pruning.models.adapter import Adapter

MASKS = "masks.safetensors"


def write_masks(directory: Path, adapter: Adapter, pruned: Iterable[MatrixReport]) -> None:
    """Write `masks.safetensors` and `keep_sparse.py`, which describes the format.

    Args:
        directory: where.
        adapter: the pruned model.
        pruned: its matrices that were pruned; the zeros in them are the mask.
    """
    modules = {report.module for report in pruned}
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in adapter.model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    kept: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[int, Any]] = defaultdict(dict)
    for matrix in adapter.matrices:
        if matrix.name not in modules:
            continue
        for key, first in ((matrix.file_key, matrix.file_row), *((k, 0) for k in matrix.copies)):
            if key not in kept:
                shape = adapter.loaded.checkpoint.tensors[key].shape
                kept[key] = torch.ones(shape, dtype=torch.bool)
            rows = [first, first + len(matrix.parameter)]
            matrix.part_of(kept[key][slice(*rows)]).copy_(matrix.weight != 0)
            parts[key][first] = {"names": names[id(matrix.parameter)], "rows": rows}
    tensors = {
        key: {"shape": list(mask.shape), "parts": list(parts[key].values())}
        for key, mask in kept.items()
    }
    packed = {key: keep_sparse.pack(mask) for key, mask in kept.items()}
    save_file(packed, directory / MASKS, metadata={"tensors": json.dumps(tensors)})
    shutil.copyfile(keep_sparse.__file__, directory / Path(keep_sparse.__file__).name)
