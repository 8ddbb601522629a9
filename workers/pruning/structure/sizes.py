"""How large a model and its towers are, before and after."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from app.planning.experts import chosen_experts
from app.planning.memory import tokens_of
from app.recipes.modality import Modality
from app.recipes.structure import StructureError
from app.recipes.structure_report import BlockStructure, StructureReport, TowerStructure
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import open_checkpoint, read_json
from workers.pruning.models.layout.experts import experts_of, outputs_of_experts
from workers.pruning.models.layout.structure import Block, Tower
from workers.pruning.structure.mlp import find_mlp


@dataclass(frozen=True, slots=True)
class TowerSize:
    """One tower; see `TowerStructure`."""

    modality: Modality
    blocks: int
    width: int | None
    experts: int | None
    parameters: int
    bytes: int
    flops: int
    tokens: int

    @classmethod
    def of(cls, tower: Tower, chosen: int, tokens: int) -> "TowerSize":
        """Count it; weights that several blocks share count once.

        Args:
            tower: to count.
            chosen: experts that a token is routed to.
            tokens: of one input that pass through it.
        """
        every = {id(stored(p)): stored(p) for each in tower.blocks for p in _own(each.module)}
        parameters = list(every.values())
        widths = {width for block in tower.blocks if (width := _width(block)) is not None}
        packed = {id(stored(p)): count for p, count in _packed(tower)}
        counts = set(packed.values())
        matrices = sum(p.numel() for p in parameters if p.ndim == 2 and id(p) not in packed)  # noqa: PLR2004
        routed = sum(
            sum(p.numel() for p in parameters if packed.get(id(p)) == count)
            * min(chosen, count)
            // count
            for count in counts
        )
        return cls(
            modality=tower.modality,
            blocks=len(tower.blocks),
            width=widths.pop() if len(widths) == 1 else None,
            experts=counts.pop() if len(counts) == 1 else None,
            parameters=sum(p.numel() for p in parameters),
            bytes=sum(p.numel() * p.dtype.itemsize for p in parameters),
            flops=2 * (matrices + routed),
            tokens=tokens,
        )


def _own(module: nn.Module) -> Sequence[nn.Parameter]:
    return list(module.parameters())


def _packed(tower: Tower) -> Iterator[tuple[nn.Parameter, int]]:
    """Parameters with a projection of all experts, and how many these are."""
    for block in tower.blocks:
        for module in block.module.modules():
            if outputs_of_experts(module) is None:
                continue
            for each in experts_of(module):
                yield getattr(module.get_submodule(each.owner), each.attribute), each.count


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
        chosen = chosen_experts(adapter.model.config.to_dict())
        config = read_json(adapter.loaded.directory, "config.json")
        self.towers = {
            tower.name: TowerSize.of(tower, chosen, tokens_of(config, tower.modality))
            for tower in adapter.towers
        }


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
                experts=old.experts,
                experts_kept=new.experts,
                parameters=old.parameters,
                parameters_kept=new.parameters,
                bytes=old.bytes,
                bytes_kept=new.bytes,
                flops=old.flops,
                flops_kept=new.flops,
                tokens=old.tokens,
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
