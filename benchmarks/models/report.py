"""Print what a reference model scores on held-out scenes: `make score-scenes`.

With `--sparsity` the smallest weights of each matrix are zeroed first, the plainest pruning there
is: a model that does not suffer from it is too large for its task to tell pruning methods apart.
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

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


def main() -> None:
    """Print one Markdown table; a column for each sparsity."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = [
        scores(options.path, sparsity=share, seed=options.seed, samples=options.samples)
        for share in options.sparsity
    ]
    print("| | samples |" + "".join(f" {share:.0%} |" for share in options.sparsity))
    print("|---|---:|" + "---:|" * len(columns))
    for name, first in columns[0].items():
        rates = "".join(f" {column[name].rate:.3f} |" for column in columns)
        print(f"| {name} | {first.total} |{rates}")


if __name__ == "__main__":
    main()
