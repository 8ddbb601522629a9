"""The shares of a structure that make a model as small as a target says.

What the steps give are proportions: one factor multiplies them all. It is the smallest that meets
the target. Blocks, heads and experts go in whole numbers, which may take more than is needed; the
channels of MLPs then get back what they can.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from app.planning.experts import counted_experts, expert_groups
from app.planning.memory import modality_of
from app.planning.model_files.outlines import Outline
from app.planning.structure import modalities_in, plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.search import Ladder
from app.recipes.size_target import SizeTarget
from app.recipes.structure import (
    NothingLeftError,
    NothingTakenError,
    Step,
    TargetOutOfReachError,
    taken_of,
    takes,
)
from app.recipes.structure_report import StructureReport

Shares: TypeAlias = float | dict[Modality, float]
_GRID = 10_000  # steps of the largest share
_RUNG = 500  # of them between two rungs of a ladder
_FIELDS = {"width": ("heads_removed", "mlp_removed"), "depth": ("removed",)}
_FIELDS |= {"experts": ("removed",)}
_PARTS = {
    ("width", "mlp_removed"): "channels",
    ("width", "heads_removed"): "heads",
    ("depth", "removed"): "blocks",
    ("experts", "removed"): "experts",
}
_FINE = "channels"


@dataclass(frozen=True, slots=True)
class Sized:
    """A recipe whose shares are known.

    Attributes:
        recipe: with them.
        report: what they take out.
    """

    recipe: Recipe
    report: StructureReport


def size(outline: Outline, recipe: Recipe, target: SizeTarget) -> Recipe:
    """The recipe with the shares that meet the target.

    Args:
        outline: of the model.
        recipe: with a structure, whose shares are proportions.
        target: to be met.

    Raises:
        StructureError: one of its kinds; `TargetOutOfReachError` where the target is met already,
            or by no share.
    """
    before = sum(tensor.numel for tensor in outline.tensors.values())
    if target.target_flops_ratio is None and target.most_parameters(before) >= before:
        raise TargetOutOfReachError(
            f"{target.size_target}: the model has {before:,} parameters as it is"
        )
    _refuse_without_shares(recipe, target.size_target)
    shares = _Shares(outline, recipe)

    def meets(coarse: int, fine: int) -> bool:
        try:
            found = shares.at(coarse, fine)
        except NothingLeftError:
            return True  # beyond what can go
        return found is not None and target.is_met(found.report)

    coarse = _smallest(lambda at: meets(at, at), _GRID)
    fine = _smallest(lambda at: meets(coarse, at), coarse + 1) if shares.mixed else coarse
    try:
        found = shares.at(coarse, fine)
    except NothingLeftError as error:
        raise TargetOutOfReachError(
            f"{target.size_target}: {_least(shares, coarse)}; beyond, {error}"
        ) from error
    if found is None or not target.is_met(found.report):
        raise TargetOutOfReachError(f"{target.size_target}: {_least(shares, coarse + 1)}")
    return found.recipe


def climb(outline: Outline, recipe: Recipe) -> Ladder:
    """Smaller and smaller structures, each smaller than the one before.

    Args:
        outline: of the model.
        recipe: with a structure, whose shares are proportions.

    Raises:
        StructureError: one of its kinds; `TargetOutOfReachError` where nothing can go.
    """
    _refuse_without_shares(recipe, "target_parameters auto")
    shares = _Shares(outline, recipe)
    left = sum(tensor.numel for tensor in outline.tensors.values())
    found: dict[float, tuple[Step, ...]] = {}
    for at in range(_RUNG, _GRID, _RUNG):
        try:
            sized = shares.at(at, at)
        except NothingLeftError:
            break  # and so it is beyond
        if sized is not None and sized.report.parameters_kept < left:
            left = sized.report.parameters_kept
            found[at / _GRID] = sized.recipe.structure
    if not found:
        raise TargetOutOfReachError("nothing of what was asked can go")
    return Ladder(axis="structure", removed=tuple(found), structures=tuple(found.values()))


def _refuse_without_shares(recipe: Recipe, target: str) -> None:
    if not any(_fields(step) for step in recipe.structure):
        raise TargetOutOfReachError(
            f"{target}: keep says which blocks stay, and no share is left that a "
            "target could choose; leave one of them out"
        )


def _fields(step: Step) -> list[str]:
    """Those of a step that are shares."""
    return [name for name in _FIELDS[step.kind] if getattr(step, name) is not None]


def _least(shares: "_Shares", beyond: int) -> str:
    found = shares.at(beyond - 1, beyond - 1)
    if found is None:
        return "nothing of what was asked can go"
    left = found.report
    return (
        f"what was asked can leave no less than {left.parameters_kept:,} of "
        f"{left.parameters:,} parameters ({left.parameters_kept / left.parameters:.3f}) and "
        f"{left.flops_ratio:.3f} of the operations"
    )


def _smallest(holds: Callable[[int], bool], most: int) -> int:
    """The smallest number below `most` from which on it holds; `most - 1` where it never does."""
    low, high = 0, most - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


class _Shares:
    """What a recipe takes out where its shares are multiplied."""

    def __init__(self, outline: Outline, recipe: Recipe) -> None:
        self._outline = outline
        self._recipe = recipe
        asked = [getattr(step, name) for step in recipe.structure for name in _fields(step)]
        self._largest: float = max(
            max(one.values()) if isinstance(one, dict) else one for one in asked
        )
        parts = {
            _PARTS[step.kind, name]
            for step in recipe.structure
            for name in _fields(step)
            if takes(getattr(step, name))
        }
        self.mixed = _FINE in parts and len(parts) > 1

    def at(self, coarse: int, fine: int) -> Sized | None:
        """The recipe so far along the way; None where nothing would go.

        Args:
            coarse: of `_GRID`, for blocks, heads and experts.
            fine: for channels.

        Raises:
            NothingLeftError: it is too far.
        """
        shares: dict[tuple[str, str], Shares] = {
            (step.kind, name): self._scaled(
                getattr(step, name), fine if _PARTS[step.kind, name] == _FINE else coarse
            )
            for step in self._recipe.structure
            for name in _fields(step)
        }
        self._round_experts(shares)
        while True:
            steps = tuple(
                step.model_copy(update={n: shares[step.kind, n] for n in _fields(step)})
                for step in self._recipe.structure
                if not _fields(step) or any(takes(shares[step.kind, n]) for n in _fields(step))
            )
            if not steps:
                return None
            recipe = self._recipe.model_copy(update={"structure": steps})
            try:
                return Sized(recipe, plan_structure(self._outline, recipe).report)
            except NothingTakenError as error:
                self._drop(shares, error)

    def _scaled(self, asked: Shares, at: int) -> Shares:
        factor = at / _GRID / self._largest
        if isinstance(asked, dict):
            return {modality: round(each * factor, 6) for modality, each in asked.items()}
        return round(asked * factor, 6)

    def _round_experts(self, shares: dict[tuple[str, str], Shares]) -> None:
        """Where routing is limited to groups, as many experts have to go from each."""
        count, part = counted_experts(self._outline.config)
        groups = expert_groups(part, count) if count else 1
        asked = shares.get(("experts", "removed"))
        if asked is None or groups == 1:
            return

        def rounded(share: float) -> float:
            gone = taken_of(count, share) // groups * groups
            return ceil(gone / count * 1e6) / 1e6

        shares["experts", "removed"] = (
            {modality: rounded(share) for modality, share in asked.items()}
            if isinstance(asked, dict)
            else rounded(asked)
        )

    def _drop(self, shares: dict[tuple[str, str], Shares], error: NothingTakenError) -> None:
        """Take nothing from the towers of a modality where the share is too small for one."""
        place = next(place for place, part in _PARTS.items() if part == error.part)
        asked, modality = shares[place], modality_of(f"{error.tower}.0.")
        if error.part == "experts":
            shares[place] = 0.0
        elif isinstance(asked, dict):
            shares[place] = {m: share for m, share in asked.items() if m is not modality}
        else:
            others = modalities_in(self._outline, self._recipe) - {modality}
            shares[place] = dict.fromkeys(sorted(others), asked)
