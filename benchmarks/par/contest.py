"""Everyone who chooses: the router, what the gate holds it to, and FastV.

FastV (Chen et al., ECCV 2024, arXiv 2403.06764) ranks image tokens by what the prompt's last token
attends to. With it go the layers of least influence, which is how ShortGPT (Men et al., arXiv
2403.03853) chooses; the gate's `prior` has those layers, too, and tokens on an even grid.
"""

from typing import Any

from torch import Tensor

from workers.pruning.models.adapter import Adapter
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.judging import contestants
from workers.pruning.routing.policies import Policy, Rules
from workers.pruning.routing.runtime import Decision, Router, Scores, anatomy, par

FASTV = "fastv"
Contest = dict[str, tuple[Policy, Rules]]


def contest(adapter: Adapter, router: Router, rules: Rules, batch: Answered) -> Contest:
    """Every way to choose on this batch, with the rules it is held to."""
    seen = _attention(adapter, batch, max(rules.profile.drop_layer - 1, 0))
    prior = router.prior

    def fastv(_embeddings: Tensor, segments: Tensor) -> Scores:
        return Scores(seen, prior.expand(len(segments), -1))

    return {**contestants(router, rules), FASTV: (fastv, rules.without_floor())}


def prompts_of(adapter: Adapter, batch: Answered) -> tuple[Tensor, Tensor]:
    """What a router reads: embeddings (B, P, D) and segments (B, P) of the prompts."""
    seen: list[tuple[Tensor, Tensor]] = []
    every = tuple(range(len(anatomy(adapter.model).layers)))

    def watch(embeddings: Tensor, segments: Tensor) -> Decision:
        seen.append((embeddings[:, : batch.length], segments[:, : batch.length]))
        return Decision(None, every)

    with par(adapter.model, watch):
        adapter.call(batch.inputs)
    return seen[0]


def _attention(adapter: Adapter, batch: Answered, layer: int) -> Tensor:
    """(B, P): what the prompt's last token attends to in a layer, mean over heads."""
    model: Any = adapter.model
    before = model.config._attn_implementation  # noqa: SLF001 - there is no other way to ask
    model.set_attn_implementation("eager")
    try:
        maps = adapter.call(batch.inputs, output_attentions=True).attentions[layer]
    finally:
        model.set_attn_implementation(before)
    return maps[:, :, batch.length - 1, : batch.length].mean(1)
