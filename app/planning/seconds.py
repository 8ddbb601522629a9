"""How long each phase of a job takes, counted from its products and the bytes it moves.

A machine shared with others, texts shorter than they may be and a cold file cache all move the
seconds: take them for the order of magnitude.
"""

from collections import Counter

from app.domain.jobs import Phase
from app.domain.submission import JobSpec
from app.planning.machines import Machine
from app.planning.memory import BlockSize, ModelLayout
from app.planning.routing_seconds import Pace, estimate_routing
from app.recipes.allocation import ZerothOrder
from app.recipes.data import CalibrationSpec
from app.recipes.methods.admm import Admm
from app.recipes.modality import Modality
from app.recipes.performance import ANSWER, BUDGET, PROMPT, ROUNDS
from app.recipes.recipe import Recipe
from app.recipes.reconstruction import LeastSquares
from app.recipes.structure import Depth, Step, Width, taken_of

_EFFICIENCY = 0.9  # of a model's products, against one large product
_HALF = 1.8  # of products in half precision: fourfold with instructions for it, none without
_BANDWIDTH = {"cpu": 2e10, "cuda": 1e12}  # bytes of weights read in a second
_CALL = 2e-4  # seconds until a matrix is called, and what a block does beside its products
_LOGIT = 4e-9  # seconds for one value of the output: exponents, logarithms, copies
_BACKWARD = 4.0  # forward passes that one with its backward costs, blocks run twice
_PARTIAL = 1.6  # the same where one block's gradients are wanted, a mean over the blocks
_TRAINED = 3.0  # forward passes that one with its backward costs, blocks run once
_SKIPPED = 0.5  # what prefix caching leaves of the blocks with one matrix shaken
_SIDE_BY_SIDE = 8  # shaken models in one forward pass
_COPYING = 6e-8  # seconds for each moment of a width's channels, copied round by round
_NOISE = 5e-9  # seconds to draw one value
_WALK = 2.0  # forward passes that a walk costs, blocks run twice
_SUMS_BESIDE = 1.0  # of the work of second moments, for those with the dense model's inputs
_BESIDE_STEPS = 3  # products as large as a step of a solver, before and after its steps
_CHOOSING = 1e-8  # seconds to choose and write one weight
_SEARCHING = 8e-8  # the same by line searches over parts of a matrix
_STEPPING = 5e-9  # seconds to take a weight one step of training further
_CHECKED = 5e8  # bytes read back, hashed, counted and packed in a second
_START = 0.2  # seconds of every job: configuration, tokenizer, report
_RATE_FLOOR = 1e-9
_FLOAT, _HALVES = 4, ("bfloat16", "float16")
_CHILD = 6.0  # seconds until a process has imported what loads a model
_TRIED_RATES, _TRIED_STEPS = 3, 0.2  # of training, and the share of its steps that each is tried
_HELD_OUT = 0.25  # of the set, for training
_ENDS = 2  # blocks that are not tried: the first and the last
_LOOKS = 10  # at what is held out, while the whole model is trained


