"""Preference pairs on disk: what stage two learns from, with the large model out of memory."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The pairs of one batch: B prompts of P tokens, N layers, K pairs a prompt.

    Attributes:
        embeddings: (B, P, D) merged, in the model's dtype.
        segments: (B, P).
        kept: (2, K, B, P) bool, image tokens of the better and of the worse decision.
        run: (2, K, B, N) bool, layers of the better and of the worse decision.
        gaps: (K, B) float32, how much nearer to the dense answer the better one is: nats of KL, at
            most 1. 0 where the two are not worth telling apart.
    """

    embeddings: Tensor
    segments: Tensor
    kept: Tensor
    run: Tensor
    gaps: Tensor

    def __len__(self) -> int:
        """B."""
        return len(self.segments)


class PairStore:
    """Batches of pairs in a directory, one file each."""

    def __init__(self, directory: Path) -> None:
        """Use the directory; what lies there from an earlier round goes."""
        self._directory = directory
        for file in directory.glob("*.safetensors"):
            file.unlink()
        self.count = 0

    def add(self, pairs: Pairs) -> None:
        """Keep a batch."""
        if len(pairs):
            tensors = {each.name: getattr(pairs, each.name).cpu() for each in fields(Pairs)}
            save_file(
                {name: value.contiguous() for name, value in tensors.items()},
                self._directory / f"{self.count}.safetensors",
            )
            self.count += 1

    def batches(self, order: torch.Generator | None = None) -> Iterator[tuple[int, Pairs]]:
        """Number and content of each batch, shuffled where a generator is given."""
        places = (
            range(self.count)
            if order is None
            else torch.randperm(self.count, generator=order).tolist()
        )
        for place in places:
            yield place, Pairs(**load_file(self._directory / f"{place}.safetensors"))
