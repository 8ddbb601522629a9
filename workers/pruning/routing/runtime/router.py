"""What both routers share: layer tokens, positions, heads and what they say."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.pruning.routing.runtime.anatomy import PADDING

_LAYER = 3  # segment of a layer token, beside those of the prompt


class Scores(NamedTuple):
    """What a router says; a sigmoid makes probabilities of it.

    Attributes:
        tokens: (B, S) logits; only those of image tokens mean anything.
        layers: (B, N) logits, the prior included.
    """

    tokens: Tensor
    layers: Tensor


@dataclass(frozen=True)
class AttentionBias:
    """Additive bias of one router's attention logits."""

    keys: Tensor  # (B, 1 or heads, 1, S + N), least where a key is not read
    noise: float
    generator: torch.Generator | None

    def bias(self, heads: int) -> Tensor:
        """(B, 1 or heads, S + N, S + N), drawn anew at every call if there is noise."""
        batch, _, _, length = self.keys.shape
        square = self.keys.expand(-1, -1, length, -1)
        if not self.noise:
            return square
        logits = square.new_empty(batch, heads, length, length)
        return square + self.noise * logits.normal_(generator=self.generator)


class Router(nn.Module):
    """What both routers share: layer tokens at the end, positions, heads, the fixed prior.

    Attention is bidirectional, so an image token's score sees the question. The heads start from
    "keep": small weights and a bias of 2.

    Attributes:
        prior: (N,) added to the layer logits and not trained.
    """

    prior: Tensor
    kind = ""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.width = width
        self.layer_tokens = nn.Parameter(torch.randn(layers, width) * 0.02)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.token_head, self.layer_head = nn.Linear(width, 1), nn.Linear(width, 1)
        for head in (self.token_head, self.layer_head):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.constant_(head.bias, 2.0)
        self.register_buffer("prior", torch.zeros(layers))

    def shape(self) -> dict[str, Any]:
        """What `build_router` needs to make a router of this shape."""
        raise NotImplementedError

    def embed(self, embeddings: Tensor) -> Tensor:
        """(B, S, D) to (B, S, width)."""
        raise NotImplementedError

    def attend(
        self, hidden: Tensor, segments: Tensor, positions: Tensor, attention: AttentionBias
    ) -> Tensor:
        """The router's blocks, on (B, S + N, width)."""
        raise NotImplementedError

    def forward(
        self,
        embeddings: Tensor,
        segments: Tensor,
        *,
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Scores:
        """Score a batch of prompts.

        Args:
            embeddings: (B, S, D), merged; detached here, the large model gets no gradient.
            segments: (B, S).
            noise: scale of the N(0, 1) noise on the attention logits before the softmax (paper:
                1 while candidates are mined).
            generator: of the noise.
        """
        layers = len(self.layer_tokens)
        hidden = self.embed(embeddings.detach().to(self.layer_tokens))
        tokens = self.layer_tokens.expand(len(hidden), -1, -1)
        hidden = torch.cat([hidden, tokens], dim=1)
        segments = functional.pad(segments, (0, layers), value=_LAYER)
        seen = segments != PADDING
        padding = hidden.new_zeros(seen.shape).masked_fill(~seen, torch.finfo(hidden.dtype).min)
        attention = AttentionBias(padding[:, None, None], noise, generator)
        positions = (seen.cumsum(1) - 1).clamp(min=0)  # left padding moves nothing
        hidden = self.norm(self.attend(hidden, segments, positions, attention))
        return Scores(
            tokens=self.token_head(hidden[:, :-layers]).squeeze(-1).float(),
            layers=self.layer_head(hidden[:, -layers:]).squeeze(-1).float() + self.prior,
        )


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5; (B, S) to (B, S, width), width even."""
    steps = torch.arange(0, width, 2, device=positions.device)
    angles = positions[..., None] * 10000.0 ** (-steps / width)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
