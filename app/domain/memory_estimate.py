"""Peak memory of a job, from shapes alone. `make bench-plans` holds it against measurements.

libraries + weights + the most that one stage holds at a time. What a stage holds follows what
workers/pruning does there, and is to be corrected with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from app.domain.anatomy import Anatomy, BlockSize
from app.domain.recipe import (
    Chita,
    ECoFLaP,
    FirstOrder,
    GradientNorm,
    Modality,
    Recipe,
    Snip,
    SparseGPT,
    ZerothOrder,
)
from app.domain.submission import CalibrationSpec, JobSpec

LIBRARIES = 380_000_000  # torch, transformers and a model class, warm
IMAGES = 40_000_000  # Pillow, image processors, the classes of a vision tower
CONTEXT = 500_000_000  # of CUDA, its libraries' work space included
_SIDE_BY_SIDE = 4  # draws of a perturbation in one forward pass
_KEPT, _ACTIVATIONS = 64 << 20, 24  # of a backward pass: bytes, and tensors a block saves
_FLOAT = 4
_DOUBLE = 8
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Memory:
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
    anatomy: Anatomy, spec: JobSpec, *, gpu: bool = False, activations: int | None = None
) -> Memory:
    """What the job should take on its device.

    Args:
        anatomy: of the checkpoint.
        spec: the job.
        gpu: it computes on a GPU, which holds all weights and none of the libraries.
        activations: bytes of them that are held in host memory; more wait on disk.
    """
    width = _width(anatomy, spec, gpu=gpu)
    resident = anatomy.numel if gpu else _resident(anatomy, spec)  # the rest stays in files
    weights = anatomy.width * resident
    if width != anatomy.width:
        weights += width * _converted(anatomy, spec)
    stages = {}
    if spec.calibration is None:
        stages["pruning"] = 4 * _FLOAT * _largest(anatomy)
    else:
        held = _Held(anatomy, spec.calibration, width, None if gpu else activations)
        if isinstance(spec.recipe, Recipe):
            stages |= _of_recipe(held, spec.recipe)
        else:
            stages["training"] = held.differentiating(spec.calibration.batch_size)
    if spec.evaluation is not None:
        rows, length = spec.evaluation.batch_size, spec.evaluation.max_length
        stages["evaluating"] = 2 * _logits(anatomy, rows, length)
    libraries = LIBRARIES + (IMAGES if anatomy.patches else 0)
    return Memory(CONTEXT if gpu else libraries, weights, stages)


def _width(anatomy: Anatomy, spec: JobSpec, *, gpu: bool) -> int:
    """Bytes of a value that is computed. Most CPUs compute half precision in float32."""
    if spec.dtype == "auto":
        return anatomy.width if gpu else max(anatomy.width, _FLOAT)
    return _WIDTHS[spec.dtype]


def _resident(anatomy: Anatomy, spec: JobSpec) -> int:
    """Values in memory at a time: of a matrix, or of a block where the model runs."""
    if spec.calibration is None and spec.evaluation is None:
        return _largest(anatomy)
    return max(anatomy.outside, *(block.numel for block in anatomy.blocks), 0)


def _converted(anatomy: Anatomy, spec: JobSpec) -> int:
    """Values in memory a second time, in the type that is computed in."""
    if not isinstance(spec.recipe, Recipe):
        return anatomy.numel  # a model that runs often is converted once
    if spec.calibration is None and spec.evaluation is None:
        return 0
    return max(anatomy.table, *(block.numel for block in anatomy.blocks), 0)  # one after the other


def _of_recipe(held: "_Held", recipe: Recipe) -> dict[str, int]:
    rows = held.spec.batch_size
    stages = {}
    if isinstance(recipe.allocation, ECoFLaP):
        match recipe.allocation.scores:
            case ZerothOrder(draws=draws):
                stages["allocating"] = held.perturbing(rows * 2 * min(draws, _SIDE_BY_SIDE))
            case GradientNorm() | FirstOrder():
                stages["allocating"] = held.differentiating(rows)
    prunable = sum(
        rows * columns for block in held.anatomy.blocks for rows, columns in block.shapes
    )
    match recipe.importance:
        case Snip():
            stages["pruning"] = held.differentiating(rows) + held.bounded(_FLOAT * prunable)
        case Chita():
            batches = -(-held.spec.samples // rows)
            largest = max((block.numel for block in held.anatomy.blocks), default=0)
            # The gradients' sum, the new weights, and a row of gradients for each batch.
            kept = held.bounded((_FLOAT + held.anatomy.width) * prunable)
            solving = kept + _FLOAT * batches * largest
            stages["pruning"] = held.differentiating(rows) + solving
        case SparseGPT():
            stages["pruning"] = held.replaying(_second_moments)
        case _:
            stages["pruning"] = held.replaying(_scores)
    return stages


class _Held:
    """What a calibration set makes a stage hold."""

    def __init__(
        self, anatomy: Anatomy, spec: CalibrationSpec, width: int, room: int | None
    ) -> None:
        self.anatomy = anatomy
        self.spec = spec
        self.width = width
        self._room = room

    def replaying(self, statistics: Callable[[BlockSize], int]) -> int:
        """Block after block: hidden states of the whole set, one block at work, its statistics."""
        cached = max((self._states(b, self.spec.samples) for b in self.anatomy.blocks), default=0)
        working = max(
            (
                max(self._at_work(block, self.spec.batch_size), statistics(block))
                for block in self.anatomy.blocks
            ),
            default=0,
        )
        return self._inputs() + self.bounded(2 * cached) + working

    def bounded(self, size: int) -> int:
        """What of it is in memory; the rest waits on disk."""
        return size if self._room is None else min(size, self._room)

    def differentiating(self, rows: int) -> int:
        """Backwards through checkpointed blocks: all inputs, what is kept, one at work, a loss."""
        inputs = sum(self._states(block, rows) for block in self.anatomy.blocks)
        working = max((self._at_work(block, rows) for block in self.anatomy.blocks), default=0)
        gradient = _FLOAT * _largest(self.anatomy)
        loss = 4 * _logits(self.anatomy, rows, self.spec.max_length)
        held = self.bounded(inputs) + min(_KEPT, _ACTIVATIONS * inputs)
        return self._inputs() + held + max(2 * working + gradient, loss)

    def perturbing(self, rows: int) -> int:
        """Forwards with one matrix shaken: what every block returned, the noise, the loss."""
        kept = sum(self._states(block, rows) for block in self.anatomy.blocks)
        working = max((self._at_work(block, rows) for block in self.anatomy.blocks), default=0)
        noise = 2 * _FLOAT * _largest(self.anatomy)
        loss = 3 * _logits(self.anatomy, rows, self.spec.max_length)
        return self._inputs() + 2 * kept + max(working + noise, loss)

    def _inputs(self) -> int:
        return self.spec.samples * self.anatomy.pixels * self.width

    def _tokens(self, block: BlockSize) -> int:
        return self.anatomy.tokens(block.modality, self.spec.max_length)

    def _states(self, block: BlockSize, rows: int) -> int:
        return rows * self._tokens(block) * block.hidden * self.width

    def _at_work(self, block: BlockSize, rows: int) -> int:
        return rows * self._tokens(block) * block.features * self.width


def _scores(block: BlockSize) -> int:
    """Scores of one matrix, and the copies it takes to choose by them."""
    return 4 * _FLOAT * block.largest


def _second_moments(block: BlockSize) -> int:
    """X X^T of every distinct input; the factors of one, and its matrix in float32."""
    widest = max(block.inputs, default=0)
    moments = _DOUBLE * sum(width * width for width in block.inputs)
    return moments + _FLOAT * (5 * widest * widest + 3 * block.largest)


def _logits(anatomy: Anatomy, rows: int, length: int) -> int:
    tokens = anatomy.tokens(Modality.LANGUAGE, length)
    return _FLOAT * rows * tokens * anatomy.vocabulary


def _largest(anatomy: Anatomy) -> int:
    return max((block.largest for block in anatomy.blocks), default=0)
