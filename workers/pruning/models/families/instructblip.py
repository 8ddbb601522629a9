"""InstructBLIP: BLIP-2 whose Q-Former reads the instruction too."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor
from torch.nn import functional

from workers.pruning.models.adapter import TowerSpec
from workers.pruning.models.families.blip2 import Blip2Adapter
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Tower

_QFORMER = "qformer.encoder.layer"
_MASK = "qformer_attention_mask"


class InstructBlipAdapter(Blip2Adapter):
    """Its Q-Former runs attention on queries and text together and feeds them forward apart."""

    architectures = ("InstructBlipForConditionalGeneration",)

    def declare(self) -> Sequence[TowerSpec]:
        """BLIP-2's towers; the Q-Former sees padding."""
        return [
            replace(part, mask=_MASK) if part.path == _QFORMER else part
            for part in self.tower_specs
        ]

    def batches(
        self, records: Sequence[CalibrationRecord], *, batch_size: int, max_length: int
    ) -> Iterator[dict[str, Tensor]]:
        """As usual; texts never as long as the queries, so that length tells them apart."""
        for batch in super().batches(records, batch_size=batch_size, max_length=max_length):
            if batch[_MASK].shape[1] == self._queries:
                for key in ("qformer_input_ids", _MASK):
                    batch[key] = functional.pad(batch[key], [0, 1])
            yield batch

    def token_mask(
        self, tower: Tower, batch: Batch, seen: Tensor, *, source: bool
    ) -> Tensor | None:
        """Inside the Q-Former: queries and text, text alone, or queries alone (all real)."""
        if source or tower.mask != _MASK:
            return super().token_mask(tower, batch, seen, source=source)
        text = batch[_MASK].bool()
        both = functional.pad(text, [self._queries, 0], value=True)
        return next((mask for mask in (both, text) if mask.shape == seen.shape[:-1]), None)

    @property
    def _queries(self) -> int:
        return int(self.loaded.config.num_query_tokens)
