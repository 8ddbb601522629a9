"""What is measured: models, sparsities, seeds, and how much of everything."""

from dataclasses import dataclass
from pathlib import Path

from app.recipes.evaluation import MetricName
from benchmarks.quality.pruners import TABLE, VARIANTS

MODELS = Path(__file__).parents[1] / "models"
OUT = Path(__file__).parents[1] / "out"


@dataclass(frozen=True)
class Subject:
    """A model and what it is judged by.

    Attributes:
        name: also the directory's, under `benchmarks/models` or `benchmarks/out/models`.
        data: set whose calibration part methods look at and whose evaluation part judges.
        metric: the one figure of the table.
        samples: evaluation records.
        calibration: calibration records, where a large model affords fewer than the grid's.
        pruners: labels, where not all are worth their time here.
        sparsities: likewise.
        seeds: likewise.
    """

    name: str
    data: str
    metric: MetricName
    samples: int
    calibration: int | None = None
    pruners: tuple[str, ...] | None = None
    sparsities: tuple[float, ...] | None = None
    seeds: tuple[int, ...] | None = None

    @property
    def directory(self) -> Path | None:
        """Where the model lies; None where it does not."""
        places = (MODELS / self.name, OUT / "models" / self.name)
        return next((place for place in places if (place / "config.json").exists()), None)


_LONG = {"CHITA", "recommended, recovery"}  # two minutes each with MiniLM
PROSE = "python-reference"  # real text, see `texts`
SUBJECTS = (
    Subject("scenes-llava", "scenes", MetricName.ACCURACY, 540),
    Subject("scenes-clip", "scene-captions", MetricName.TEXT_RECALL_1, 500),
    Subject(
        "minilm",
        "sentences",
        MetricName.SIMILARITY,
        samples=60,
        calibration=64,
        pruners=tuple(each.label for each in TABLE if each.label not in _LONG),
        seeds=(0,),
    ),
    Subject(
        "smollm2",
        PROSE,
        MetricName.PERPLEXITY,
        samples=12,
        calibration=16,
        pruners=(
            *("magnitude, uniform", "Wanda", "SparseGPT", "ADMM"),
            *("MULTIFLOW", "ECoFLaP, Wanda", "recommended"),
        ),
        sparsities=(0.4, 0.5, 0.6),
        seeds=(0,),
    ),
)


@dataclass(frozen=True)
class Grid:
    """One run of the benchmark.

    Attributes:
        title: of its page.
        command: that makes it.
        place: of its files in docs/quality.
        subjects: names of models.
        pruners: labels; so are `tuned_pruners`.
        sparsities: of table 1.
        seeds: of table 1.
        calibration_samples: records that methods look at.
        evaluation_share: of the records that judge a model.
        tuned_pruners: table 2, which is left out where there are none.
        tuned_sparsities: of table 2.
        tuned_seeds: of table 2.
        tuning_steps: batches that a pruned model is tuned on.
        minutes: on the clock, at most.
    """

    title: str
    command: str
    place: str
    subjects: tuple[str, ...]
    pruners: tuple[str, ...]
    sparsities: tuple[float, ...]
    seeds: tuple[int, ...]
    calibration_samples: int
    evaluation_share: float
    tuned_pruners: tuple[str, ...] = ()
    tuned_sparsities: tuple[float, ...] = (0.63, 0.75, 0.9)
    tuned_seeds: tuple[int, ...] = (0,)
    tuning_steps: int = 40
    minutes: int | None = None


_LABELS = tuple(pruner.label for pruner in TABLE)
FULL = Grid(
    title="What is left of a model",
    command="make bench-quality",
    place=".",
    subjects=tuple(subject.name for subject in SUBJECTS),
    pruners=_LABELS,
    sparsities=(0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    seeds=(0, 1, 2),
    calibration_samples=256,
    evaluation_share=1,
    tuned_pruners=(
        "magnitude, uniform",
        "magnitude, global",
        "LAMP",
        "SNIP",
        "Wanda",
        "SparseGPT",
        "MULTIFLOW",
        "ECoFLaP, Wanda",
        "recommended",
    ),
    tuning_steps=100,
)
QUICK = Grid(
    title="What is left of a model, quick run",
    command="make bench-quality QUICK=1",
    place="quick",
    subjects=("scenes-llava", "scenes-clip", "minilm"),
    pruners=_LABELS,
    sparsities=(0.5, 0.7),
    seeds=(0,),
    calibration_samples=32,
    evaluation_share=0.4,
    tuned_pruners=("magnitude, uniform", "Wanda", "MULTIFLOW"),
    tuned_sparsities=(0.75,),
    minutes=10,
)
ECOFLAP = Grid(
    title="What ECoFLaP's first stage gains, and which of its choices matter",
    command="make bench-quality-ecoflap",
    place="ecoflap",
    subjects=("scenes-llava", "scenes-clip"),
    pruners=(
        *("Wanda", "SparseGPT", "ECoFLaP, Wanda", "ECoFLaP, SparseGPT"),
        *(pruner.label for pruner in VARIANTS),
    ),
    sparsities=(0.6, 0.7, 0.8),
    seeds=(0, 1, 2),
    calibration_samples=128,
    evaluation_share=1,
)
GRIDS = {"full": FULL, "quick": QUICK, "ecoflap": ECOFLAP}
