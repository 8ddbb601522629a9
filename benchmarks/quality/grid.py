"""What is measured: models, pruners, sparsities, seeds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.evaluation import MetricName
from app.domain.methods import WEIGHT_METHODS

MODELS = Path(__file__).parents[1] / "models"
OUT = Path(__file__).parents[1] / "out"


@dataclass(frozen=True)
class Subject:
    """A model and what it is judged by.

    Attributes:
        name: also the directory's, under `benchmarks/models` or `benchmarks/out/models`.
        calibration: built-in set whose calibration part methods look at.
        evaluation: built-in set whose evaluation part judges.
        metric: the one figure of the table.
        samples: evaluation records.
    """

    name: str
    calibration: str
    evaluation: str
    metric: MetricName
    samples: int

    @property
    def directory(self) -> Path | None:
        """Where the model lies; None where it does not."""
        places = (MODELS / self.name, OUT / "models" / self.name)
        return next((place for place in places if (place / "config.json").exists()), None)


SUBJECTS = (
    Subject("scenes-llava", "scenes", "scenes", MetricName.ACCURACY, 450),
    Subject("scenes-clip", "scene-captions", "scene-captions", MetricName.TEXT_RECALL_1, 500),
    Subject("minilm", "sentences", "sentences", MetricName.SIMILARITY, 60),
    Subject("smollm2", "sentences", "sentences", MetricName.PERPLEXITY, 60),
)
SCENES = ("scenes-llava", "scenes-clip")


@dataclass(frozen=True)
class Pruner:
    """One row of a table; `baseline` where it is no method this project is about."""

    label: str
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)
    baseline: bool = True


_ALL = (
    Pruner("random", "random"),
    Pruner("magnitude, uniform", "magnitude"),
    Pruner("magnitude, global", "magnitude", {"scope": "global"}),
    Pruner("magnitude, per modality", "magnitude", {"scope": "modality"}),
    Pruner("LAMP", "lamp"),
    Pruner("SNIP", "snip"),
    Pruner("Wanda", "wanda"),
    Pruner("SparseGPT", "sparsegpt"),
    Pruner("CHITA", "chita"),
    Pruner("MULTIFLOW", "multiflow", baseline=False),
    Pruner("ECoFLaP", "ecoflap", baseline=False),
)
# A method that this checkout does not have yet has no row.
PRUNERS = tuple(pruner for pruner in _ALL if pruner.method in WEIGHT_METHODS)


@dataclass(frozen=True)
class Grid:
    """One run of the benchmark."""

    subjects: tuple[str, ...]
    pruners: tuple[str, ...]
    sparsities: tuple[float, ...]
    seeds: tuple[int, ...]
    calibration_samples: int
    evaluation_share: float
    tuned_pruners: tuple[str, ...]
    tuned_sparsities: tuple[float, ...]
    tuned_seeds: tuple[int, ...]
    tuning_steps: int


_LABELS = tuple(pruner.label for pruner in PRUNERS)
FULL = Grid(
    subjects=tuple(subject.name for subject in SUBJECTS),
    pruners=_LABELS,
    sparsities=(0.4, 0.5, 0.6, 0.7, 0.8),
    seeds=(0, 1, 2),
    calibration_samples=128,
    evaluation_share=1,
    tuned_pruners=_LABELS,
    tuned_sparsities=(0.63, 0.75, 0.9),
    tuned_seeds=(0, 1, 2),
    tuning_steps=300,
)
QUICK = Grid(
    subjects=("scenes-llava", "scenes-clip", "minilm"),
    pruners=_LABELS,
    sparsities=(0.5, 0.7),
    seeds=(0,),
    calibration_samples=32,
    evaluation_share=0.4,
    tuned_pruners=("magnitude, uniform", "Wanda", "MULTIFLOW"),
    tuned_sparsities=(0.75,),
    tuned_seeds=(0,),
    tuning_steps=40,
)
