"""Seconds of a job per phase, from shapes and a machine's measured rates.

Counts the products a phase makes and the bytes it moves. A machine shared with others, texts
shorter than they may be and a cold file cache all move it: take it for the order of magnitude.
"""

from app.domain.jobs import Phase
from app.domain.submission import JobSpec
from app.planning.layout import Anatomy
from app.planning.machines import Machine
from app.recipes.recipe import Recipe

_EFFICIENCY = 0.7  # of a model's products, against one large product
_BACKWARD = 4.0  # forward passes that one with its backward costs, blocks run twice
_SKIPPED = 0.5  # what prefix caching leaves of a forward with one matrix shaken
_CHOOSING = 1.2e-8  # seconds to choose and write one weight
_CHECKED = 4e8  # bytes read back, hashed and counted in a second
_START = 1.0  # seconds of every job: configuration, tokenizer, report
_RATE_FLOOR = 1e-9


def estimate_seconds(anatomy: Anatomy, spec: JobSpec, machine: Machine) -> dict[Phase, float]:
    """What each phase of the job should take on the machine."""
    rate = max(machine.gflops * 1e9 * _EFFICIENCY, _RATE_FLOOR)
    disk = max(machine.disk_rate, _RATE_FLOOR)
    found = {Phase.LOADING: _START + anatomy.stored / disk}
    if spec.calibration is not None:
        one = 2 * _products(anatomy, spec.calibration.max_length) / rate
        found[Phase.PRUNING] = _pruning(anatomy, spec, one, rate)
    else:
        found[Phase.PRUNING] = _CHOOSING * anatomy.numel
    if (judged := spec.evaluation) is not None:
        head = anatomy.vocabulary * max((b.hidden for b in anatomy.blocks), default=0)
        products = _products(anatomy, judged.max_length) + head * judged.max_length
        found[Phase.EVALUATING] = 2 * judged.samples * 2 * products / rate
    found[Phase.EXPORTING] = 2 * anatomy.stored / disk
    found[Phase.VERIFYING] = anatomy.stored / disk + anatomy.stored / _CHECKED
    return {phase: round(seconds, 2) for phase, seconds in found.items()}


def _products(anatomy: Anatomy, length: int) -> float:
    """Multiplications of one record's dense forward through the blocks."""
    return sum(
        (block.numel + 2 * tokens * block.hidden) * tokens
        for block in anatomy.blocks
        if (tokens := anatomy.tokens(block.modality, length))
    )


def _pruning(anatomy: Anatomy, spec: JobSpec, one: float, rate: float) -> float:
    """`one` is the time of one record's dense forward."""
    if spec.calibration is None:
        return 0.0
    samples, recipe = spec.calibration.samples, spec.recipe
    if not isinstance(recipe, Recipe):
        return _BACKWARD * recipe.epochs * recipe.rounds * samples * one
    dense = samples * one
    seconds = _CHOOSING * anatomy.numel
    scoring, importance = recipe.allocation.scoring, recipe.importance
    if scoring is not None and scoring.kind != "reused":
        matrices = sum(len(block.shapes) for block in anatomy.blocks)
        passes = _BACKWARD * scoring.backwards + _SKIPPED * matrices * scoring.perturbed
        seconds += min(scoring.samples, samples) * one * passes
    seconds += (importance.forwards + _BACKWARD * importance.backwards) * dense
    if importance.statistic == "second-moments":
        seconds += _second_order(anatomy, spec.calibration.max_length, samples, rate)
    return seconds


def _second_order(anatomy: Anatomy, length: int, samples: int, rate: float) -> float:
    """Second moments, their factors, and the columns updated one after the other."""
    operations = 0.0
    for block in anatomy.blocks:
        tokens = samples * anatomy.tokens(block.modality, length)
        operations += sum(tokens * width**2 + 2 * width**3 for width in block.inputs)
        operations += sum(2 * rows * columns**2 for rows, columns in block.shapes)
    return operations / rate
