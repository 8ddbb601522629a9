"""Print what the reference models score on held-out scenes: `make score-scenes`.

With `--sparsity` the smallest weights of each matrix are zeroed first, the plainest pruning there
is: a model that does not suffer from it is too large for its task to tell pruning methods apart.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

from benchmarks.figures import Figure, conclude
from workers.scenes.evaluate import Score, answer_accuracy, retrieval, zero_shot
from workers.scenes.splits import Split


def prune_by_magnitude(model: nn.Module, sparsity: float) -> None:
    """Zero the smallest weights of every linear layer in place; embeddings and the head stay."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            size = module.weight.abs().flatten()
            threshold = size.kthvalue(max(1, round(sparsity * size.numel()))).values
            module.weight.data[module.weight.abs() <= threshold] = 0


def scores(path: Path, *, sparsity: float, seed: int, samples: int) -> dict[str, Score]:
    """Score the checkpoint at `path` on the test split."""
    processor = AutoProcessor.from_pretrained(path)
    llava = path.name == "scenes-llava"
    model = (AutoModelForImageTextToText if llava else AutoModel).from_pretrained(path).eval()
    if sparsity:
        prune_by_magnitude(model, sparsity)
    if llava:
        return answer_accuracy(model, processor, split=Split.TEST, seed=seed, per_kind=samples)
    found = retrieval(model, processor, split=Split.TEST, seed=seed, size=samples)
    return found | zero_shot(model, processor, split=Split.TEST, seed=seed, size=samples)


def dense_figures(name: str, found: Mapping[str, Score]) -> dict[str, Figure]:
    """The dense model's scores beside what is asked of it; CLIP's targets are five times chance."""
    if name == "scenes-llava":
        return {f"{name} {kind}": Figure(score.rate, least=0.95) for kind, score in found.items()}
    chance = {"colour": 1 / 6, "kind": 1 / 14, "both": 1 / 84}
    ranks = {
        key: int(key.rpartition("@")[2]) / score.total for key, score in found.items() if "@" in key
    }
    return {
        f"{name} {key}": Figure(score.rate, least=5 * (chance | ranks)[key])
        for key, score in found.items()
    }


def weight_figure(path: Path) -> Figure:
    """Megabytes of the weights."""
    return Figure((path / "model.safetensors").stat().st_size / 1e6, most=12)


def main() -> int:
    """Print a Markdown table a model, a column for each sparsity."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Figure] = {}
    for path in options.paths:
        columns = [
            scores(path, sparsity=share, seed=options.seed, samples=options.samples)
            for share in options.sparsity
        ]
        print(f"\n| {path.name} | samples |" + "".join(f" {s:.0%} |" for s in options.sparsity))
        print("|---|---:|" + "---:|" * len(columns))
        for name, first in columns[0].items():
            rates = "".join(f" {column[name].rate:.3f} |" for column in columns)
            print(f"| {name} | {first.total} |{rates}")
        figures[f"{path.name} megabytes"] = weight_figure(path)
        if options.sparsity[0] == 0:
            figures |= dense_figures(path.name, columns[0])
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main())
