"""Random tokens, the same for both sides."""

import torch

TOKENS = 640
_WORDS = 31_000


def batches(samples: int, batch: int) -> list[dict[str, torch.Tensor]]:
    """`samples` rows of random tokens, `batch` at a time."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(3, _WORDS, (samples, TOKENS), generator=draw)
    return [
        {"input_ids": part, "attention_mask": torch.ones_like(part)}
        for part in torch.split(ids, batch)
    ]
