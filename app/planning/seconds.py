"""How long each phase of a job takes, counted from its products and the bytes it moves.

A machine shared with others, texts shorter than they may be and a cold file cache all move the
seconds: take them for the order of magnitude.
"""

from collections import Counter

from app.domain.jobs import Phase
from app.domain.submission import JobSpec
from app.planning.machines import Machine
from app.planning.memory import ModelLayout
from app.recipes.data import CalibrationSpec
from app.recipes.methods.admm import Admm
from app.recipes.performance import ANSWER, BUDGET, PROMPT, ROUNDS
from app.recipes.recipe import Recipe
from app.recipes.reconstruction import LeastSquares
from app.recipes.structure import Depth, Step, Width

_EFFICIENCY = 0.7  # of a model's products, against one large product
_BACKWARD = 4.0  # forward passes that one with its backward costs, blocks run twice
_TRAINED = 3.0  # forward passes that one with its backward costs, blocks run once
_SKIPPED = 0.5  # what prefix caching leaves of a forward with one matrix shaken
_WALK = 2.0  # forward passes that a walk costs, blocks run twice
_SUMS_BESIDE = 1.0  # of the work of second moments, for those with the dense model's inputs
_BESIDE_STEPS = 3  # products as large as a step of a solver, before and after its steps
_CHOOSING = 1.2e-8  # seconds to choose and write one weight
_CHECKED = 4e8  # bytes read back, hashed, counted and packed in a second
_START = 1.0  # seconds of every job: configuration, tokenizer, report
_RATE_FLOOR = 1e-9
_CHILD = 6.0  # seconds until a process has imported what loads a model


def estimate_seconds(layout: ModelLayout, spec: JobSpec, machine: Machine) -> dict[Phase, float]:
    """What each phase of the job should take on the machine."""
    rate = max(machine.gflops * 1e9 * _EFFICIENCY, _RATE_FLOOR)
    disk = max(machine.disk_rate, _RATE_FLOOR)
    found = {Phase.LOADING: _START + layout.stored / disk}
    if spec.calibration is not None:
        one = 2 * _products(layout, spec.calibration.max_length) / rate
        found[Phase.PRUNING] = _pruning(layout, spec, one, rate)
    else:
        found[Phase.PRUNING] = _CHOOSING * layout.numel
    if (judged := spec.evaluation) is not None:
        head = layout.vocabulary * max((b.hidden for b in layout.blocks), default=0)
        products = _products(layout, judged.max_length) + head * judged.max_length
        found[Phase.EVALUATING] = 2 * judged.samples * 2 * products / rate
    if spec.search is not None:  # the dense model is measured once, the best one pruned again
        tries = spec.search.evaluations
        found[Phase.PRUNING] *= tries
        found[Phase.EVALUATING] *= (tries + 1) / 2
    found[Phase.EXPORTING] = 2 * layout.stored / disk
    found[Phase.VERIFYING] = layout.stored / disk + layout.stored / _CHECKED
    if spec.measure:
        once, loading = _running(layout, rate), _CHILD + layout.stored / disk
        found[Phase.MEASURING] = min(BUDGET, 2 * (loading + (ROUNDS + 1) * once))
    return {phase: round(seconds, 2) for phase, seconds in found.items()}


def _running(layout: ModelLayout, rate: float) -> float:
    """One prompt and its answer, every token of which reads all weights."""
    return 2 * (_products(layout, PROMPT) + ANSWER * layout.numel) / rate


def _products(layout: ModelLayout, length: int) -> float:
    """Multiplications of one record's dense forward through the blocks."""
    return sum(
        (block.numel + 2 * tokens * block.hidden) * tokens
        for block in layout.blocks
        if (tokens := layout.tokens(block.modality, length))
    )


def _pruning(layout: ModelLayout, spec: JobSpec, one: float, rate: float) -> float:
    """`one` is the time of one record's dense forward."""
    if spec.calibration is None:
        return 0.0
    samples, recipe = spec.calibration.samples, spec.recipe
    if not isinstance(recipe, Recipe):
        return _BACKWARD * recipe.epochs * recipe.rounds * samples * one
    dense = samples * one
    seconds = _reducing(layout, recipe, spec.calibration, one, rate)
    if recipe.zeroes:
        seconds += _zeroing(layout, recipe, spec.calibration, dense, rate)
    return seconds + _recovering(recipe, spec.calibration, one)


