# ruff: noqa: ANN001, ANN202, PLR0917 - of the kernel, which Triton reads and Python never runs
"""Eliminating a block of columns on a GPU.

One kernel does a block: every thread block holds some rows of all its columns and goes through the
columns in order. Where Triton is not there (it comes with torch for CUDA on Linux), or a block is
wider than registers allow, torch does it column by column: three launches each.
"""

from typing import Any, NamedTuple

import torch

from app.recipes.pattern import NM
from workers.pruning.selection import device
from workers.pruning.selection.selection import Selection

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for the CPU
    triton = None

_ROWS = 16
_WARPS = 1  # one has no barrier in the loop over columns
_WIDEST = 256


def eliminate(
    values: torch.Tensor, upper: torch.Tensor, scale: torch.Tensor, part: Selection
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask, errors and summed scores, as `elimination.eliminate` has them; nothing is waited for.

    A score that is NaN or infinite makes the sum so.
    """
    block = _Block(values, upper, scale, torch.empty_like(values), torch.zeros_like(values[0]))
    sweep = _in_one_kernel if triton is not None and _fits(values) else _by_columns
    if isinstance(part.pattern, NM):
        mask = torch.empty_like(values, dtype=torch.bool)
        sweep(block, mask, part.pattern)
        return mask, block.errors, block.scores.sum()
    scores = (values * scale[:, None]).square_()
    scored = scores.sum()
    across = scores.T.contiguous()
    if part.pattern.group == "row":
        chosen = device.smallest_per_row(across, *divmod(part.count, len(across)))
    else:
        chosen = device.smallest(across, part.count)
    mask = chosen.T.contiguous()
    sweep(block, mask, None)
    return mask, block.errors, scored


class _Block(NamedTuple):
    """What a sweep reads and fills; (columns, out), and summed scores of each row."""

    values: torch.Tensor
    upper: torch.Tensor
    scale: torch.Tensor
    errors: torch.Tensor
    scores: torch.Tensor


def _fits(values: torch.Tensor) -> bool:
    return values.is_cuda and len(values) <= _WIDEST


def _by_columns(block: _Block, mask: torch.Tensor, groups: NM | None) -> None:
    values, upper, scale, errors, scores = block
    for column in range(len(values)):
        if groups is not None and column % groups.m == 0:
            turn = slice(column, column + groups.m)
            lanes = (values[turn] * scale[turn, None]).square_().T.contiguous()
            mask[turn] = device.smallest_of_group(lanes, groups.m - groups.n, groups.m).T
            scores += lanes.sum(1)
        torch.mul(values[column], mask[column] * scale[column], out=errors[column])
        values[column + 1 :] -= upper[column, column + 1 :, None] * errors[column]


def _in_one_kernel(block: _Block, mask: torch.Tensor, groups: NM | None) -> None:
    values, upper, scale, errors, scores = block
    columns, rows = values.shape
    kernel: Any = _kernel
    kernel[(triton.cdiv(rows, _ROWS),)](
        *(values, upper, scale, mask.view(torch.int8), errors, scores),
        *(rows, columns, *upper.stride()),
        WIDTH=triton.next_power_of_2(columns),
        ROWS=_ROWS,
        num_warps=_WARPS,
        GROUP=0 if groups is None else groups.m,
        DROP=0 if groups is None else groups.m - groups.n,
    )


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]  # Triton has no types
    def _kernel(  # type: ignore[no-untyped-def]  # Triton reads it, Python never runs it
        values_at,
        upper_at,
        scale_at,
        mask_at,
        errors_at,
        scores_at,
        rows,
        columns,
        down,
        along,
        WIDTH: tl.constexpr,  # noqa: N803 - Triton's custom for constants
        ROWS: tl.constexpr,  # noqa: N803 - the same
        GROUP: tl.constexpr,  # noqa: N803 - the same
        DROP: tl.constexpr,  # noqa: N803 - the same
    ):
        column = tl.arange(0, WIDTH)
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        place = column[None, :] * rows + row[:, None]
        values = tl.load(values_at + place, mask=inside, other=0.0)
        scale = tl.load(scale_at + column, mask=column < columns, other=0.0)
        scores = values
        scored = tl.zeros((ROWS,), tl.float32)
        for turn in range(columns):
            own = column[None, :] == turn
            value = tl.sum(tl.where(own, values, 0.0), axis=1)
            own_scale = tl.load(scale_at + turn)
            line = turn * rows + row
            if GROUP:
                if turn % GROUP == 0:
                    scaled = values * scale[None, :]
                    scores = scaled * scaled
                score = tl.sum(tl.where(own, scores, 0.0), axis=1)
                together = (column // GROUP == turn // GROUP)[None, :]
                earlier = (scores < score[:, None]) | (
                    (scores == score[:, None]) & (column < turn)[None, :]
                )
                before = tl.sum((together & earlier).to(tl.int32), axis=1)
                gone = before < DROP
                scored += score
                tl.store(mask_at + line, gone.to(tl.int8), mask=row < rows)
            else:
                gone = tl.load(mask_at + line, mask=row < rows, other=0) != 0
            error = tl.where(gone, value * own_scale, 0.0)
            tl.store(errors_at + line, error, mask=row < rows)
            factors = tl.load(
                upper_at + turn * down + column * along,
                mask=(column > turn) & (column < columns),
                other=0.0,
            )
            values -= error[:, None] * factors[None, :]
        tl.store(values_at + place, values, mask=inside)
        if GROUP:
            tl.store(scores_at + row, scored, mask=row < rows)
