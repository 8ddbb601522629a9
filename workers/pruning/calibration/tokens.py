"""Which tokens the statistics of a stream of text and image tokens see.

- `atv`: all text tokens, and the image tokens that a block changes most (Li, Qian, Han, CVPR 2026,
  arXiv 2603.16001);
- `amia`: for each matrix the fewest tokens whose outputs stand for all of them (Lee et al., ACL
  Findings 2025, arXiv 2504.09897).

Streams without image tokens, and what is no stream of the model's input ids, are seen whole.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from app.errors import CalibrationDataError
from app.recipes.data import Tokens
from workers.pruning.calibration.statistics import Calibration, MaskOf, PendingInput, Statistic
from workers.pruning.calibration.walk import Step
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.models.layout.replay import Batch, TowerPass

_IMAGE_IDS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
_NEIGHBOURS = 3
_FORGETS = 0.2  # how fast taking a token lowers its neighbours with their distance
_STOP = 0.1


@dataclass(frozen=True, slots=True)
class Stream:
    """One batch of text and image tokens.

    Attributes:
        image: (batch, tokens), bool.
        text: (batch, tokens), bool; what is neither is padding.
    """

    image: Tensor
    text: Tensor

    @property
    def real(self) -> Tensor:
        """Every token that is no padding."""
        return self.image | self.text


def stream_of(config: Any, batch: Batch) -> Stream | None:
    """The model's own input ids as a stream; None where no image token is among them."""
    ids = batch.get("input_ids")
    marks = {getattr(config, name, None) for name in _IMAGE_IDS} - {None}
    if ids is None or ids.ndim != 2 or not marks:  # noqa: PLR2004 - a batch of rows
        return None
    image = torch.isin(ids, torch.tensor(sorted(marks), device=ids.device))
    real = batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones_like(image)
    if real.shape != image.shape or not bool(image.any()):
        return None
    return Stream(image & real, real & ~image)


def check_streams(tokens: Tokens, config: Any, batches: Iterable[Batch]) -> None:
    """Refuse to choose where there is nothing to choose from.

    Raises:
        CalibrationDataError: no batch has image tokens among its input ids.
    """
    if not any(stream_of(config, batch) for batch in batches):
        raise CalibrationDataError(
            f"calibration.tokens is {tokens}, which chooses among the image tokens of a stream of "
            "texts, and this model has no such stream on these records; leave it out"
        )


def choose(tokens: Tokens, config: Any, step: Step) -> None:
    """Let the statistics of a block see the tokens chosen, the block being dense still.

    Args:
        tokens: the rule.
        config: of the model.
        step: the block with what it is fed.

    Raises:
        CalibrationDataError: the block has no attention to go by.
    """
    streams = [stream_of(config, each.run.batch) for each, _ in step.passes]
    look = _changes if tokens == "atv" else _attention
    found: list[Tensor | None] = []
    for (each, _), stream in zip(step.passes, streams, strict=True):
        found.append(None if stream is None else look(step, each, stream))
        each.rest()
    counted: list[MaskOf] = [each.mask_of for each, _ in step.passes]
    seen = {
        number: (stream, values)
        for number, (stream, values) in enumerate(zip(streams, found, strict=True))
        if stream is not None and values is not None
    }
    if tokens == "atv":
        masks = most_changed([stream for stream, _ in seen.values()], [v for _, v in seen.values()])
        for number, mask in zip(seen, masks, strict=True):
            counted[number] = partial(_in_stream, mask)
    else:
        for number, (stream, scores) in seen.items():
            counted[number] = EveryMatrixAnew(stream, scores)
    step.counted = counted


def _in_stream(mask: Tensor, seen: Tensor) -> Tensor | None:
    """The mask in the form of a matrix's input; None where that has other tokens."""
    if seen.shape[:-1] == mask.shape:
        return mask
    return mask.flatten() if seen.ndim == 2 and len(seen) == mask.numel() else None  # noqa: PLR2004


def _changes(step: Step, each: TowerPass, stream: Stream) -> Tensor | None:
    """1 - cosine of every token before and after the block, (batch, tokens); None: other tokens."""
    args, kwargs = each.inputs(step.index)
    before = _hidden(args, kwargs, stream)
    if before is None:
        return None
    after = hidden_of(step.block.module(*args, **kwargs))
    if after.shape != before.shape:
        return None
    alike: Tensor = functional.cosine_similarity(after.float(), before.float(), dim=-1)
    return 1 - alike


