"""Many questions about one picture in one sequence: the picture is encoded once.

A sequence is `<s> <image>*n  question answer </s>  question answer </s> ...`; each question sees
the picture and itself only, and its positions go on from the picture's, so training sees exactly
what a single question would be at inference.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  # the label transformers leaves out of the loss


@dataclass(frozen=True, slots=True)
class Turn:
    """Token numbers of a question and of its answer with the end token."""

    question: list[int]
    answer: list[int]


def pack(prefix: list[int], scenes: list[list[Turn]], pad: int) -> dict[str, Tensor]:
    """Pack the turns of B scenes into T tokens.

    Returns:
        `input_ids`, `position_ids` and `labels` (B, T), and `attention_mask` (B, 1, T, T), true
        where a token may look.
    """
    length = len(prefix) + max(
        sum(len(turn.question) + len(turn.answer) for turn in turns) for turns in scenes
    )
    input_ids = torch.full((len(scenes), length), pad)
    labels = torch.full_like(input_ids, IGNORED)
    positions = torch.zeros_like(input_ids)
    segments = torch.full_like(input_ids, -1)  # 0 the picture, 1.. the turns, -1 padding
    for row, turns in enumerate(scenes):
        ids, wanted, places, parts = list(prefix), [IGNORED] * len(prefix), *_prefix(prefix)
        for number, turn in enumerate(turns, start=1):
            tokens = turn.question + turn.answer
            ids += tokens
            wanted += [IGNORED] * len(turn.question) + turn.answer
            places += range(len(prefix), len(prefix) + len(tokens))
            parts += [number] * len(tokens)
        end = len(ids)
        input_ids[row, :end] = torch.tensor(ids)
        labels[row, :end] = torch.tensor(wanted)
        positions[row, :end] = torch.tensor(places)
        segments[row, :end] = torch.tensor(parts)
    own = segments[:, :, None] == segments[:, None, :]
    picture = segments[:, None, :] == 0
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return {
        "input_ids": input_ids,
        "labels": labels,
        "position_ids": positions,
        "attention_mask": ((own | picture) & causal)[:, None],
    }


def _prefix(prefix: list[int]) -> tuple[list[int], list[int]]:
    return list(range(len(prefix))), [0] * len(prefix)
