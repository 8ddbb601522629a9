"""The full router: decoder layers of the model's own class."""

import copy
from typing import Any

from torch import Tensor, nn

from workers.pruning.routing.runtime.anatomy import Anatomy
from workers.pruning.routing.runtime.router import AttentionBias, Router, sinusoids


class FullRouter(Router):
    """The paper's router: decoder layers of the model's own class.

    Ours: their attention is bidirectional, and they start as copies of the model's first layers.

    Args:
        subject: the model's anatomy.
        depth: n_r, number of layers.
    """

    kind = "full"

    def __init__(self, subject: Anatomy, depth: int = 1) -> None:
        super().__init__(subject.hidden_size, len(subject.layers))
        config = copy.deepcopy(subject.text.config)
        config._attn_implementation = "sdpa"  # noqa: SLF001 (FlashAttention takes no additive bias)
        self.heads = int(config.num_attention_heads)
        self.blocks = nn.ModuleList()
        for index, layer in enumerate(subject.layers[:depth]):
            block = type(layer)(config, index)
            block.load_state_dict(layer.state_dict())
            self.blocks.append(block.float())
        rotary = getattr(subject.text, "rotary_emb", None)
        self.rotary = None if rotary is None else type(rotary)(config=config)

    def shape(self) -> dict[str, Any]:
        """Arguments of the constructor, less the model."""
        return {"kind": self.kind, "depth": len(self.blocks)}

    def embed(self, embeddings: Tensor) -> Tensor:
        """As they are."""
        return embeddings

    def attend(
        self, hidden: Tensor, segments: Tensor, positions: Tensor, attention: AttentionBias
    ) -> Tensor:
        """The decoder layers; models without rotary positions get sinusoids."""
        del segments  # the embeddings tell them apart
        rotary = None
        if self.rotary is None:
            hidden = hidden + sinusoids(positions, self.width).to(hidden)
        else:
            rotary = self.rotary(hidden, positions)
        for block in self.blocks:
            bias = attention.bias(self.heads)
            hidden = block(hidden, attention_mask=bias, position_embeddings=rotary)
        return hidden
