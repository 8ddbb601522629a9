"""Real tokens, told from the attention mask that a model hands to its own blocks.

Where text and image tokens share one stream, no mask of the batch has the stream's length; the mask
that the model makes for its attention has. A token is real where any token may attend to it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_MASKED = -1000.0  # additive masks hold -10,000 or less; biases of positions stay above


def guessed_mask(
    seen: Tensor,
    batch: Mapping[str, Tensor],
    keys: Sequence[str | None],
    given: Sequence[Tensor],
) -> Tensor | None:
    """Which tokens of `seen` are real: bool; None where all are, or where nothing tells.

    Args:
        seen: (batch, tokens, features) or (batch * tokens, features).
        batch: the model's inputs.
        keys: entries of it that may mark the tokens, the likeliest first.
        given: tensors the block was called with, the likeliest first. A mask is one of bool or int
            (batch, tokens), or bool or additive (batch, heads, queries, tokens).
    """
    named = (batch[key].bool() for key in keys if key is not None and key in batch)
    for mask in (*named, *(found for each in given if (found := _keys(each)) is not None)):
        flat = mask.flatten() if seen.ndim == 2 and len(seen) == mask.numel() else mask  # noqa: PLR2004 (tokens in a row)
        if flat.shape == seen.shape[:-1]:
            return None if bool(flat.all()) else flat
    return None


def _keys(mask: Tensor) -> Tensor | None:
    """(batch, tokens) of the keys that a mask lets anyone attend to; None where it is none."""
    match mask.ndim:
        case 2 if not mask.is_floating_point():
            return _real(mask)
        case 4 if mask.is_floating_point():
            return (mask > _MASKED).flatten(1, 2).any(1)
        case 4 if mask.dtype == torch.bool:
            return mask.flatten(1, 2).any(1)
    return None


def _real(mask: Tensor) -> Tensor | None:
    """What a mask of tokens says is real; None for ids and positions.

    Padding stands behind, so the first token of every record is real. Where none of them is, the
    mask says what to leave out, as torch's `key_padding_mask` does.
    """
    if mask.dtype != torch.bool and bool(((mask != 0) & (mask != 1)).any()):
        return None
    real = mask.bool()
    if bool(real[:, 0].all()):
        return real
    return ~real if mask.dtype == torch.bool and not bool(real[:, 0].any()) else None