def _hidden(args: Sequence[Any], kwargs: Mapping[str, Any], stream: Stream) -> Tensor | None:
    """What goes through the block, among its arguments."""
    tensors = (each for each in (*args, *kwargs.values()) if isinstance(each, Tensor))
    fitting = (each for each in tensors if each.shape[:-1] == stream.image.shape)
    return next((each for each in fitting if each.is_floating_point()), None)


def most_changed(
    streams: Sequence[Stream], changes: Sequence[Tensor], alpha: float = 1.0
) -> list[Tensor]:
    """ATV's choice: all text, and of sample j the k_j image tokens that change most.

    k_j = min(images_j, round(min(1, alpha c) texts_j)), c the mean change of all image tokens.

    Args:
        streams: the batches.
        changes: 1 - cosine of each token's hidden states before and after the block, float32.
        alpha: how many image tokens for each text token, at the most.

    Returns:
        (batch, tokens) bool for each batch.
    """
    if not streams:
        return []
    of_images = [change[stream.image] for stream, change in zip(streams, changes, strict=True)]
    share = min(1.0, alpha * float(torch.cat(of_images).mean()))
    found = []
    for stream, change in zip(streams, changes, strict=True):
        mask = stream.text.clone()
        images = stream.image.sum(1).tolist()
        for row, (most, texts) in enumerate(zip(images, stream.text.sum(1).tolist(), strict=True)):
            count = min(most, round(share * texts))
            among = change[row].masked_fill(~stream.image[row], -math.inf)
            mask[row, among.topk(count).indices] = True
        found.append(mask)
    return found


def _attention(step: Step, each: TowerPass, stream: Stream) -> Tensor | None:
    """What the last token of every sample pays to each token, mean over heads; (batch, tokens).

    None: the block has other tokens, and may read those of the stream beside them.
    """
    args, kwargs = each.inputs(step.index)
    if _hidden(args, kwargs, stream) is None:
        return None
    seen = _AttentionOfLast(_last(stream.real), stream.real)
    with seen:
        after = hidden_of(step.block.module(*args, **kwargs))
    if after.shape[:-1] != stream.image.shape:
        return None
    if seen.scores is None:
        raise CalibrationDataError(
            f"amia goes by what the last token attends to, and {step.block.name} has no attention "
            "over all tokens that can be seen; choose tokens by atv"
        )
    return seen.scores


def _last(real: Tensor) -> Tensor:
    """Place of the last real token of every sample."""
    places = torch.arange(real.shape[1], device=real.device)
    return (places * real).amax(1)


