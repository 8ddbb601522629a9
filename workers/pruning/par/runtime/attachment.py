"""What hangs on a model while it is pruned."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from workers.pruning.par.runtime.anatomy import VISION, Anatomy, anatomy
from workers.pruning.par.runtime.decision import DROP_LAYER, DecideFn
from workers.pruning.par.runtime.errors import ParError
from workers.pruning.par.runtime.passing import Pass
from workers.pruning.par.runtime.plan import Plan, pick, plan_of
from workers.pruning.par.runtime.refusals import check, refuse_cache, refuse_modes
from workers.pruning.par.runtime.rows import on_rows
from workers.pruning.par.runtime.wrapping import MARK, wrapped

_PACKED = ("cache", "cu_seq_lens_q", "cu_seq_lens_k")
_PIXELS = ("pixel_values", "pixel_values_videos")
_NEW_IMAGES = "New images on a live cache: PAR decides once per prompt. Start a new cache."


class Attachment:
    """What hangs on a model while it is pruned."""

    def __init__(self, subject: Anatomy, decide_fn: DecideFn, drop_layer: int) -> None:
        if not 0 <= drop_layer < len(subject.layers):
            raise ParError(f"The drop layer is one of 0 to {len(subject.layers) - 1}.")
        self.subject, self.decide_fn, self.drop_layer = subject, decide_fn, drop_layer
        self.current: Pass | None = None
        self.ids: Tensor | None = None
        self.generating = False
        self.uncached: Plan | None = None  # of the running `generate` without a cache

    @contextmanager
    def attached(self) -> Iterator[Self]:
        """Put the wrappers on, and take off every one of them again."""
        subject = self.subject
        if hasattr(subject.text.forward, MARK):
            raise ParError("This model is pruned already; detach first.")
        with ExitStack() as stack:
            for index, layer in enumerate(subject.layers):
                stack.enter_context(wrapped(layer, "forward", functools.partial(self.layer, index)))
            stack.enter_context(wrapped(subject.text, "forward", self.text))
            stack.enter_context(wrapped(subject.model, "generate", self.generate))
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
        plan = getattr(cache, MARK, None)
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
        refuse_modes(inner.generation_config, args, kwargs)
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
                setattr(cache, MARK, plan)
            elif self.generating:
                self.uncached = plan
            return output if self.current is None else self.current.full_length(output)
        finally:
            self.current, self.ids = None, None

    def started(self, kwargs: dict[str, Any]) -> Plan | None:
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
        refuse_cache(kwargs.get("past_key_values"))
        decision = self.decide_fn(embeddings, segments)
        check(decision, self.subject)
        return plan_of(decision, segments, self.drop_layer)

    def continued(self, kwargs: dict[str, Any]) -> Plan | None:
        """The plan under which a live cache was filled; None where that was dense."""
        cache, mask = kwargs["past_key_values"], kwargs.get("attention_mask")
        if self.subject.family == "instructblip" and kwargs.get("inputs_embeds") is not None:
            raise ParError(_NEW_IMAGES)  # its `generate` merges embeddings, answers come as ids
        plan: Plan | None = getattr(cache, MARK, None)
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

    def enter(self, plan: Plan, kwargs: dict[str, Any]) -> Pass:
        """Prepare a forward; with drop layer 0 it gets the short input from the start."""
        given = kwargs.get("inputs_embeds")
        length = (kwargs["input_ids"] if given is None else given).shape[1]
        now = Pass(plan, length, None, kwargs.get("attention_mask"))
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
    def shorten(now: Pass, kwargs: dict[str, Any]) -> None:
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
        kwargs["position_ids"] = pick(positions, now.positions, -1)
        kwargs["inputs_embeds"] = pick(kwargs["inputs_embeds"], now.positions, -2)

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
                    hidden = pick(hidden, now.positions, -2)
                if index in now.plan.layers:
                    now.shorten(self.subject.text.config, index, hidden, kwargs)
        if index in now.plan.partly:
            return on_rows(dense, hidden, now.plan.partly[index], kwargs)
        return dense(hidden, **kwargs) if index in now.plan.layers else hidden


def _live(cache: Any) -> bool:
    return cache is not None and bool(cache.get_seq_length() > 0)


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
    with Attachment(anatomy(model), decide_fn, drop_layer).attached():
        yield
