"""How large a model and its towers are, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from app.recipes.modality import Modality
from app.recipes.structure import (
    BlockStructure,
    StructureError,
    StructureReport,
    TowerStructure,
)
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import open_checkpoint
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.structure.mlp import find_mlp


@dataclass(frozen=True, slots=True)
class TowerSize:
    """One tower; see `TowerStructure`."""

    modality: Modality
    blocks: int
    width: int | None
    parameters: int
    bytes: int
    flops: int

    @classmethod
    def of(cls, tower: Tower) -> "TowerSize":
        """Count it; weights that several blocks share count once."""
        every = {id(stored(p)): stored(p) for each in tower.blocks for p in _own(each.module)}
        parameters = list(every.values())
        widths = {width for block in tower.blocks if (width := _width(block)) is not None}
        return cls(
            modality=tower.modality,
            blocks=len(tower.blocks),
            width=widths.pop() if len(widths) == 1 else None,
            parameters=sum(p.numel() for p in parameters),
            bytes=sum(p.numel() * p.dtype.itemsize for p in parameters),
            flops=2 * sum(p.numel() for p in parameters if p.ndim == 2),  # noqa: PLR2004 - a matrix
        )


def _own(module: nn.Module) -> Sequence[nn.Parameter]:
    return list(module.parameters())


def _width(block: Block) -> int | None:
    try:
        found = find_mlp(block.name, block.module)
    except StructureError:
        return None
    return found.width if found else None


class ModelSize:
    """One model.

    Attributes:
        parameters: in its files.
        bytes: of them.
        towers: by name.
    """

    def __init__(self, adapter: Adapter) -> None:
        """Count it."""
        tensors = open_checkpoint(adapter.loaded.directory).tensors.values()
        self.parameters = sum(tensor.numel for tensor in tensors)
        self.bytes = sum(tensor.bytes for tensor in tensors)
        self.towers = {tower.name: TowerSize.of(tower) for tower in adapter.towers}


def compared(
    before: ModelSize, after: ModelSize, decided: Sequence[BlockStructure]
) -> StructureReport:
    """What was taken out.

    Args:
        before: the model as it was.
        after: as it is.
        decided: block by block.
    """
    towers = []
    for name, old in before.towers.items():
        new = after.towers.get(name)
        if new is None:
            continue
        towers.append(
            TowerStructure(
                name=name,
                modality=old.modality,
                blocks=old.blocks,
                blocks_kept=new.blocks,
                width=old.width,
                width_kept=new.width,
                parameters=old.parameters,
                parameters_kept=new.parameters,
                bytes=old.bytes,
                bytes_kept=new.bytes,
                flops=old.flops,
                flops_kept=new.flops,
            )
        )
    return StructureReport(
        towers=tuple(towers),
        blocks=tuple(decided),
        removed=tuple(block.name for block in decided if block.kept == 0),
        parameters=before.parameters,
        parameters_kept=after.parameters,
        bytes=before.bytes,
        bytes_kept=after.bytes,
    )
