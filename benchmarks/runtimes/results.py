"""One result of every kind, made of a dense model by the functions that jobs use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from app.recipes.recipe import build_recipe
from app.recipes.structure import Depth, Step, Width
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.models.quantization import Quantizer
from workers.pruning.structure.reduce import reduce

Inputs = dict[str, torch.Tensor]
Make = Callable[[Path, Path, Inputs], None]


def _zeroed(pattern: str) -> Make:
    def make(source: Path, out: Path, inputs: Inputs) -> None:
        del inputs
        adapter = _copied(source, out)
        prune(adapter, build_recipe("magnitude", {}, pattern, sparsity=0.5))
        write_back(out, adapter.matrices, adapter.memory)

    return make


def _smaller(step: Step) -> Make:
    def make(source: Path, out: Path, inputs: Inputs) -> None:
        reduce(_copied(source, out), step, [inputs], out)

    return make


def _quantized(kind: Any) -> Make:
    def make(source: Path, out: Path, inputs: Inputs) -> None:
        _zeroed("unstructured")(source, out, inputs)
        adapter = adapt(load_model(out, memory=Memory(out, scratch=out)))
        quantizer = Quantizer(adapter, kind)
        quantizer.round()
        quantizer.write(out)

    return make


def _copied(source: Path, out: Path) -> Adapter:
    copy_checkpoint(source, out)
    return adapt(load_model(source, memory=Memory(out, scratch=out)))


STEPS: dict[str, Step] = {
    "width": Width(mlp_removed=0.5, score="magnitude", solve=False),
    "depth": Depth(removed=0.34),
}
"""What the kinds that are smaller take out."""

KINDS: dict[str, Make] = {
    "unstructured": _zeroed("unstructured"),
    "2:4": _zeroed("2:4"),
    **{kind: _smaller(step) for kind, step in STEPS.items()},
    "int8": _quantized("int8"),
    "fp8": _quantized("fp8"),
}
"""What makes the result of a kind in a directory, from the dense model in another."""
