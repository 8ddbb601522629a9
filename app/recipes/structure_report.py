"""What became of a model's structure: its towers before and after, and what was decided."""

from collections.abc import Iterable

from app.recipes.modality import Modality
from app.strict import Strict


class TowerStructure(Strict):
    """One tower before and after; widths are those of its MLPs, None where they stay as they are.

    Of experts, operations count those that a token is routed to.

    Attributes:
        name: of the stack of blocks, as the model or its files name it.
        modality: the part of the model.
        blocks: how many there were.
        blocks_kept: how many there are.
        width: channels between the two layers of its MLPs.
        width_kept: those that are left.
        experts: in each of its mixtures; None where it has none.
        experts_kept: those that are left.
        parameters: of its blocks.
        parameters_kept: those that are left.
        bytes: of these, as they are stored.
        bytes_kept: those that are left.
        flops: multiplications and additions of its matrices for one token, attention itself apart.
        flops_kept: those that are left.
        tokens: of one input that pass through it: those of an image as large as config.json says,
            of a text of 512 tokens, or of both.
    """

    name: str
    modality: Modality
    blocks: int
    blocks_kept: int
    width: int | None = None
    width_kept: int | None = None
    experts: int | None = None
    experts_kept: int | None = None
    parameters: int
    parameters_kept: int
    bytes: int
    bytes_kept: int
    flops: int
    flops_kept: int
    tokens: int = 1


class BlockStructure(Strict):
    """What became of one block.

    Attributes:
        name: of the block before; under `width`, of the projection that reads the channels; under
            `experts`, of the experts.
        kept: channels or experts that are left; under `depth` 1 or 0: the block stays or went.
        score: what decided; `keep` where the blocks that stay were named.
        value: under `depth`, the score itself: the smallest went first.
        error: under `width`, squared error of the output of that projection as a share of its
            square, on tokens that were held out; None where there were none.
        experts: under `experts`, those that are left, by the numbers they had.
    """

    name: str
    kept: int
    score: str
    value: float | None = None
    error: float | None = None
    experts: tuple[int, ...] | None = None


class StructureReport(Strict):
    """What was taken out.

    Attributes:
        towers: those that became smaller, and those that did not.
        blocks: what was decided, block by block, in execution order.
        removed: names of the blocks that were left out.
        parameters: of the whole model before.
        parameters_kept: after.
        bytes: of all weights before, as they are stored.
        bytes_kept: after.
    """

    towers: tuple[TowerStructure, ...]
    blocks: tuple[BlockStructure, ...] = ()
    removed: tuple[str, ...] = ()
    parameters: int
    parameters_kept: int
    bytes: int
    bytes_kept: int

    @property
    def ratio(self) -> float:
        """Share of the towers' parameters that is left."""
        return _ratio((each.parameters, each.parameters_kept) for each in self.towers)

    @property
    def flops_ratio(self) -> float:
        """Share of the towers' operations for one input that is left."""
        return _ratio((e.tokens * e.flops, e.tokens * e.flops_kept) for e in self.towers)


def _ratio(pairs: Iterable[tuple[int, int]]) -> float:
    found = list(pairs)
    before = sum(each for each, _ in found)
    return sum(each for _, each in found) / before if before else 1.0
