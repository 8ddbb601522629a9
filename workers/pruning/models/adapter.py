"""What a family of models must say about itself, and everything that follows from it.

A family names its architectures, its stacks of blocks with their modality, and how a calibration
record becomes model inputs. Discovery of matrices, ties, file keys and batching is done here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from app.errors import UnsupportedArchitectureError
from app.recipes.modality import Modality
from app.recipes.runtime_support import ModelKind
from workers.pruning.models.encoding import RecordEncoder
from workers.pruning.models.files import map_file_keys
from workers.pruning.models.layout.discovery import (
    MatrixFinder,
    Stack,
    find_stacks,
    stack_of,
    unread_weights,
)
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Block, Matrix, Tower
from workers.pruning.models.loading import LoadedModel
from workers.pruning.models.losses import training_loss


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """Declares one tower; an adapter lists them in execution order.

    Attributes:
        path: fnmatch pattern of module paths; a ModuleList is a stack of blocks, any other module
            (a projector) one block.
        modality: the part of the model it serves.
        mask: batch entry that marks real tokens; None when the tower sees no padding.
        source_mask: the same for the encoder states its cross-attention reads.
        feeds: blocks whose output is read outside the tower; negative counts from the end, empty
            when unknown.
        passes: runs through the tower per forward of the model; None when unknown.
        guessed: what the masks are is a guess; see `Tower`.
    """

    path: str
    modality: Modality
    mask: str | None = None
    source_mask: str | None = None
    feeds: tuple[int, ...] = (-1,)
    passes: int | None = 1
    guessed: bool = False


class Adapter(RecordEncoder):
    """One loaded model, ready to be pruned.

    Attributes:
        towers: in execution order.
        warnings: what the caller must know: matrices that cannot be observed, guesses made.
        bridges: projectors and the like that are not among the towers.
        irreversible: parameters that cannot be written back to the files.
        unread: tensors of the files that the model has no parameter for.
        memory: what of the model is in memory.
        forms: filled by replay; see there.
    """

    architectures: ClassVar[tuple[str, ...]] = ()
    tower_specs: ClassVar[tuple[TowerSpec, ...]] = ()

    def __init__(
        self, loaded: LoadedModel, *, split_qkv: bool = False, include_bridge: bool = False
    ) -> None:
        """Find towers, blocks and matrices.

        Args:
            loaded: the model.
            split_qkv: see a fused qkv projection as three matrices.
            include_bridge: make projectors and Q-Former prunable, as towers of their own.

        Raises:
            UnsupportedArchitectureError: no stack of blocks.
        """
        super().__init__(loaded)
        self.memory = loaded.memory
        self.forms: dict[str, Any] = {}
        self._notes: list[str] = []
        keys = map_file_keys(self.model, loaded.checkpoint)
        self.unread = keys.unread
        finder = MatrixFinder(self.model, keys, split_qkv=split_qkv)
        declared = self._declared()
        bridges = [s for s, part in declared if part.modality is Modality.BRIDGE]
        self.bridges = () if include_bridge else tuple(stack.name for stack in bridges)
        towers = [
            self._tower(stack, part, finder)
            for stack, part in declared
            if stack.name not in self.bridges
        ]
        self.towers = _walked(towers)
        self.irreversible = frozenset(finder.dense)
        if finder.dense:
            self._notes.append(
                f"left dense, as transformers computes them from other tensors of the files and "
                f"their zeros could not be written back: {', '.join(finder.dense)}."
            )
        if not self.towers:
            raise UnsupportedArchitectureError(
                f"{type(self.model).__name__} has no stack of blocks with weight matrices."
            )
        self._notes += [
            f"{tower.name}: left alone, not weights of linear layers: {', '.join(sorted(names))}."
            for tower in self.towers
            if (names := {n for block in tower.blocks for n in unread_weights(block.module)})
        ]
        self._notes += [
            f"{matrix.name} is read by packed attention: no input statistics, magnitude only."
            for matrix in self.matrices
            if not matrix.callers
        ]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the plan and the report."""
        return tuple(self._notes)

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """All prunable matrices, in execution order."""
        return tuple(m for tower in self.towers for block in tower.blocks for m in block.matrices)

    @property
    def kind(self) -> ModelKind:
        """What runtimes tell models apart by."""
        seen, writes = {tower.modality for tower in self.towers}, self.model.can_generate()
        if seen <= {Modality.LANGUAGE, Modality.TEXT}:
            if not writes:
                return "encoder"
            return "other" if self.model.config.is_encoder_decoder else "decoder"
        pictures = {Modality.VISION, Modality.LANGUAGE} <= seen and Modality.AUDIO not in seen
        return "vision-language" if pictures and writes else "other"

    # -- what families override ------------------------------------------------------------

    def declare(self) -> Sequence[TowerSpec]:
        """Towers of this model in execution order; a module belongs to the first that matches."""
        return self.tower_specs

    def forward(self, batch: Batch) -> Any:
        """Run every tower the batch feeds."""
        return self.call(batch)

    def loss(self, batch: Batch) -> Tensor:
        """Scalar training loss of the model on the batch; `losses` says which.

        Raises:
            RecipeError: the model has none.
        """
        return training_loss(self, batch)

    def token_mask(
        self, tower: Tower, batch: Batch, seen: Tensor, *, source: bool
    ) -> Tensor | None:
        """Which tokens of a tensor seen inside a block are real.

        Args:
            tower: whose block.
            batch: the batch on its way.
            seen: input of a block or of a matrix in it, (batch, tokens, features) or
                (batch x tokens, features).
            source: it is the encoder states that cross-attention reads.

        Returns:
            Bool of the shape of `seen` without its last dimension. None when all are real, or
            when `seen` has other tokens than the mask (pooled, merged).
        """
        key = tower.source_mask if source else tower.mask
        if key is None or key not in batch:
            return None
        mask = batch[key].bool()
        if seen.ndim == 2 and len(seen) == mask.numel():  # noqa: PLR2004 (tokens in a row)
            mask = mask.flatten()
        if mask.shape != seen.shape[:-1]:
            return None
        # On a GPU nobody looks, which would be to wait for it: all real tokens change nothing.
        return None if mask.device.type == "cpu" and bool(mask.all()) else mask

    def call(self, batch: Batch, **extra: Any) -> Any:
        """Run the model without a cache; what it draws at random is the same every time."""
        if "use_cache" in self.accepted:
            extra.setdefault("use_cache", False)
        with _uncached(self.model), torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(0)
            return self.model(**batch, **extra)

    def call_at(self, batch: Batch, wanted: Tensor) -> tuple[Any, Tensor]:
        """Run the model for what it predicts at some tokens, without the logits of all others.

        Nothing is asked of hundreds of image tokens, and logits are the largest activation there
        is: with 152,000 entries in the vocabulary, those of 600 tokens are 365 MB.

        Args:
            batch: inputs of the model.
            wanted: (batch, tokens), bool.

        Returns:
            The output, and `wanted` of the tokens that it may have logits of: all, where the class
            cannot be told to leave some out or makes a loss of labels.
        """
        if "logits_to_keep" not in self.accepted or "labels" in batch:
            return self.call(batch), wanted
        places = wanted.any(0).nonzero().flatten()
        return self.call(batch, logits_to_keep=places), wanted[:, places]

    # -- construction ----------------------------------------------------------------------

    def _declared(self) -> list[tuple[Stack, TowerSpec]]:
        """The stacks that each declaration matches; a module belongs to the first that does."""
        parts = self.declare()
        found: list[tuple[int, Stack]] = []
        for name, module in self.model.named_modules():
            matching = (at for at, part in enumerate(parts) if fnmatchcase(name, part.path))
            if (at := next(matching, None)) is not None:
                found.append((at, stack_of(name, module)))
        known = {stack.name for _, stack in found}
        self._notes += [
            f"{stack.name} is of no known kind and is left alone."
            for stack in find_stacks(self.model)
            if stack.name not in known
        ]
        return [(stack, parts[at]) for at, stack in sorted(found, key=lambda pair: pair[0])]

    def _tower(self, stack: Stack, part: TowerSpec, finder: MatrixFinder) -> Tower:
        count = len(stack.blocks)
        return Tower(
            name=stack.name,
            modality=part.modality,
            blocks=tuple(
                Block(name, module, finder.find(name, module, part.modality))
                for name, module in stack.blocks
            ),
            feeds=tuple(sorted({index % count for index in part.feeds})),
            passes=part.passes,
            mask=part.mask,
            source_mask=part.source_mask,
            guessed=part.guessed,
        )


@contextmanager
def _uncached(model: PreTrainedModel) -> Iterator[None]:
    """Configurations ask for no cache; some classes make one that their arguments do not tell of.

    Blocks that are handed a cache are taken for blocks that read what earlier ones left there.
    """
    configs = [each.config for each in model.modules() if isinstance(each, PreTrainedModel)]
    asking = [config for config in configs if getattr(config, "use_cache", False)]
    for config in asking:
        config.use_cache = False
    try:
        yield
    finally:
        for config in asking:
            config.use_cache = True


def _walked(towers: Sequence[Tower]) -> tuple[Tower, ...]:
    """The towers with matrices of their own, or with modules that multiply by those of others."""
    callers = {
        caller
        for tower in towers
        for block in tower.blocks
        for matrix in block.matrices
        for caller in matrix.callers
    }
    return tuple(
        tower
        for tower in towers
        if any(not callers.isdisjoint(block.module.modules()) for block in tower.blocks)
        or any(block.matrices for block in tower.blocks)
    )
