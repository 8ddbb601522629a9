"""One forward of the text model under a plan."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers.masking_utils import create_causal_mask

from workers.pruning.routing.runtime.plan import Plan, pick


@dataclass
class Pass:
    """One forward of the text model under a plan; what its layers share is made once."""

    plan: Plan
    length: int  # of this forward's input
    positions: Tensor | None  # (B, what of the input is left); None where nothing has to leave
    given: Tensor | None  # the caller's mask (B, past + length)
    made: dict[str, Any] = field(default_factory=dict)

    def shorten(self, config: Any, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """Fit the arguments of a layer behind the drop to `hidden` (B, what is left, D)."""
        if not self.made:
            cache = kwargs.get("past_key_values")
            past = 0 if cache is None else cache.get_seq_length(index)
            answer = past + hidden.shape[1] + self.plan.dropped - self.plan.length
            self.made["attention_mask"] = create_causal_mask(
                config=config,
                inputs_embeds=hidden,
                attention_mask=self.plan.mask(self.given, answer),
                past_key_values=cache,
                layer_idx=index,
            )
            # Gaps in the positions would pass for packed sequences in FlashAttention.
            self.made["position_ids"] = None
            rotary = kwargs.get("position_embeddings")
            if self.positions is not None and rotary is not None:
                picked = tuple(pick(part, self.positions, -2) for part in rotary)
                self.made["position_embeddings"] = picked
        kwargs.update(self.made)

    def full_length(self, output: Any) -> Any:
        """Put the last hidden state back to the input's positions, zeros elsewhere."""
        hidden = output[0]
        if self.positions is None or hidden.shape[1] == self.length:
            return output
        index = self.positions.to(hidden.device)[..., None].expand_as(hidden)
        whole = hidden.new_zeros(len(hidden), self.length, hidden.shape[2])
        whole = whole.scatter(1, index, hidden)
        if isinstance(output, tuple):
            return (whole, *output[1:])
        output.last_hidden_state = whole
        return output