def _zeroing(
    layout: ModelLayout, recipe: Recipe, spec: CalibrationSpec, dense: float, rate: float
) -> float:
    """`dense` is the time of a dense forward of the calibration set."""
    samples, one = spec.samples, dense / spec.samples
    seconds = _CHOOSING * layout.numel
    scoring, importance = recipe.allocation.scoring, recipe.importance
    if scoring is not None and scoring.kind != "reused":
        matrices = sum(len(block.shapes) for block in layout.blocks)
        passes = scoring.forwards + _BACKWARD * scoring.backwards
        passes += _SKIPPED * matrices * scoring.perturbed
        seconds += min(scoring.samples, samples) * one * passes
    seconds += (importance.forwards + _BACKWARD * importance.backwards) * dense
    if importance.statistic == "second-moments" or recipe.solves:
        seconds += _second_order(layout, spec.max_length, samples, rate)
    if recipe.sees_dense_model:
        seconds += dense
    if spec.tokens in {"atv", "amia"} and recipe.reads_inputs:
        seconds += dense  # a look at every block before its statistics
    if spec.tokens == "amia":
        seconds += _likenesses(layout, spec, rate)
    if recipe.objective != "pruned-inputs":
        seconds += _SUMS_BESIDE * _second_order(layout, spec.max_length, samples, rate)
    steps = 0
    if isinstance(importance, Admm):
        steps += importance.rounds + importance.steps + _BESIDE_STEPS
        seconds += importance.rounds * _CHOOSING * layout.numel
    if isinstance(recipe.reconstruction, LeastSquares):
        steps += recipe.reconstruction.steps + _BESIDE_STEPS
        if importance.schedule != "sequential":  # a walk of its own
            seconds += _WALK * dense
    products = sum(rows * columns**2 for block in layout.blocks for rows, columns in block.shapes)
    return seconds + 2 * steps * products / rate


def _recovering(recipe: Recipe, spec: CalibrationSpec, one: float) -> float:
    """A batch at each step, of every block or of the model; before, to choose a rate."""
    if recipe.recovery is None:
        return 0.0
    tried = 1.0 if recipe.recovery.learning_rate is not None else 1.6
    rows = min(spec.batch_size, spec.samples)
    return _TRAINED * tried * recipe.recovery.steps * rows * one


def _likenesses(layout: ModelLayout, spec: CalibrationSpec, rate: float) -> float:
    """Outputs of every matrix again, and of each sample all pairs of tokens."""
    operations = 0.0
    for block in layout.blocks:
        tokens = layout.tokens(block.modality, spec.max_length)
        operations += sum(2 * tokens * rows * (columns + tokens) for rows, columns in block.shapes)
    return spec.samples * operations / rate


def _reducing(
    layout: ModelLayout, recipe: Recipe, spec: CalibrationSpec, one: float, rate: float
) -> float:
    """Walks for each step; for width, moments of the widest inputs, inverses and solves too."""
    operations = 0.0
    if any(isinstance(step, Width) for step in recipe.structure):
        for block in layout.blocks:
            tokens = spec.samples * layout.tokens(block.modality, spec.max_length)
            width = max(block.inputs, default=0)
            operations += tokens * width**2 + 4 * width**3 + 4 * 2 * block.largest * width
    walks = sum(_walks(layout, step) for step in recipe.structure)
    return walks * spec.samples * one + operations / rate


def _walks(layout: ModelLayout, step: Step) -> float:
    """Forwards of the set; blocks that are named need none."""
    if not isinstance(step, Depth):
        return _WALK
    if step.keep is not None:
        return 0.0
    match step.score:
        case "influence":
            return _WALK
        case "gradient-norm":
            return _WALK + _BACKWARD
        case "output":
            return _WALK + 1 + _tries(layout, step)


def _tries(layout: ModelLayout, step: Depth) -> float:
    """Forwards of the set in which a block is left out to see what the model gives then."""
    count = Counter(block.modality for block in layout.blocks)
    return sum(step.share_of(modality) * blocks**2 for modality, blocks in count.items())


def _second_order(layout: ModelLayout, length: int, samples: int, rate: float) -> float:
    """Second moments, their factors, and the columns updated one after the other."""
    operations = 0.0
    for block in layout.blocks:
        tokens = samples * layout.tokens(block.modality, length)
        operations += sum(tokens * width**2 + 2 * width**3 for width in block.inputs)
        operations += sum(2 * rows * columns**2 for rows, columns in block.shapes)
    return operations / rate
