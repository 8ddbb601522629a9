"""PAR at inference: a router picks image tokens and decoder layers, once per prompt.

Source: "Pruning All-Rounder: Rethinking and Improving Inference Efficiency for Large Vision
Language Models", arXiv 2412.06458 (ICCV 2025). The paper's: a router before the first decoder
layer reads the merged embeddings and one learned token per layer; hard top-k by budget; image
tokens leave from decoder layer 2 on; a skipped layer is the identity; one decision per prompt.
This project's: tokens and layers are really left out (the release only masks them), the slim
router, bidirectional attention, the fixed prior of the layer scores, the coverage floor.

This file is complete in itself: it needs torch, safetensors and transformers 5. Use::

    with attach(model, "artifact-directory", profile="balanced") as pruned:
        model.generate(**inputs)
        pruned.profile = "fast"  # no reload

B is the batch, S the length of a prompt, N the number of decoder layers, D the hidden size. One
thread at a time may use a model while it is pruned.
"""

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, GenerationConfig
from transformers.masking_utils import create_causal_mask

TEXT, VISION, PADDING = 0, 1, 2
"""Values of a segment map, an integer tensor (B, S)."""
_LAYER = 3  # segment of a layer token, inside the routers only
FORMAT = 1
"""Version of `par_config.json`."""
DROP_LAYER = 2
"""Image tokens leave before this decoder layer (paper: layers 0 and 1 see every token)."""


class ParError(ValueError):
    """Something PAR cannot do, in words."""


class UnsupportedModelError(ParError):
    """The model's family, or one of its settings, is not supported."""


class ArtifactError(ParError):
    """An artifact is damaged, of another format, or made for another model."""