class Forwards:
    """Seconds of forward passes of one set of records."""

    def __init__(self, layout: ModelLayout, machine: Machine, *, rows: int, length: int) -> None:
        """Batches of so many rows, of texts of so many tokens."""
        self.rate = max(machine.gflops * 1e9 * _EFFICIENCY, _RATE_FLOOR)
        self.layout, self.length, self.rows = layout, length, max(rows, 1)
        matrices = sum(len(block.shapes) for block in layout.blocks)
        read = layout.width * _weights(layout)
        self.batch = _CALL * matrices + read / _BANDWIDTH[machine.device]
        self._blocks = 2 * sum(map(self.products, layout.blocks)) / self.rate
        spoken = [block for block in layout.blocks if block.modality is Modality.LANGUAGE]
        values = layout.vocabulary * layout.predicted(length) if spoken else 0
        hidden = max((block.hidden for block in spoken), default=0)
        self._head = values * (2 * hidden / self.rate + _LOGIT)

    def tokens(self, modality: Modality) -> int:
        """Of one record."""
        return self.layout.tokens(modality, self.length)

    def products(self, block: BlockSize) -> float:
        """Multiplications of a block for one record."""
        tokens = self.tokens(block.modality)
        return (block.numel + 2 * tokens * block.hidden) * tokens

    def of(self, modality: Modality) -> float:
        """Seconds of one record's products in blocks of a modality."""
        blocks = (block for block in self.layout.blocks if block.modality is modality)
        return 2 * sum(map(self.products, blocks)) / self.rate

    def blocks(self, records: float, batches: float | None = None) -> float:
        """Seconds of all blocks; by default, batches hold as many records as they may."""
        if batches is None:
            batches = -(-records // self.rows)
        return records * self._blocks + batches * self.batch

    def head(self, records: float) -> float:
        """Seconds of what a language model predicts for every token."""
        return records * self._head

    def walk(self, records: float, spec: JobSpec) -> float:
        """The same in the type that the job computes in; losses and gradients are in float32."""
        stored = self.layout.width < _FLOAT and spec.dtype == "auto"
        half = _HALF if stored or spec.dtype in _HALVES else 1.0
        return self.blocks(records) - records * self._blocks * (1 - 1 / half)

    def whole(self, records: float) -> float:
        """Seconds of blocks and predictions."""
        return self.blocks(records) + self.head(records)

    def backward(self, records: float) -> float:
        """Seconds of a forward with its backward; what a block saves is computed anew."""
        return _BACKWARD * self.blocks(records) + _TRAINED * self.head(records)


def estimate_seconds(layout: ModelLayout, spec: JobSpec, machine: Machine) -> dict[Phase, float]:
    """What each phase of the job should take on the machine."""
    disk = max(machine.disk_rate, _RATE_FLOOR)
    found = {Phase.LOADING: _START + layout.stored / disk}
    if (set_ := spec.calibration) is not None:
        rows = min(set_.batch_size, set_.samples)
        forwards = Forwards(layout, machine, rows=rows, length=set_.max_length)
        found[Phase.PRUNING] = _pruning(forwards, spec, set_)
    else:
        found[Phase.PRUNING] = _CHOOSING * _weights(layout)
    if (judged := spec.evaluation) is not None:
        forwards = Forwards(layout, machine, rows=judged.batch_size, length=judged.max_length)
        found[Phase.EVALUATING] = 2 * forwards.whole(judged.samples)
    if spec.search is not None:  # the dense model is measured once, the best one pruned again
        tries = spec.search.evaluations
        found[Phase.PRUNING] *= tries
        found[Phase.EVALUATING] *= (tries + 1) / 2
    found[Phase.EXPORTING] = 2 * layout.stored / disk
    found[Phase.VERIFYING] = layout.stored / disk + layout.stored / _CHECKED
    if spec.measure:
        once, loading = _running(layout, machine), _CHILD + layout.stored / disk
        found[Phase.MEASURING] = min(BUDGET, 2 * (loading + (ROUNDS + 1) * once))
    return {phase: round(seconds, 2) for phase, seconds in found.items()}


def _weights(layout: ModelLayout) -> int:
    """In blocks."""
    return sum(block.numel for block in layout.blocks)


def _running(layout: ModelLayout, machine: Machine) -> float:
    """One prompt and its answer, every token of which reads all weights."""
    prompt = Forwards(layout, machine, rows=1, length=PROMPT)
    return prompt.blocks(1) + ANSWER * (prompt.batch + 2 * layout.numel / prompt.rate)


def _pruning(forwards: Forwards, spec: JobSpec, calibration: CalibrationSpec) -> float:
    recipe = spec.recipe
    if not isinstance(recipe, Recipe):
        vision, decoder = forwards.of(Modality.VISION), forwards.of(Modality.LANGUAGE)
        pace = Pace(vision, decoder, forwards.batch)
        counts = {"samples": calibration.samples, "text": calibration.max_length}
        return estimate_routing(forwards.layout, pace, recipe, **counts)
    dense = forwards.walk(calibration.samples, spec)
    seconds = _reducing(forwards, recipe, calibration.samples, dense)
    if recipe.zeroes:
        seconds += _zeroing(forwards, recipe, calibration, dense)
    return seconds + _recovering(forwards, recipe, calibration.samples)


def _zeroing(forwards: Forwards, recipe: Recipe, spec: CalibrationSpec, dense: float) -> float:
    """Scores, statistics or gradients, and what is chosen and solved by them.

    `dense` is the time of a dense forward of the set.
    """
    layout, samples, importance = forwards.layout, spec.samples, recipe.importance
    weights = _weights(layout)
    seconds = _CHOOSING * weights + _scoring(forwards, recipe, samples)
    seconds += importance.forwards * dense + importance.backwards * forwards.backward(samples)
    if importance.schedule == "joint":  # the gradients of one block after the other
        again = _PARTIAL * forwards.whole(samples)
        seconds += len(layout.blocks) * again + _SEARCHING * weights
    second_order = _second_order(forwards, samples)
    if importance.statistic == "second-moments" or recipe.solves:
        seconds += second_order
    if recipe.sees_dense_model:
        seconds += dense
    if spec.tokens in {"atv", "amia"} and recipe.reads_inputs:
        seconds += dense  # a look at every block before its statistics
    if spec.tokens == "amia":
        seconds += _likenesses(forwards, samples)
    if recipe.objective != "pruned-inputs":
        seconds += _SUMS_BESIDE * second_order
    steps = 0
    if isinstance(importance, Admm):
        steps += importance.rounds + importance.steps + _BESIDE_STEPS
        seconds += importance.rounds * _CHOOSING * weights
    if isinstance(recipe.reconstruction, LeastSquares):
        steps += recipe.reconstruction.steps + _BESIDE_STEPS
    if recipe.schedule == "sequential" and importance.schedule != "sequential":
        seconds += _WALK * dense  # a walk of its own
    products = sum(rows * columns**2 for block in layout.blocks for rows, columns in block.shapes)
    return seconds + 2 * steps * products / forwards.rate


def _scoring(forwards: Forwards, recipe: Recipe, samples: int) -> float:
    """What an allocation measures, on as many whole batches as hold its samples."""
    scoring = recipe.allocation.scoring
    if scoring is None or scoring.kind == "reused":
        return 0.0
    batches = -(-min(scoring.samples, samples) // forwards.rows)
    records = min(batches * forwards.rows, samples)
    seconds = scoring.forwards * forwards.blocks(records)
    seconds += scoring.backwards * forwards.backward(records)
    if isinstance(scoring, ZerothOrder):
        seconds += _shaking(forwards, scoring, records, batches)
    return seconds


def _shaking(forwards: Forwards, scoring: ZerothOrder, records: int, batches: int) -> float:
    """Each matrix in turn, in both signs of every draw; what comes before it is not run again."""
    matrices = sum(len(block.shapes) for block in forwards.layout.blocks)
    shaken, passes = records * scoring.perturbed, -(-scoring.perturbed // _SIDE_BY_SIDE)
    each = _SKIPPED * forwards.blocks(shaken, batches * passes) + forwards.head(shaken)
    return matrices * each + _NOISE * _weights(forwards.layout) * batches * scoring.draws


def _recovering(forwards: Forwards, recipe: Recipe, samples: int) -> float:
    """A batch at each step, of every block or of the model, and looks at what is held out.

    Where no rate is given, some are tried before.
    """
    if (recovery := recipe.recovery) is None:
        return 0.0
    whole = recipe.recovery_of("model") is not None
    tried = _TRIED_RATES if recovery.learning_rate is None else 0
    steps = recovery.steps + tried * max(1, round(_TRIED_STEPS * recovery.steps))
    looks = 1 + tried + (_LOOKS if whole else 1)
    rows = min(forwards.rows, samples)
    held_out = max(rows, _HELD_OUT * samples)
    seconds = _TRAINED * forwards.blocks(steps * rows) + looks * forwards.blocks(held_out)
    if whole:  # once before, what the dense model predicts
        seconds += forwards.whole(samples)
        seconds += forwards.head(_TRAINED * steps * rows + looks * held_out)
    return seconds + steps * _STEPPING * _weights(forwards.layout)


def _likenesses(forwards: Forwards, samples: int) -> float:
    """Outputs of every matrix again, and of each sample all pairs of tokens."""
    operations = 0.0
    for block in forwards.layout.blocks:
        tokens = forwards.tokens(block.modality)
        operations += sum(2 * tokens * rows * (columns + tokens) for rows, columns in block.shapes)
    return samples * operations / forwards.rate


def _reducing(forwards: Forwards, recipe: Recipe, samples: int, dense: float) -> float:
    """Walks for each step; for width, moments of the widest inputs, inverses and solves too."""
    seconds = sum(_walking(forwards, step, samples, dense) for step in recipe.structure)
    if any(isinstance(step, Width) for step in recipe.structure):
        for block in forwards.layout.blocks:
            tokens = samples * forwards.tokens(block.modality)
            width = max(block.inputs, default=0)
            operations = tokens * width**2 + 5 * width**3 + 4 * 2 * block.largest * width
            seconds += operations / forwards.rate + _COPYING * width**2
    return seconds


def _walking(forwards: Forwards, step: Step, samples: int, dense: float) -> float:
    """What a step measures of the set; blocks that are named need nothing."""
    if isinstance(step, Depth) and step.keep is not None:
        return 0.0
    seconds = _WALK * dense
    if isinstance(step, Depth) and step.score == "gradient-norm":
        seconds += forwards.backward(samples)
    if isinstance(step, Depth) and step.score == "output":
        seconds += forwards.whole(samples) + _leaving_out(forwards, step, samples)
    return seconds


def _leaving_out(forwards: Forwards, step: Depth, samples: int) -> float:
    """The set without each block that is left, until enough of them are gone."""
    counts, seconds = Counter(block.modality for block in forwards.layout.blocks), 0.0
    for modality, count in counts.items():
        products = {m: forwards.of(m) for m in counts}
        share = products[modality] / (sum(products.values()) or 1)
        for gone in range(taken_of(count, step.share_of(modality))):
            left = 1 - share * (gone + 1) / count
            tries = count - gone - (0 if step.ends else _ENDS)
            seconds += tries * (left * forwards.blocks(samples) + 2 * forwards.head(samples))
    return seconds


def _second_order(forwards: Forwards, samples: int) -> float:
    """Second moments, their factors, and the columns updated one after the other."""
    operations = 0.0
    for block in forwards.layout.blocks:
        tokens = samples * forwards.tokens(block.modality)
        operations += sum(tokens * width**2 + 2 * width**3 for width in block.inputs)
        operations += sum(2 * rows * columns**2 for rows, columns in block.shapes)
    return operations / forwards.rate
