"""Peak memory of a job, from the shapes that a checkpoint's headers and its config.json show.

libraries + weights + the most that one stage holds at a time. What a stage holds follows what
workers/pruning does there, and is to be corrected with it. `make bench-plans` holds the estimates
against measurements.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from app.domain.submission import JobSpec
from app.planning.experts import chosen_experts, packed_experts
from app.planning.model_files.files import MOST_TENSORS, check_number, image_of, number, section
from app.planning.model_files.headers import StoredTensor
from app.recipes.data import CalibrationSpec
from app.recipes.modality import Modality
from app.recipes.pattern import FEWEST_INPUTS
from app.recipes.performance import PROMPT
from app.recipes.recipe import Recipe
from app.recipes.routing import Routing
from app.recipes.structure import Depth, Width

_BLOCK = re.compile(r"^(?P<tower>.*?)\.\d+\.")
_SHARED = (
    re.compile(r"\b(q|k|v)_proj\b|\b(query|key|value)\b"),
    re.compile(r"\b(gate_proj|up_proj|w1|w3|v1)\b"),
)
_EXPERT = re.compile(r"\.experts\.(?:mlp\.)?\d+\.")
_MODALITIES = (
    (Modality.BRIDGE, re.compile(r"qformer|projector|connector|merger|language_projection")),
    (Modality.AUDIO, re.compile(r"audio|speech|sound")),
    (Modality.VISION, re.compile(r"vision|visual|\bvit\b|image_encoder")),
    (Modality.TEXT, re.compile(r"text_encoder|text_decoder|text_model\.encoder|encoder\.layer\.")),
)


# Models whose class has no `logits_to_keep`, or makes a loss of all logits itself.
LOGITS_OF_IMAGES = {
    "blip-2",
    "instructblip",
    "instructblipvideo",
    "kosmos-2",
    "kosmos-2.5",
    "minicpm_ocr",
    "minicpmv4_6",
    "nemotron_h_omni",
    "qwen2_5_omni",
    "qwen2_5_omni_thinker",
    "qwen3_omni_moe",
    "qwen3_omni_moe_thinker",
    "video_llama_3",
}


TEXT_TOKENS = 512
"""Of the input whose operations are counted."""


@dataclass(frozen=True, slots=True)
class BlockSize:
    """One block.

    Attributes:
        tower: the stack it lies in.
        modality: the part of the model.
        numel: all its values.
        shapes: of its matrices, stored (rows, columns).
        inputs: columns of every distinct input of them; q, k and v read one, gate and up another.
        expert_inputs: those of `inputs` that single experts read.
        features: inputs and outputs of its matrices, for one token; of experts, those of as many
            as a token is routed to.
    """

    tower: str
    modality: Modality
    numel: int
    shapes: tuple[tuple[int, int], ...]
    inputs: tuple[int, ...]
    expert_inputs: tuple[int, ...]
    features: int

    @property
    def hidden(self) -> int:
        """Width of the hidden states."""
        return min((min(shape) for shape in self.shapes), default=0)

    @property
    def largest(self) -> int:
        """Weights of its largest matrix."""
        return max((rows * columns for rows, columns in self.shapes), default=0)


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """The whole.

    Attributes:
        blocks: by name.
        numel: all values.
        table: values of the largest tensor outside of blocks, such as an embedding.
        width: bytes of a value, that of the widest matrix.
        stored: bytes in the files.
        vocabulary: entries of the language model's output; 0 where there is none.
        positions: longest text.
        patches: tokens of an image; 0 where the model sees none.
        pixels: values of an image.
        predicts_images: the model makes logits of image tokens, too.
    """

    blocks: tuple[BlockSize, ...]
    numel: int
    table: int
    width: int
    stored: int
    vocabulary: int
    positions: int
    patches: int
    pixels: int
    predicts_images: bool

    @classmethod
    def of(cls, tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> Self:
        """Read it from headers and configuration."""
        text = section(config, "text_config")
        patches, pixels = image_of(config)
        matrices = [tensor for tensor in tensors.values() if len(tensor.shape) > 1]
        return cls(
            blocks=tuple(_blocks(tensors, config)),
            numel=sum(tensor.numel for tensor in tensors.values()),
            table=max((t.numel for key, t in tensors.items() if not _BLOCK.match(key)), default=0),
            width=max((tensor.width for tensor in matrices), default=4),
            stored=sum(tensor.bytes for tensor in tensors.values()),
            vocabulary=number(text, "vocab_size"),
            positions=number(text, "max_position_embeddings") or 1 << 30,
            patches=patches,
            pixels=pixels,
            predicts_images=config.get("model_type") in LOGITS_OF_IMAGES,
        )

    @property
    def outside(self) -> int:
        """Values outside of blocks: embeddings, heads."""
        return self.numel - sum(block.numel for block in self.blocks)

    @property
    def largest_block(self) -> int:
        """Values of the largest block."""
        return max((block.numel for block in self.blocks), default=0)

    def tokens(self, modality: Modality, max_length: int) -> int:
        """Most tokens of one record that blocks of the modality see."""
        text = min(max_length, self.positions)
        if modality is Modality.VISION:
            return self.patches
        return text + self.patches if modality is Modality.LANGUAGE else text

    def predicted(self, max_length: int) -> int:
        """Most tokens of one record that the language model makes logits of."""
        return self.tokens(Modality.LANGUAGE if self.predicts_images else Modality.TEXT, max_length)


def _blocks(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> list[BlockSize]:
    members: dict[str, list[str]] = {}
    for key in tensors:
        if match := _BLOCK.match(key):
            members.setdefault(match[0], []).append(key)
    found, count = [], 0
    for name, keys in members.items():
        every = (each for key in keys for each in _matrices(key, tensors[key].shape, config))
        matrices = dict(islice(every, MOST_TENSORS + 1))
        count += len(matrices)
        check_number(count)
        if matrices:
            inputs = {(_input(key), shape[1]): shape[1] for key, shape in matrices.items()}
            numel = sum(tensors[key].numel for key in keys)
            tower = name.rstrip(".").rpartition(".")[0]
            shapes, widths = tuple(matrices.values()), tuple(inputs.values())
            routed = tuple(width for key, width in inputs if _EXPERT.search(key))
            kind = tower, modality_of(name), numel
            found.append(BlockSize(*kind, shapes, widths, routed, _features(matrices, config)))
    return found


def _matrices(
    key: str, shape: tuple[int, ...], config: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Matrices in a tensor by their names: one, or those of the experts packed in it."""
    packed = packed_experts(key, shape, config) if len(shape) == 3 or ".experts." in key else {}  # noqa: PLR2004
    if packed:
        path = key.removesuffix(".weight").rpartition(".")[0]
        experts = path if path.endswith("experts") else f"{path}.experts"
        yield from ((f"{experts}.{name}", each) for name, each in packed.items())
    elif len(shape) == 2 and shape[0] > 1 and shape[1] >= FEWEST_INPUTS:  # noqa: PLR2004
        yield key, (shape[0], shape[1])