# ------------------------------------------------------------------------------- the model


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Where a supported model keeps what PAR touches.

    Attributes:
        family: the config's `model_type`.
        model: the model as it was given.
        text: the module that loops over the decoder layers.
        layers: its N decoder layers.
        embedding: token embedding.
        vision_ids: input ids of image (and video) tokens.
        prunes_tokens: whether image tokens may be dropped; if not, only layers are skipped.
        newline: (D,) row separator among LLaVA-NeXT's image tokens; counts as text.
    """

    family: str
    model: Any
    text: Any
    layers: nn.ModuleList
    embedding: nn.Module
    vision_ids: tuple[int, ...]
    prunes_tokens: bool
    newline: Tensor | None

    @property
    def hidden_size(self) -> int:
        """D."""
        return int(self.text.config.hidden_size)

    def segments(self, ids: Tensor, embeddings: Tensor, mask: Tensor | None) -> Tensor:
        """(B, S) map of TEXT, VISION and PADDING.

        Args:
            ids: (B, S).
            embeddings: (B, S, D), merged.
            mask: (B, S), 0 at padding.
        """
        vision = torch.isin(ids, torch.tensor(self.vision_ids, device=ids.device))
        if self.newline is not None:
            vision &= (embeddings != self.newline.to(embeddings)).any(-1)
        segments = torch.where(vision, VISION, TEXT)
        return segments if mask is None else segments.masked_fill(mask == 0, PADDING)


_TEXT_MODELS = {
    "llava": "model.language_model",
    "llava_next": "model.language_model",
    "qwen2_vl": "model.language_model",
    "qwen2_5_vl": "model.language_model",
    "idefics3": "model.text_model",
    "smolvlm": "model.text_model",
    "instructblip": "language_model.model",
}


def anatomy(model: Any) -> Anatomy:
    """Find a model's decoder layers and image tokens.

    Raises:
        UnsupportedModelError: another family, an encoder-decoder, or sliding-window attention.
    """
    config = model.config
    family = getattr(config, "model_type", type(model).__name__)
    if family not in _TEXT_MODELS or not model.can_generate():
        raise UnsupportedModelError(
            f"PAR prunes {', '.join(_TEXT_MODELS)} with a language modelling head; this is a "
            f"{type(model).__name__} ({family})."
        )
    if getattr(config.get_text_config(), "is_encoder_decoder", False):
        raise UnsupportedModelError("PAR needs a decoder; this language model is an encoder too.")
    text = model.get_submodule(_TEXT_MODELS[family])
    text = getattr(text, "decoder", text)  # OPT's layers are one level deeper
    _refuse_windows(text.config)
    ids = (getattr(config, name, None) for name in ("image_token_id", "video_token_id"))
    return Anatomy(
        family=family,
        model=model,
        text=text,
        layers=text.layers,
        embedding=model.get_input_embeddings(),
        vision_ids=tuple(index for index in ids if index is not None),
        prunes_tokens=family != "instructblip",
        newline=getattr(model.model, "image_newline", None) if family == "llava_next" else None,
    )


def _refuse_windows(config: Any) -> None:
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        kinds = ["sliding" if getattr(config, "sliding_window", None) else "full_attention"]
    if set(kinds) - {"full_attention"}:
        raise UnsupportedModelError(
            "PAR needs full attention in every decoder layer; this model's layers are "
            f"{', '.join(sorted(set(kinds)))}."
        )


def config_hash(config: Any) -> str:
    """SHA-256 over what a router depends on: the sizes of both towers and the image tokens.

    Defaults that a transformers release adds to a config do not change it.
    """
    sizes = "hidden_size num_hidden_layers num_attention_heads num_key_value_heads"
    names = f"model_type vocab_size {sizes} intermediate_size depth embed_dim patch_size".split()
    parts = (config, config.get_text_config(), getattr(config, "vision_config", None))
    facts = [{name: getattr(part, name, None) for name in names} for part in parts]
    facts.append({"image": getattr(config, "image_token_id", None)})
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------------------- the routers


class Scores(NamedTuple):
    """What a router says; a sigmoid makes probabilities of it.

    Attributes:
        tokens: (B, S) logits; only those of image tokens mean anything.
        layers: (B, N) logits, the prior included.
    """

    tokens: Tensor
    layers: Tensor


@dataclass(frozen=True)
class _Attention:
    """Additive bias of one router's attention logits."""

    padding: Tensor  # (B, 1, 1, S + N)
    noise: float
    generator: torch.Generator | None

    def bias(self, heads: int) -> Tensor:
        """(B, 1 or heads, S + N, S + N), drawn anew at every call if there is noise."""
        batch, _, _, length = self.padding.shape
        square = self.padding.expand(-1, -1, length, -1)
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
        self, hidden: Tensor, segments: Tensor, positions: Tensor, attention: _Attention
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
        attention = _Attention(padding[:, None, None], noise, generator)
        positions = (seen.cumsum(1) - 1).clamp(min=0)  # left padding moves nothing
        hidden = self.norm(self.attend(hidden, segments, positions, attention))
        return Scores(
            tokens=self.token_head(hidden[:, :-layers]).squeeze(-1).float(),
            layers=self.layer_head(hidden[:, -layers:]).squeeze(-1).float() + self.prior,
        )


def _sinusoids(positions: Tensor, width: int) -> Tensor:
    """Vaswani et al. 2017, section 3.5; (B, S) to (B, S, width), width even."""
    steps = torch.arange(0, width, 2, device=positions.device)
    angles = positions[..., None] * 10000.0 ** (-steps / width)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _SlimBlock(nn.Module):
    """Pre-norm attention and MLP, MLP ratio 2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, hidden: Tensor, attention: _Attention) -> Tensor:
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


class SlimRouter(Router):
    """The default router (ours): under 0.1 % of a 7B model's FLOPs.

    Args:
        hidden_size: D of the large model.
        layers: N of the large model.
        width: of the router; min(256, D / 8) rounded to its heads where not given.
        blocks: transformer blocks.
        heads: attention heads.
    """

    kind = "slim"

    def __init__(
        self,
        hidden_size: int,
        layers: int,
        width: int | None = None,
        blocks: int = 2,
        heads: int = 4,
    ) -> None:
        width = width or max(1, min(256, hidden_size // 8) // (2 * heads)) * 2 * heads
        super().__init__(width, layers)
        self.hidden_size = hidden_size
        self.project = nn.Linear(hidden_size, width)
        self.norm_in = nn.RMSNorm(width)
        self.segment = nn.Embedding(4, width)
        nn.init.normal_(self.segment.weight, std=0.02)
        self.blocks = nn.ModuleList(_SlimBlock(width, heads) for _ in range(blocks))

    def shape(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        blocks = len(self.blocks)
        heads = self.blocks[0].heads
        sizes = {"hidden_size": self.hidden_size, "layers": len(self.layer_tokens)}
        return {"kind": self.kind, **sizes, "width": self.width, "blocks": blocks, "heads": heads}

    def embed(self, embeddings: Tensor) -> Tensor:
        """Project to the router's width."""
        projected: Tensor = self.norm_in(self.project(embeddings))
        return projected

    def attend(
        self, hidden: Tensor, segments: Tensor, positions: Tensor, attention: _Attention
    ) -> Tensor:
        """Segment embedding and positions, then the blocks."""
        hidden = hidden + self.segment(segments) + _sinusoids(positions, self.width).to(hidden)
        for block in self.blocks:
            hidden = block(hidden, attention)
        return hidden


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
        self, hidden: Tensor, segments: Tensor, positions: Tensor, attention: _Attention
    ) -> Tensor:
        """The decoder layers; models without rotary positions get sinusoids."""
        del segments  # the embeddings tell them apart
        rotary = None
        if self.rotary is None:
            hidden = hidden + _sinusoids(positions, self.width).to(hidden)
        else:
            rotary = self.rotary(hidden, positions)
        for block in self.blocks:
            bias = attention.bias(self.heads)
            hidden = block(hidden, attention_mask=bias, position_embeddings=rotary)
        return hidden


