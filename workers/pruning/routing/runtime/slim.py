"""The slim router: two narrow blocks of its own."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.pruning.routing.runtime.anatomy import VISION
from workers.pruning.routing.runtime.router import AttentionBias, Router, sinusoids


class _SlimBlock(nn.Module):
    """Pre-norm attention and MLP, MLP ratio 2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, hidden: Tensor, attention: AttentionBias) -> Tensor:
        """(B, S + N, width) to the same."""
        batch, length, width = hidden.shape
        qkv = self.qkv(self.norm_attention(hidden)).view(batch, length, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention.bias(self.heads)
        )
        hidden = hidden + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        changed: Tensor = self.down(functional.gelu(self.up(self.norm_mlp(hidden))))
        return hidden + changed


def _width(hidden_size: int, step: int) -> int:
    """A multiple of `step`; narrower ones than 64 do not learn to bind a question to a place."""
    wanted = min(hidden_size, max(64, min(256, hidden_size // 8)))
    return max(1, wanted // step) * step


class SlimRouter(Router):
    """The default router (ours): under 0.1 % of a 7B model's FLOPs.

    Args:
        hidden_size: D of the large model.
        layers: N of the large model.
        width: of the router; where not given D / 8, at least 64 and at most 256, but not above D.
        blocks: transformer blocks.
        heads: attention heads.
        text_heads: how many of them read no image tokens. A fresh router attends to everything
            alike, and would hardly hear a question of ten tokens among hundreds of an image.
    """

    kind = "slim"

    def __init__(
        self,
        hidden_size: int,
        layers: int,
        *,
        width: int | None = None,
        blocks: int = 2,
        heads: int = 4,
        text_heads: int = 3,
    ) -> None:
        width = width or _width(hidden_size, 2 * heads)
        super().__init__(width, layers)
        self.hidden_size, self.heads, self.text_heads = hidden_size, heads, text_heads
        self.project = nn.Linear(hidden_size, width)
        self.norm_in = nn.RMSNorm(width)
        self.segment = nn.Embedding(4, width)
        nn.init.normal_(self.segment.weight, std=0.02)
        self.blocks = nn.ModuleList(_SlimBlock(width, heads) for _ in range(blocks))

    def shape(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        sizes = {"hidden_size": self.hidden_size, "layers": len(self.layer_tokens)}
        shape = {"width": self.width, "blocks": len(self.blocks)}
        heads = {"heads": self.heads, "text_heads": self.text_heads}
        return {"kind": self.kind, **sizes, **shape, **heads}

    def embed(self, embeddings: Tensor) -> Tensor:
        """Project to the router's width."""
        projected: Tensor = self.norm_in(self.project(embeddings))
        return projected

    def attend(
        self, hidden: Tensor, segments: Tensor, positions: Tensor, attention: AttentionBias
    ) -> Tensor:
        """Segment embedding and positions, then the blocks."""
        hidden = hidden + self.segment(segments) + sinusoids(positions, self.width).to(hidden)
        attention = replace(attention, keys=self._keys(segments, attention.keys))
        for block in self.blocks:
            hidden = block(hidden, attention)
        return hidden

    def _keys(self, segments: Tensor, seen: Tensor) -> Tensor:
        """(B, heads, 1, S + N): image tokens are closed to the text heads."""
        heads = torch.arange(self.heads, device=segments.device) < self.text_heads
        closed = heads[:, None, None] & (segments == VISION)[:, None, None]
        return seen.masked_fill(closed, torch.finfo(seen.dtype).min)