class _AttentionOfLast(TorchFunctionMode):
    """Keeps one row of the first self-attention over the stream, computed in float32."""

    def __init__(self, last: Tensor, real: Tensor) -> None:
        super().__init__()
        self.scores: Tensor | None = None
        self._last, self._real = last, real

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if self.scores is None:
            if function is functional.scaled_dot_product_attention:
                self._from_products(*args[:2], **(kwargs or {}))
            elif function in {functional.softmax, torch.softmax, Tensor.softmax}:
                self._from_weights(result)
        return result

    def _from_products(self, query: Tensor, key: Tensor, **settings: Any) -> None:
        tokens = self._real.shape[1]
        if key.ndim != 4 or not query.shape[-2] == key.shape[-2] == tokens:  # noqa: PLR2004 - heads
            return
        scale = settings.get("scale") or query.shape[-1] ** -0.5
        row = query[torch.arange(len(query)), :, self._last].float()  # (batch, heads, features)
        keys = key.float().repeat_interleave(query.shape[1] // key.shape[1], 1)
        products = torch.einsum("bhf,bhtf->bht", row, keys) * scale
        allowed = self._real[:, None, :] & (
            torch.arange(key.shape[-2], device=key.device) <= self._last[:, None, None]
        )
        products = products.masked_fill(~allowed, -math.inf)
        self.scores = products.softmax(-1).mean(1)

    def _from_weights(self, weights: Tensor) -> None:
        tokens = self._real.shape[1]
        if weights.ndim == 4 and weights.shape[-2:] == (tokens, tokens):  # noqa: PLR2004 - heads
            rows = weights[torch.arange(len(weights)), :, self._last]
            self.scores = rows.float().mean(1)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike the outputs of one sample's tokens are: mean cosines.

    Attributes:
        image: of pairs of image tokens, those below zero left out; 0 where there is no pair.
        text: the same of text tokens.
        across: of all pairs of an image and a text token.
    """

    image: float
    text: float
    across: float

    @property
    def density(self) -> float:
        """The mean of the three."""
        return (self.image + self.text + self.across) / 3


def likeness(outputs: Tensor, image: Tensor) -> Likeness:
    """How alike the tokens of a sample are.

    Args:
        outputs: (tokens, features) of a matrix.
        image: (tokens,) bool; the others are text.
    """
    unit = functional.normalize(outputs.float(), dim=-1)
    cosines = unit @ unit.T
    across = cosines[image][:, ~image]
    return Likeness(
        _mean_of_positive(cosines[image][:, image]),
        _mean_of_positive(cosines[~image][:, ~image]),
        float(across.mean()) if across.numel() else 0.0,
    )


def _mean_of_positive(cosines: Tensor) -> float:
    """Of pairs of different tokens."""
    apart = cosines.clone().fill_diagonal_(0.0)
    positive = apart[apart > 0]
    return float(positive.mean()) if positive.numel() else 0.0


def standing_for_all(outputs: Tensor, scores: Tensor, image: Tensor) -> Tensor:
    """AMIA's choice among the tokens of one sample: few whose outputs are spread like all.

    The token with the largest graph score is taken, its neighbours' scores fall, and so on, until
    the squared mean discrepancy of the tokens taken from all of them is small enough for how alike
    the tokens are.

    Args:
        outputs: (tokens, features) of the matrix, dense.
        scores: (tokens,) attention that the last token pays to them.
        image: (tokens,) bool.

    Returns:
        (tokens,) bool.
    """
    unit = functional.normalize(outputs.float(), dim=-1)
    count = len(unit)
    distances = 1 - unit @ unit.T
    nearest = distances.topk(min(_NEIGHBOURS + 1, count), largest=False)
    apart, neighbours = nearest.values[:, 1:], nearest.indices[:, 1:]
    graph = scores.float() + (torch.exp(-apart) * scores.float()[neighbours]).sum(1)
    kernel = torch.exp(-(torch.cdist(unit, unit) ** 2) / 2)
    of_all, to_all = float(kernel.mean()), kernel.mean(1)
    enough = _STOP * math.sqrt(max(0.0, 1 - likeness(outputs, image).density))
    taken = torch.zeros(count, dtype=torch.bool, device=unit.device)
    inside, across = 0.0, 0.0  # sums over pairs taken, and of those taken with all
    for number in range(1, count + 1):
        best = int(graph.argmax())
        inside += 2 * float(kernel[best][taken].sum()) + float(kernel[best, best])
        across += float(to_all[best])
        taken[best] = True
        lost = torch.exp(-_FORGETS * apart[best]) * graph[best].clamp(min=0)
        graph[neighbours[best]] -= lost
        graph[best] = graph.min() - 1
        if of_all + inside / number**2 - 2 * across / number < enough:
            break
    return taken


class EveryMatrixAnew:
    """A `MaskOf` for a stream whose tokens are chosen by the outputs of each matrix."""

    def __init__(self, stream: Stream, scores: Tensor) -> None:
        """Choose nothing yet.

        Args:
            stream: the batch.
            scores: (batch, tokens) attention that the last token of a sample pays.
        """
        self._stream = stream
        self._scores = scores

    def __call__(self, seen: Tensor) -> Tensor | None:
        """Every real token, where nothing is known of the matrix."""
        return _in_stream(self._stream.real, seen)

    def of_matrix(self, module: nn.Module, seen: Tensor) -> Tensor | None:
        """The tokens chosen, in the form of the input; None where that has other tokens."""
        mask = torch.zeros_like(self._stream.real)
        if _in_stream(mask, seen) is None:
            return None
        # Its own forward: that of the instance tells of what it is handed.
        outputs = type(module).forward(module, seen).reshape(*mask.shape, -1)
        for row, real in enumerate(self._stream.real):
            image = self._stream.image[row][real]
            mask[row, real] = standing_for_all(outputs[row][real], self._scores[row][real], image)
        return _in_stream(mask, seen)


S = TypeVar("S", bound=Statistic)


class ChosenByOutputs(Calibration[S]):
    """Sums what `EveryMatrixAnew` chooses, for each module by itself."""

    def _reduce(self) -> None:
        pending = self._pending
        if pending is None or not isinstance(self._mask_of, EveryMatrixAnew) or pending.routed:
            super()._reduce()
            return
        anew = self._mask_of
        for module in pending.modules:
            self._mask_of = partial(anew.of_matrix, module)
            self._pending = PendingInput(pending.tensor, [module], again=pending.again, routed=None)
            super()._reduce()
        self._mask_of = anew