def build_router(shape: Mapping[str, Any], subject: Anatomy) -> Router:
    """A fresh router of the given `Router.shape()`, for the given model."""
    sizes = {name: value for name, value in shape.items() if name != "kind"}
    return FullRouter(subject, **sizes) if shape["kind"] == "full" else SlimRouter(**sizes)


# ------------------------------------------------------------------------------ the decision


@dataclass(frozen=True, eq=False)
class Decision:
    """What stays, for one batch of prompts.

    Attributes:
        keep: (B, T) positions of the image tokens that stay, ascending; -1 fills up rows that keep
            fewer. None keeps all.
        layers: indices of the layers that run, ascending; one set per batch.
    """

    keep: Tensor | None
    layers: tuple[int, ...]


def layer_candidates(layers: int, drop_layer: int = DROP_LAYER) -> tuple[int, ...]:
    """Layers that may be skipped: the second half less the last (ours, after the paper's finding).

    Never 0 to max(drop_layer, 1): the first pair is vital, and layer 0 knows the cache's length.
    """
    return tuple(range(max(layers // 2, max(drop_layer, 1) + 1), layers - 1))


def decide(
    scores: Scores,
    segments: Tensor,
    *,
    tokens: int | Tensor,
    layers: int,
    candidates: tuple[int, ...] | None = None,
    coverage_floor: float = 0.1,
) -> Decision:
    """Hard top-k by budget: T image tokens per row, L layers for the batch.

    Args:
        scores: of a router.
        segments: (B, S). Text is never dropped.
        tokens: T, or (B,) one for each row. A row with fewer image tokens keeps all of them.
        layers: L, of N.
        candidates: layers that may be skipped; `layer_candidates(N)` where not given. The lowest
            mean scores over the rows that hold an image are skipped.
        coverage_floor: share of T spread evenly over the row's image tokens, whatever they score.

    Raises:
        ParError: fewer candidates than layers to skip, or a budget below 1.
    """
    vision = segments == VISION
    counts = vision.sum(1)
    budget = torch.as_tensor(tokens, device=counts.device).expand_as(counts)
    if bool((budget[counts > 0] < 1).any()):
        raise ParError("PAR keeps at least one image token.")
    budget = torch.minimum(budget, counts)
    return Decision(
        keep=None if torch.equal(budget, counts) else _top(scores, vision, budget, coverage_floor),
        layers=running_layers(scores.layers[counts > 0], layers, candidates),
    )


def _top(scores: Scores, vision: Tensor, budget: Tensor, floor: float) -> Tensor:
    """(B, max budget) positions; ties go to the first."""
    ranks, counts = vision.cumsum(1) - 1, vision.sum(1, keepdim=True)
    grid = (budget * floor).long().unsqueeze(1)  # image tokens that the floor gives away
    # Rank r is on the grid if one of the g points (i + 1/2) n / g falls into [r, r + 1): count the
    # points before r and before r + 1.
    twice = 2 * counts.clamp(min=1)
    before = -((counts - 2 * ranks * grid) // twice)
    after = -((counts - 2 * (ranks + 1) * grid) // twice)
    chosen = scores.tokens.masked_fill(after > before, torch.inf)
    chosen = chosen.masked_fill(~vision, -torch.inf)
    width = int(budget.max())
    order = chosen.sort(dim=1, descending=True, stable=True).indices[:, :width]
    spare = torch.arange(width, device=order.device) >= budget.unsqueeze(1)
    beyond = vision.shape[1]
    kept = order.masked_fill(spare, beyond).sort(1).values
    return kept.masked_fill(kept == beyond, -1)


def running_layers(
    scores: Tensor, layers: int, candidates: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """The L layers that run; the candidates of the lowest mean score do not.

    Args:
        scores: (rows, N) logits; without a row every layer runs.
        layers: L.
        candidates: layers that may be skipped; `layer_candidates(N)` where not given.

    Raises:
        ParError: fewer candidates than layers to skip.
    """
    total = scores.shape[1]
    candidates = layer_candidates(total) if candidates is None else candidates
    if not total - len(candidates) <= layers <= total:
        raise ParError(
            f"Of {total} layers {len(candidates)} may be skipped, so {layers} cannot be the number "
            f"that runs; choose {total - len(candidates)} to {total}."
        )
    if len(scores) == 0 or layers == total:
        return tuple(range(total))
    mean = scores.mean(0)
    ranked = sorted(candidates, key=lambda index: float(mean[index]))
    skipped = set(ranked[: total - layers])
    return tuple(index for index in range(total) if index not in skipped)


# ------------------------------------------------------------------------------- the runtime

DecideFn = Callable[[Tensor, Tensor], Decision]
"""(embeddings (B, S, D), segments (B, S)) to a decision; asked once per prompt with an image."""


@dataclass
class _Plan:
    """A decision made physical; lives as long as its cache.

    Attributes:
        length: S of the prompt.
        layers: those that run.
        drop_layer: image tokens leave before this one.
        positions: (B, S'), ascending, of what is left; None where nothing leaves.
        valid: (B, S'), False where padding, or a dropped token that fills up a shorter row, stands.
    """

    length: int
    layers: frozenset[int]
    drop_layer: int
    positions: Tensor | None = None
    valid: Tensor | None = None

    @property
    def dropped(self) -> int:
        """Positions that left."""
        return 0 if self.positions is None else self.length - self.positions.shape[1]

    def mask(self, given: Tensor | None, new: int) -> Tensor:
        """(B, S' + new) padding mask behind the drop; `given` is (B, S + new) or None."""
        assert self.valid is not None  # noqa: S101 (asked for only where tokens left)
        tail = self.valid.new_ones(len(self.valid), new)
        if given is not None:
            tail = given[:, self.length :].to(tail)
        return torch.cat([self.valid, tail], dim=1)


def _plan(decision: Decision, segments: Tensor, drop_layer: int) -> _Plan:
    length = segments.shape[1]
    plan = _Plan(length, frozenset(decision.layers), drop_layer)
    if decision.keep is None:
        return plan
    kept = torch.zeros_like(segments).scatter_(1, decision.keep.clamp(min=0), 1).bool()
    kept[:, 0] = (decision.keep == 0).any(1)  # -1 was written there
    if bool((kept & (segments != VISION)).any()):
        raise ParError("A decision may keep positions of image tokens only.")
    # Rows of different lengths are filled up, with padding first, and what fills up is masked.
    stays = kept | (segments == TEXT)
    width = int(stays.sum(1).max())
    if width < length:
        rank = 2 * stays.long() + (segments == PADDING)
        order = rank.sort(dim=1, descending=True, stable=True).indices[:, :width]
        plan.positions = order.sort(1).values
        plan.valid = stays.gather(1, plan.positions)
    return plan


def _pick(tensor: Tensor, positions: Tensor, dim: int) -> Tensor:
    """Entries of a (..., B or 1, S, ...) tensor at `positions` (B, S') of dimension `dim` < 0."""
    shape = list(tensor.shape)
    shape[dim - 1] = len(positions)
    index = positions.to(tensor.device).reshape(positions.shape + (1,) * (-1 - dim))
    taken = [*shape]
    taken[dim] = positions.shape[1]
    return tensor.expand(shape).gather(dim, index.expand(taken))


@dataclass
class _Pass:
    """One forward of the text model under a plan; what its layers share is made once."""

    plan: _Plan
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
                picked = tuple(_pick(part, self.positions, -2) for part in rotary)
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


class _Runtime:
    """What hangs on a model while it is pruned."""

    def __init__(self, subject: Anatomy, decide_fn: DecideFn, drop_layer: int) -> None:
        if not 0 <= drop_layer < len(subject.layers):
            raise ParError(f"The drop layer is one of 0 to {len(subject.layers) - 1}.")
        self.subject, self.decide_fn, self.drop_layer = subject, decide_fn, drop_layer
        self.current: _Pass | None = None
        self.ids: Tensor | None = None
        self.generating = False
        self.uncached: _Plan | None = None  # of the running `generate` without a cache

    @contextmanager
    def attached(self) -> Iterator[Self]:
        """Put the wrappers on, and take off every one of them again."""
        subject = self.subject
        if hasattr(subject.text.forward, _MARK):
            raise ParError("This model is pruned already; detach first.")
        with ExitStack() as stack:
            for index, layer in enumerate(subject.layers):
                stack.enter_context(
                    _wrapped(layer, "forward", functools.partial(self.layer, index))
                )
            stack.enter_context(_wrapped(subject.text, "forward", self.text))
            stack.enter_context(_wrapped(subject.model, "generate", self.generate))
            hook = subject.embedding.register_forward_hook(self.embedded)
            stack.callback(hook.remove)
            hook = subject.model.register_forward_pre_hook(self.called, with_kwargs=True)
            stack.callback(hook.remove)
            yield self

    def embedded(self, _module: nn.Module, args: tuple[Any, ...], _output: Tensor) -> None:
        """Remember the input ids: the text model sees embeddings only."""
        if args and args[0].ndim == 2:  # noqa: PLR2004 (models also embed a lone image token)
            self.ids = args[0]

    def called(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Refuse images on a live cache; where that is short, positions cannot come from it."""
        self.ids = None  # of a forward that failed before its text model
        cache: Any = kwargs.get("past_key_values")
        if not _live(cache):
            return None
        if kwargs.get("mm_encoder_outputs") or any(
            kwargs.get(name) is not None for name in _PIXELS
        ):
            raise ParError(_NEW_IMAGES)
        plan = getattr(cache, _MARK, None)
        if plan is None or plan.drop_layer > 0 or kwargs.get("position_ids") is not None:
            return None
        new: Any = kwargs.get("input_ids", args[0] if args else None)
        new = kwargs.get("inputs_embeds") if new is None else new
        past = cache.get_seq_length() + plan.dropped
        positions = torch.arange(past, past + new.shape[1], device=new.device)
        positions = positions.expand(new.shape[0], -1)
        deltas = getattr(getattr(model, "model", None), "rope_deltas", None)
        return args, {**kwargs, "position_ids": positions if deltas is None else positions + deltas}

    def generate(self, dense: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`generate`, less what cannot work on a pruned cache."""
        model = self.subject.model
        inner = model.language_model if self.subject.family == "instructblip" else model
        _refuse_modes(inner.generation_config, args, kwargs)
        self.generating, self.uncached = True, None
        try:
            return dense(*args, **kwargs)
        finally:
            self.generating, self.uncached = False, None

    def text(self, dense: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The text model's forward: decide at a prompt, keep to it while its cache lives."""
        if args:  # not by way of the model, so there is no image
            return dense(*args, **kwargs)
        try:
            cache = kwargs.get("past_key_values")
            plan = self.continued(kwargs) if _live(cache) else self.started(kwargs)
            self.current = None if plan is None else self.enter(plan, kwargs)
            output = dense(**kwargs)
            cache = getattr(output, "past_key_values", None) if cache is None else cache
            if cache is not None:
                setattr(cache, _MARK, plan)
            elif self.generating:
                self.uncached = plan
            return output if self.current is None else self.current.full_length(output)
        finally:
            self.current, self.ids = None, None

    def started(self, kwargs: dict[str, Any]) -> _Plan | None:
        """The plan of a new prompt; None without an image, which runs dense."""
        embeddings, mask = kwargs.get("inputs_embeds"), kwargs.get("attention_mask")
        if any(kwargs.get(name) is not None for name in _PACKED):
            raise ParError("PAR takes one prompt a row, not packed or continuous batches.")
        if embeddings is None:
            return None
        ids = self.ids
        if ids is None or embeddings.shape[1] != ids.shape[1] or len(embeddings) % len(ids):
            raise ParError("PAR finds the image tokens by their ids; give input_ids.")
        if isinstance(mask, dict) or (mask is not None and mask.ndim != 2):  # noqa: PLR2004
            raise ParError("PAR takes attention masks of shape (batch, length).")
        if self.uncached is not None:
            return self.uncached
        ids = ids.repeat_interleave(len(embeddings) // len(ids), dim=0)  # beams, expanded since
        segments = self.subject.segments(ids.to(embeddings.device), embeddings, mask)
        if not bool((segments == VISION).any()):
            return None
        text = self.subject.text
        if text.training and getattr(text, "gradient_checkpointing", False):
            raise ParError("PAR does not run under gradient checkpointing.")
        _refuse_cache(kwargs.get("past_key_values"))
        decision = self.decide_fn(embeddings, segments)
        _check(decision, self.subject)
        return _plan(decision, segments, self.drop_layer)

    def continued(self, kwargs: dict[str, Any]) -> _Plan | None:
        """The plan under which a live cache was filled; None where that was dense."""
        cache, mask = kwargs["past_key_values"], kwargs.get("attention_mask")
        if self.subject.family == "instructblip" and kwargs.get("inputs_embeds") is not None:
            raise ParError(_NEW_IMAGES)  # its `generate` merges embeddings, answers come as ids
        plan: _Plan | None = getattr(cache, _MARK, None)
        if plan is None or plan.positions is None:
            return plan
        given = kwargs.get("inputs_embeds")
        length = (kwargs["input_ids"] if given is None else given).shape[1]
        past = cache.get_seq_length() + (plan.dropped if plan.drop_layer == 0 else 0)
        if mask is not None and mask.shape[1] != past + length:
            raise ParError(
                f"{length} new tokens after {past} need a mask of {past + length} columns, not of "
                f"{mask.shape[1]}. With drop_layer 0, `generate` cannot go on from a cache."
            )
        return plan

    def enter(self, plan: _Plan, kwargs: dict[str, Any]) -> _Pass:
        """Prepare a forward; with drop layer 0 it gets the short input from the start."""
        given = kwargs.get("inputs_embeds")
        length = (kwargs["input_ids"] if given is None else given).shape[1]
        now = _Pass(plan, length, None, kwargs.get("attention_mask"))
        if plan.positions is None:
            return now
        if not _live(kwargs.get("past_key_values")):
            after = torch.arange(plan.length, length, device=plan.positions.device)
            after = after.expand(len(plan.positions), -1)  # answers generated without a cache
            now.positions = torch.cat([plan.positions, after], dim=1)
        if plan.drop_layer == 0:
            self.shorten(now, kwargs)
        return now

    @staticmethod
    def shorten(now: _Pass, kwargs: dict[str, Any]) -> None:
        """Drop layer 0: reduce embeddings, mask and positions before the text model sees them."""
        plan, cache = now.plan, kwargs.get("past_key_values")
        past = 0 if cache is None else cache.get_seq_length()
        past += plan.dropped if past else 0
        kwargs["attention_mask"] = plan.mask(now.given, past + now.length - plan.length)
        if now.positions is None:
            return
        positions = kwargs.get("position_ids")
        if positions is None:
            positions = torch.arange(now.length, device=now.positions.device).unsqueeze(0)
        kwargs["position_ids"] = _pick(positions, now.positions, -1)
        kwargs["inputs_embeds"] = _pick(kwargs["inputs_embeds"], now.positions, -2)

    def layer(self, index: int, dense: Callable[..., Any], hidden: Tensor, **kwargs: Any) -> Any:
        """A decoder layer's forward."""
        now = self.current
        if now is None:
            return dense(hidden, **kwargs)
        if now.plan.positions is not None and index >= now.plan.drop_layer:
            if now.plan.drop_layer == 0:
                kwargs["position_ids"] = None
            else:
                if now.positions is not None and hidden.shape[1] == now.length:
                    hidden = _pick(hidden, now.positions, -2)
                if index in now.plan.layers:
                    now.shorten(self.subject.text.config, index, hidden, kwargs)
        return dense(hidden, **kwargs) if index in now.plan.layers else hidden


_MARK = "_par_plan"  # on a cache: its plan; on a wrapped method: that it is wrapped


@contextmanager
def _wrapped(owner: Any, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Let `wrapper(original, ...)` stand in for a method of one instance."""
    original, own = getattr(owner, name), name in vars(owner)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(call, _MARK, None)
    setattr(owner, name, call)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


def _live(cache: Any) -> bool:
    return cache is not None and bool(cache.get_seq_length() > 0)


def _check(decision: Decision, subject: Anatomy) -> None:
    if decision.keep is not None and not subject.prunes_tokens:
        raise ParError(f"PAR skips layers of {subject.family}; it drops none of its image tokens.")
    layers = decision.layers
    if (
        list(layers) != sorted(set(layers))
        or layers[:1] != (0,)
        or layers[-1] >= len(subject.layers)
    ):
        raise ParError(
            "A decision's layers are ascending, of the model, and hold layer 0, whose cache tells "
            "the length of the text."
        )


def _refuse_cache(cache: Any) -> None:
    if cache is not None and (not isinstance(cache, DynamicCache) or any(cache.is_sliding)):
        raise ParError(
            f"Layers of different lengths need a DynamicCache, not a {type(cache).__name__}."
        )


def _refuse_modes(config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    given = [value for value in (*args, *kwargs.values()) if isinstance(value, GenerationConfig)]
    config = given[0] if given else config

    def setting(name: str) -> Any:
        return kwargs.get(name, getattr(config, name, None))

    if any(setting(name) for name in _ASSISTED):
        raise ParError(
            "Assisted decoding takes tokens back from the cache; PAR does not support it."
        )
    if setting("prefill_chunk_size"):
        raise ParError("Chunked prefill hides the end of the prompt from the router.")
    if setting("cache_implementation") not in {None, "dynamic", "dynamic_full"}:
        raise ParError(
            "Layers of different lengths need a dynamic cache, not "
            f"cache_implementation={setting('cache_implementation')!r}."
        )


_PACKED = ("cache", "cu_seq_lens_q", "cu_seq_lens_k")
_PIXELS = ("pixel_values", "pixel_values_videos")
_NEW_IMAGES = "New images on a live cache: PAR decides once per prompt. Start a new cache."
_ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")


@contextmanager
def par(model: Any, decide_fn: DecideFn, drop_layer: int = DROP_LAYER) -> Iterator[None]:
    """Run `model` pruned, as `decide_fn` says; the model is as before afterwards, whatever happens.

    Forward and `generate` (greedy, sampling, beams, batches padded on either side, several images,
    with and without a cache) work as ever. Prompts without an image run dense. Hidden states and
    logits keep the prompt's length; at dropped positions they are zeros and logits of zeros. With
    `output_hidden_states` the states of single layers have the length the layers saw.

    Args:
        model: a model of a supported family.
        decide_fn: asked once per prompt, with merged embeddings (B, S, D) and segments (B, S).
        drop_layer: image tokens leave before this decoder layer. 0 drops them before the first.

    Raises:
        UnsupportedModelError: see `anatomy`.
        ParError: here for a model that is pruned already or a drop layer it has not; later, from
            the model, for a static or sliding cache, assisted decoding, chunked prefill, new images
            on a live cache, masks that are not (B, S), and prompts without ids.
    """
    with _Runtime(anatomy(model), decide_fn, drop_layer).attached():
        yield


# ------------------------------------------------------------------------------ the artifact


@dataclass(frozen=True)
class Profile:
    """A budget.

    Attributes:
        tokens: share of the image tokens that stay.
        layers: number of layers that run.
        drop_layer: image tokens leave before this one.
    """

    tokens: float
    layers: int
    drop_layer: int = DROP_LAYER


def read_config(directory: Path) -> dict[str, Any]:
    """The artifact's `par_config.json`, after every file it lists was found whole.

    Raises:
        ArtifactError: a missing or damaged file, or another format.
    """
    try:
        config: dict[str, Any] = json.loads((directory / "par_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{directory} has no readable par_config.json: {error}") from error
    if config.get("format") != FORMAT:
        raise ArtifactError(
            f"This runtime reads PAR artifacts of format {FORMAT}, not {config.get('format')!r}."
        )
    for name, facts in config["files"].items():
        path = directory / name
        if not path.is_file():
            raise ArtifactError(f"{name} is missing from {directory}.")
        if path.stat().st_size != facts["size"]:
            raise ArtifactError(f"{name} has {path.stat().st_size} bytes, not {facts['size']}.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
            raise ArtifactError(f"{name} is damaged: its SHA-256 differs.")
    return config


def read_router(directory: Path, config: Mapping[str, Any], subject: Anatomy) -> Router:
    """The artifact's router, in evaluation mode, beside the model's embedding.

    Raises:
        ArtifactError: the artifact belongs to another model.
    """
    base = config["base"]
    facts = {"layers": len(subject.layers), "hidden_size": subject.hidden_size}
    for name, value in facts.items():
        if base[name] != value:
            raise ArtifactError(f"The router is for {base[name]} {name}, the model has {value}.")
    if base["config_hash"] != config_hash(subject.model.config):
        raise ArtifactError(
            f"The router was trained for {base['model']}; this model's config differs from it."
        )
    router = build_router(config["router"], subject)
    try:
        router.load_state_dict(load_file(directory / "router.safetensors"))
    except RuntimeError as error:
        raise ArtifactError(f"router.safetensors does not fit par_config.json: {error}") from error
    weight = next(subject.embedding.parameters())
    return router.to(weight.device).eval()


class Pruned:
    """A model with an artifact attached; a context manager that detaches.

    Args:
        model: of the family, sizes and config the artifact names.
        artifact: its directory.
        profile: one of the artifact's profiles.
    """

    def __init__(self, model: Any, artifact: str | Path, profile: str) -> None:
        directory, subject = Path(artifact), anatomy(model)
        self.config = read_config(directory)
        self._router = read_router(directory, self.config, subject)
        self.profiles = {
            name: Profile(**budget) for name, budget in self.config["profiles"].items()
        }
        self._runtime = _Runtime(subject, self._decide, 0)
        self.profile = profile
        self._stack = ExitStack()
        self._stack.enter_context(self._runtime.attached())

    @property
    def profile(self) -> str:
        """Name of the budget; prompts that have begun keep the one they began with.

        Raises:
            ParError: on setting a profile the artifact has not.
        """
        return self._profile

    @profile.setter
    def profile(self, name: str) -> None:
        if name not in self.profiles:
            raise ParError(
                f"There is no profile {name!r}; choose one of {', '.join(self.profiles)}."
            )
        self._profile = name
        self._runtime.drop_layer = self.profiles[name].drop_layer

    def _decide(self, embeddings: Tensor, segments: Tensor) -> Decision:
        budget = self.profiles[self.profile]
        with torch.no_grad():
            scores = self._router(embeddings, segments)
        counts = (segments == VISION).sum(1)
        return decide(
            scores,
            segments,
            tokens=token_budget(counts, budget.tokens),
            layers=budget.layers,
            candidates=tuple(self.config["layer_candidates"]),
            coverage_floor=self.config["coverage_floor"],
        )

    def detach(self) -> None:
        """Leave the model as it was; a second time is fine."""
        self._stack.close()

    def __enter__(self) -> Self:
        """The model is pruned already."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Detach."""
        self.detach()


def token_budget(counts: Tensor, share: float) -> Tensor:
    """T of rows with `counts` (B,) image tokens: the nearest whole number, at least 1."""
    return (counts * share).round().long().clamp(min=1)


def attach(model: Any, artifact: str | Path, profile: str = "balanced") -> Pruned:
    """Prune `model` with a trained artifact until `detach()` or the end of the `with` block.

    Raises:
        UnsupportedModelError: see `anatomy`.
        ArtifactError: files missing or damaged, or made for another model.
        ParError: no such profile, or the model is pruned already.
    """
    return Pruned(model, artifact, profile)
