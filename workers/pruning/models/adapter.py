"""What a family of models must say about itself, and everything that follows from it.

A family names its architectures, its stacks of blocks with their modality, and how a calibration
record becomes model inputs. Discovery of matrices, ties, file keys and batching is done here.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

from app.domain.errors import CalibrationDataError, UnsupportedArchitectureError
from app.domain.recipe import Modality
from workers.pruning.models import inputs
from workers.pruning.models.discovery import MatrixFinder, Stack, find_stacks
from workers.pruning.models.file_keys import map_file_keys
from workers.pruning.models.loading import LoadedModel
from workers.pruning.models.losses import training_loss
from workers.pruning.models.records import CalibrationRecord
from workers.pruning.models.replay import Batch
from workers.pruning.models.structure import Block, Matrix, Tower

_ORDER = tuple(Modality)  # vision, bridge, text, fusion, language: each may feed the later ones


@dataclass(frozen=True, slots=True)
class Part:
    """Declares one tower.

    Attributes:
        path: fnmatch pattern of the ModuleList's module path.
        modality: the part of the model it serves.
        mask: batch entry that marks real tokens; None when the tower sees no padding.
        feeds: blocks whose output is read outside the tower; negative counts from the end, empty
            when unknown.
        passes: runs through the tower per forward of the model; None when unknown.
    """

    path: str
    modality: Modality
    mask: str | None = None
    feeds: tuple[int, ...] = (-1,)
    passes: int | None = 1


class Adapter:
    """One loaded model, ready to be pruned.

    Attributes:
        towers: in execution order.
        warnings: what the caller must know: matrices that cannot be observed, guesses made.
        forms: filled by replay; see there.
    """

    architectures: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[Part, ...]] = ()
    bridges: ClassVar[tuple[str, ...]] = ()  # fnmatch patterns of projector modules

    def __init__(
        self, loaded: LoadedModel, *, split_qkv: bool = False, include_bridge: bool = False
    ) -> None:
        """Find towers, blocks and matrices.

        Args:
            loaded: the model.
            split_qkv: see a fused qkv projection as three matrices.
            include_bridge: make projectors and Q-Former prunable, as towers of their own.

        Raises:
            UnsupportedArchitectureError: no stack of blocks, or a matrix that cannot be written
                back to the files.
        """
        self.loaded = loaded
        self.model = loaded.model
        self.processor = loaded.processor
        self.forms: dict[str, Any] = {}
        self._notes: list[str] = []
        finder = MatrixFinder(
            self.model, map_file_keys(self.model, loaded.checkpoint), split_qkv=split_qkv
        )
        towers = [
            self._tower(stack, part, finder)
            for stack, part in self._declared()
            if include_bridge or part.modality is not Modality.BRIDGE
        ]
        if include_bridge:
            towers += self._projectors(finder)
        self.towers = tuple(
            sorted(
                (tower for tower in towers if any(block.matrices for block in tower.blocks)),
                key=lambda tower: _ORDER.index(tower.modality),
            )
        )
        if not self.towers:
            raise UnsupportedArchitectureError(
                f"{type(self.model).__name__} has no stack of blocks with weight matrices."
            )
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

    # -- what families override ------------------------------------------------------------

    def declare(self) -> Sequence[Part]:
        """Towers of this model; the first part whose path matches a stack describes it."""
        return self.parts

    def encode(self, record: CalibrationRecord, max_length: int) -> inputs.Sample:
        """Inputs of one record, each entry with a leading dimension of one.

        Raises:
            CalibrationDataError: the record cannot feed this model.
        """
        if isinstance(self.processor, PreTrainedTokenizerBase):
            if self.loaded.config.is_encoder_decoder:
                return inputs.encode_halves(self.processor, record, max_length)
            return inputs.encode_text(self.processor, record, max_length)
        if isinstance(self.processor, BaseImageProcessor):
            return inputs.encode_image(self.processor, record)
        if getattr(self.processor, "image_processor", None) is None:
            raise CalibrationDataError(
                f"{type(self.processor).__name__} takes neither text nor images."
            )
        return inputs.encode_pair(self.processor, self.prompt(record), record, max_length)

    def prompt(self, record: CalibrationRecord) -> str:
        """Text for a multimodal processor, with its image placeholder where it wants one."""
        for name in ("boi_token", "image_token"):
            if isinstance(token := getattr(self.processor, name, None), str):
                return f"{token}{inputs.text_of(record)}"
        return inputs.text_of(record)

    def forward(self, batch: Batch) -> Any:
        """Run every tower the batch feeds."""
        return self.call(batch)

    def loss(self, batch: Batch) -> Tensor:
        """Scalar training loss of the model on the batch; `losses` says which.

        Raises:
            RecipeError: the model has none.
        """
        return training_loss(self, batch)

    def token_mask(self, tower: Tower, batch: Batch, hidden: Tensor) -> Tensor | None:
        """Which tokens of a block's input are real.

        Args:
            tower: whose block.
            batch: the batch on its way.
            hidden: the block's input, (batch, tokens, features) or (tokens, features).

        Returns:
            Bool (batch, tokens), or None when all are real.
        """
        if tower.mask is None or tower.mask not in batch:
            return None
        mask = batch[tower.mask].bool()
        if mask.shape != hidden.shape[:2]:
            return None
        return None if bool(mask.all()) else mask

    # -- services to families and callers --------------------------------------------------

    def batches(
        self, records: Sequence[CalibrationRecord], *, batch_size: int, max_length: int
    ) -> Iterator[dict[str, Tensor]]:
        """Model inputs for the records, in order.

        Args:
            records: the calibration set.
            batch_size: records per batch; the last may have fewer.
            max_length: tokens kept per text, special tokens included.

        Raises:
            CalibrationDataError: empty set, no processor, or a record of the wrong kind.
        """
        if not records:
            raise CalibrationDataError("The calibration set is empty.")
        if self.processor is None:
            raise CalibrationDataError(
                "The checkpoint has no usable tokenizer or processor; add its files, or choose a "
                "method that needs no calibration data."
            )
        limit = min(max_length, self._longest())
        for group in inputs.chunks(records, batch_size):
            samples = [self.encode(record, limit) for record in group]
            batch = inputs.collate(samples, inputs.pad_id_of(self.tokenizer))
            yield {key: self._placed(value) for key, value in batch.items() if self._takes(key)}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer: the processor's own, or the processor itself."""
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def accepted(self) -> frozenset[str]:
        """Names of the arguments of the model's forward."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    def call(self, batch: Batch, **extra: Any) -> Any:
        """Run the model without a cache."""
        if "use_cache" in self.accepted:
            extra.setdefault("use_cache", False)
        return self.model(**batch, **extra)

    # -- construction ----------------------------------------------------------------------

    def _declared(self) -> Iterator[tuple[Stack, Part]]:
        parts = self.declare()
        for stack in find_stacks(self.model):
            part = next((p for p in parts if fnmatchcase(stack.name, p.path)), None)
            if part is None:
                self._notes.append(f"{stack.name} is of no known kind and is left alone.")
            else:
                yield stack, part

    def _tower(self, stack: Stack, part: Part, finder: MatrixFinder) -> Tower:
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
        )

    def _projectors(self, finder: MatrixFinder) -> Iterator[Tower]:
        for name, module in self.model.named_modules():
            if any(fnmatchcase(name, pattern) for pattern in self.bridges):
                matrices = finder.find(name, module, Modality.BRIDGE)
                yield Tower(
                    name=name,
                    modality=Modality.BRIDGE,
                    blocks=(Block(name, module, matrices),),
                    feeds=(0,),
                    passes=1,
                )

    def _takes(self, key: str) -> bool:
        """Tokenizers offer segment ids to models that know of none."""
        return key != "token_type_ids" or key in self.accepted

    def _placed(self, value: Tensor) -> Tensor:
        value = value.to(self.model.device)
        return value.to(self.model.dtype) if value.is_floating_point() else value

    def _longest(self) -> int:
        """Tokens the text side has positions for."""
        config = self.loaded.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or 2**31)