def _input(key: str) -> str:
    """The same for matrices that read the same input."""
    for place, pattern in enumerate(_SHARED):
        if match := pattern.search(key):
            return f"{key[: match.start()]}{place}"
    return key


def _features(matrices: Mapping[str, tuple[int, int]], config: Mapping[str, Any]) -> int:
    """Inputs and outputs for one token, which is routed to some of the experts."""
    found = [(_EXPERT.search(key), sum(shape)) for key, shape in matrices.items()]
    experts = len({match[0] for match, _ in found if match})
    chosen = min(chosen_experts(config), experts) if experts else 0
    return sum(size * chosen // experts if match else size for match, size in found)


def tokens_of(config: Mapping[str, Any], modality: Modality) -> int:
    """Tokens of one input that blocks of a modality see: an image, `TEXT_TOKENS` of text, or both.

    The image is as large as config.json says.
    """
    positions = number(section(config, "text_config"), "max_position_embeddings") or 1 << 30
    text, (image, _) = min(TEXT_TOKENS, positions), image_of(config)
    if modality is Modality.VISION:
        return max(image, 1)
    return text + image if modality is Modality.LANGUAGE else text


def modality_of(key: str) -> Modality:
    """The part of a model that a tensor of this name serves."""
    return next((m for m, pattern in _MODALITIES if pattern.search(key)), Modality.LANGUAGE)


LIBRARIES = 380_000_000  # torch, transformers and a model class, warm
HARNESS = 650_000_000  # the same with an evaluation harness and all that it imports
IMAGES = 40_000_000  # Pillow, image processors, the classes of a vision tower
CONTEXT = 500_000_000  # of CUDA, its libraries' work space included
_SIDE_BY_SIDE = 8  # perturbed models in one forward pass: both signs of four draws
_KEPT, _ACTIVATIONS = 64 << 20, 24  # of a backward pass: bytes, and tensors a block saves
_TOGETHER = 1 << 30  # bytes of second moments of experts
_FLOAT, _DOUBLE = 4, 8
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by what takes them; stages do not coincide, so only the largest counts.

    Attributes:
        libraries: the process with nothing loaded.
        weights: of the model, while it computes.
        stages: what is held beside, stage by stage.
    """

    libraries: int
    weights: int
    stages: dict[str, int]

    @property
    def peak(self) -> int:
        """All together."""
        return self.libraries + self.weights + max(self.stages.values(), default=0)


def estimate_memory(
    layout: ModelLayout, spec: JobSpec, *, gpu: bool = False, activations: int | None = None
) -> MemoryEstimate:
    """What the job should take on its device.

    Args:
        layout: of the checkpoint.
        spec: the job.
        gpu: it computes on a GPU, which holds none of the libraries, and of weights what lies
            outside of blocks, one block and the next.
        activations: bytes of them that the host holds, and a GPU as many; more wait on disk.
    """
    width = _width(layout, spec, gpu=gpu)
    resident = _resident(layout, spec, width, gpu=gpu)  # the rest stays in files
    weights = layout.width * resident
    if width != layout.width:
        weights += width * _converted(layout, spec)
    stages = {}
    if spec.calibration is None:
        stages["pruning"] = 4 * _FLOAT * _largest(layout)
    else:
        held = _Held(layout, spec.calibration, width, activations)
        if isinstance(spec.recipe, Recipe):
            stages |= _of_recipe(held, spec.recipe)
        else:
            stages["training"] = held.routing(spec.recipe)
    if spec.evaluation is not None:
        rows, length = spec.evaluation.batch_size, spec.evaluation.max_length
        stages["evaluating"] = 2 * _logits(layout, rows, length)
    if spec.tasks:
        rows = max(task.batch_size for task in spec.tasks)
        stages["tasks"] = _running(layout, rows) + (CONTEXT if gpu else HARNESS)
    if spec.measure:
        stages["measuring"] = _running(layout) + (CONTEXT if gpu else LIBRARIES)
    libraries = LIBRARIES + (IMAGES if layout.patches else 0)
    return MemoryEstimate(CONTEXT if gpu else libraries, weights, stages)


def _running(layout: ModelLayout, rows: int = 1) -> int:
    """A whole model as it is stored, with its prompts: cache, a block at work, the logits."""
    cached = sum(layout.tokens(b.modality, PROMPT) * 2 * b.hidden for b in layout.blocks)
    at_work = max(
        (layout.tokens(b.modality, PROMPT) * b.features for b in layout.blocks), default=0
    )
    held = layout.width * (cached + at_work) * rows
    return layout.stored + held + 2 * _logits(layout, rows, PROMPT)


def _width(layout: ModelLayout, spec: JobSpec, *, gpu: bool) -> int:
    """Bytes of a value that is computed. Most CPUs compute half precision in float32."""
    if spec.dtype == "auto":
        return layout.width if gpu else max(layout.width, _FLOAT)
    return _WIDTHS[spec.dtype]


def _resident(layout: ModelLayout, spec: JobSpec, width: int, *, gpu: bool) -> int:
    """Values in memory at a time: of a matrix, or of a block where the model runs.

    A GPU holds two blocks beside what lies outside of them. A model that runs often lies in memory
    whole, as no disk keeps up with it; one that is converted for that is counted there.
    """
    if not isinstance(spec.recipe, Recipe) and (gpu or width == layout.width):
        return layout.numel
    if gpu:
        return layout.outside + 2 * layout.largest_block
    if spec.calibration is None and spec.evaluation is None:
        return _largest(layout)
    return max(layout.outside, layout.largest_block)


def _converted(layout: ModelLayout, spec: JobSpec) -> int:
    """Values in memory a second time, in the type that is computed in."""
    if not isinstance(spec.recipe, Recipe):
        return layout.numel  # a model that runs often is converted once
    if spec.calibration is None and spec.evaluation is None:
        return 0
    return max(layout.table, layout.largest_block)  # one after the other


def _of_recipe(held: "_Held", recipe: Recipe) -> dict[str, int]:
    rows = held.spec.batch_size
    stages = {"reducing": held.reducing(recipe)} if recipe.structure else {}
    if recipe.recovery_of("model") is not None:
        stages["training"] = held.training()
    if not recipe.zeroes:
        return stages
    scoring = recipe.allocation.scoring
    if scoring is not None and scoring.kind != "reused":
        if scoring.backwards:
            stages["allocating"] = held.differentiating(rows)
        else:
            stages["allocating"] = held.perturbing(rows * min(scoring.perturbed, _SIDE_BY_SIDE))
    prunable = sum(rows * columns for block in held.layout.blocks for rows, columns in block.shapes)
    importance = recipe.importance
    if importance.needs_gradient:
        batches = -(-held.spec.samples // rows)
        kept = held.bounded(importance.bytes_per_weight(held.layout.width) * prunable)
        solving = importance.bytes_per_row_weight * batches * held.layout.largest_block
        stages["pruning"] = held.differentiating(rows) + kept + solving
        if recipe.schedule == "sequential":
            stages["solving"] = held.replaying(recipe) + kept
    else:
        stages["pruning"] = held.replaying(recipe)
    return stages


_SUMS = {"pruned-inputs": 1, "dense-inputs": 2, "mixed": 2}
"""Second moments of one input that are summed at a time."""


class _Held:
    """What a calibration set makes a stage hold."""

    def __init__(
        self, layout: ModelLayout, spec: CalibrationSpec, width: int, room: int | None
    ) -> None:
        self.layout = layout
        self.spec = spec
        self.width = width
        self._room = room

    def replaying(self, recipe: Recipe) -> int:
        """Block after block: hidden states of the whole set, one block at work, its statistics.

        Where the dense model is walked through too, its hidden states, and the inputs of one
        block's matrices in it.
        """
        samples, blocks = self.spec.samples, self.layout.blocks
        cached = 2 * max((self._states(block, samples) for block in blocks), default=0)
        inside = max((self._at_work(block, samples) for block in blocks), default=0)
        if recipe.sees_dense_model:
            cached *= 2
        if recipe.objective != "pruned-inputs":
            cached += inside
        if recipe.objective == "mixed":
            cached += inside // 4  # of the pruned model, held out
        if recipe.walk == "one-pass" and cached + inside == self.bounded(cached + inside):
            cached += inside  # all batches are in a block at a time where there is room
        working = max(
            (
                max(self._at_work(block, self.spec.batch_size), _statistics(block, recipe))
                for block in blocks
            ),
            default=0,
        )
        if recipe.recovery_of("block") is not None:
            # Weights, where they began, gradients, two moments, zeros.
            rows = self.spec.batch_size
            inside = max((self._at_work(block, rows) for block in blocks), default=0)
            working = max(working, (5 * _FLOAT + 1) * self.layout.largest_block + 2 * inside)
        return self._inputs() + self.bounded(cached) + working

    def training(self) -> int:
        """All weights as often as one block's, and the best ones; a whole batch's activations."""
        rows, blocks = self.spec.batch_size, self.layout.blocks
        weights = sum(block.numel for block in blocks)
        inside = sum(self._at_work(block, rows) for block in blocks)
        logits = 4 * _logits(self.layout, rows, self.spec.max_length)
        kept = self._inputs() + self.bounded(self._known())
        return kept + (6 * _FLOAT + 1) * weights + 2 * inside + logits

    def reducing(self, recipe: Recipe) -> int:
        """The same with the second moments of one input, where structure is taken out.

        Where blocks are left out by what the model gives without them, what it gave is kept.
        """
        samples, rows, blocks = self.spec.samples, self.spec.batch_size, self.layout.blocks
        cached = 2 * max((self._states(block, samples) for block in blocks), default=0)
        checked = 2 * _logits(self.layout, rows, self.spec.max_length)
        solves = any(isinstance(step, Width) for step in recipe.structure)
        working = (
            max(self._at_work(block, rows), _moments(block) if solves else 0) for block in blocks
        )
        scores = {step.score for step in recipe.structure if isinstance(step, Depth)}
        if "output" in scores:
            cached = max(cached, self._known())
            checked *= 2
        held = self._inputs() + self.bounded(cached) + max(*working, checked)
        return max(held, self.differentiating(rows)) if "gradient-norm" in scores else held

    def _known(self) -> int:
        """What the model gives for the whole set, in half precision."""
        return self.spec.samples * _logits(self.layout, 1, self.spec.max_length) // 2

    def bounded(self, size: int) -> int:
        """What of it is in memory; the rest waits on disk."""
        return size if self._room is None else min(size, self._room)

    def differentiating(self, rows: int) -> int:
        """Backwards through checkpointed blocks: all inputs, what is kept, one at work, a loss."""
        if self.width < _FLOAT:  # on a GPU: small gradients would underflow
            wide = _Held(self.layout, self.spec, _FLOAT, self._room)
            weights = self.layout.outside + 2 * self.layout.largest_block
            return wide.differentiating(rows) + _FLOAT * weights
        inputs = sum(self._states(block, rows) for block in self.layout.blocks)
        working = max((self._at_work(block, rows) for block in self.layout.blocks), default=0)
        gradient = _FLOAT * _largest(self.layout)
        loss = 4 * _logits(self.layout, rows, self.spec.max_length)
        held = self.bounded(inputs) + min(_KEPT, _ACTIVATIONS * inputs)
        block = 4 * working  # what matrices read and give, what lies between, gradients of both
        return self._inputs() + held + max(block + gradient, loss)

    def routing(self, routing: Routing) -> int:
        """The same; a picture that is trained on is held once for each of two questions."""
        again = round((1 - routing.held_out) * self._inputs())
        return self.differentiating(self.spec.batch_size) + again

    def perturbing(self, rows: int) -> int:
        """Forwards with one matrix shaken: what every block returned, the noise, the loss."""
        kept = sum(self._states(block, rows) for block in self.layout.blocks)
        working = max((self._at_work(block, rows) for block in self.layout.blocks), default=0)
        noise = 2 * _FLOAT * _largest(self.layout)
        loss = 3 * _logits(self.layout, rows, self.spec.max_length)
        return self._inputs() + 2 * kept + max(working + noise, loss)

    def _inputs(self) -> int:
        return self.spec.samples * self.layout.pixels * self.width

    def _tokens(self, block: BlockSize) -> int:
        return self.layout.tokens(block.modality, self.spec.max_length)

    def _states(self, block: BlockSize, rows: int) -> int:
        return rows * self._tokens(block) * block.hidden * self.width

    def _at_work(self, block: BlockSize, rows: int) -> int:
        return rows * self._tokens(block) * block.features * self.width


def _statistics(block: BlockSize, recipe: Recipe) -> int:
    """What is summed over inputs, or the scores of one matrix and the copies to choose by them."""
    if recipe.importance.statistic == "second-moments" or recipe.solves:
        return _second_moments(block, recipe)
    return 4 * _FLOAT * block.largest


def _second_moments(block: BlockSize, recipe: Recipe) -> int:
    """X X^T of every input, of experts in parts; the factors of one, its matrix in float32."""
    widest = max(block.inputs, default=0)
    experts = sum(width * width for width in block.expert_inputs)
    others = sum(width * width for width in block.inputs) - experts
    if recipe.walk == "one-pass":  # those of one input at a time
        others = min(others, widest * widest)
    routed = _DOUBLE * experts
    if routed > _TOGETHER:
        chosen = _FLOAT * block.numel  # waits until all parts are done
        routed = max(_TOGETHER, _DOUBLE * widest * widest) + chosen
    moments = _DOUBLE * _SUMS[recipe.objective] * others + routed
    return moments + _FLOAT * (5 * widest * widest + 3 * block.largest)


def _moments(block: BlockSize) -> int:
    """X X^T of the widest input, its mean and what is made of it; its matrix four times."""
    widest = max(block.inputs, default=0)
    return (3 * _DOUBLE + 2 * _FLOAT) * widest * widest + 4 * _FLOAT * block.largest


def _logits(layout: ModelLayout, rows: int, length: int) -> int:
    return _FLOAT * rows * layout.predicted(length) * layout.vocabulary


def _largest(layout: ModelLayout) -> int:
    return max((block.largest for block in layout.blocks), default=0)
