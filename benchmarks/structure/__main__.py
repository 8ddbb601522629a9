"""`make bench-structure`: quality and time of smaller models; last line JSON. QUICK=1 for less.

Quality of both scenes models with half and a quarter of the MLP channels, by plain magnitude, by
energy and as `width` does it, with three quarters of the attention heads, and without one of four
language blocks; the smallest of them with recovery too, on more records. Then the time of reduced
models beside dense ones, and the bytes they take once loaded. `--only` chooses parts.
"""

import argparse
import sys
from itertools import product

import torch

from app.recipes.modality import Modality
from app.recipes.recovery import Recovery
from app.recipes.structure import BlockScore, Depth, Step, Width
from benchmarks.figures import Figure, conclude
from benchmarks.quality.texts import prepare
from benchmarks.structure import cost, speed
from benchmarks.structure.quality import Sample, dense, reduced

FULL = Sample(calibration=256, evaluation=500, draws=3)
QUICK = Sample(calibration=64, evaluation=200, draws=1)
SCENES = ("scenes-llava", "scenes-clip")
HOW: dict[str, dict[str, object]] = {
    "magnitude, as is": {"score": "magnitude", "solve": False},
    "energy, as is": {"score": "energy", "solve": False},
    "energy, solved": {"score": "energy"},
    "width": {},
}
# What is asked of `width` without training.
ASKED = {
    ("scenes-llava", 0.5): 0.97,
    ("scenes-clip", 0.5): 0.96,
    ("scenes-llava", 0.25): 0.90,
    ("scenes-clip", 0.25): 0.95,
}
# With recovery, on twice the records.
RECOVERED = {
    ("scenes-llava", 0.25): 0.95,
    ("scenes-clip", 0.25): 0.97,
    ("scenes-llava", 0.125): 0.84,
    ("scenes-clip", 0.125): 0.93,
}
RECOVERY = Recovery(scope="model", steps=200)
BLOCK_SCORES: dict[BlockScore, float | None] = {
    "influence": 0.80,
    "output": None,
    "gradient-norm": None,
}
ONE_OF_FOUR = Depth(removed={Modality.LANGUAGE: 0.25}, ends=True)


def main(arguments: list[str]) -> int:
    """Print tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sample = QUICK if options.quick else FULL
    figures: dict[str, Figure] = {}
    for name in options.only:
        if not (options.quick and name == "speed"):
            figures |= PARTS[name](sample)
    return conclude(figures)


def _channels(sample: Sample) -> dict[str, Figure]:
    figures = {}
    for subject in SCENES:
        figures[f"{subject}, dense"] = Figure(dense(subject, sample))
        for kept, how in product((0.5, 0.25), HOW):
            step = Width(mlp_removed=1 - kept, **HOW[how])  # type: ignore[arg-type]  # by name
            least = ASKED[subject, kept] if how == "width" else None
            figures[f"{subject}, MLP kept {kept:g}, {how}"] = _quality(subject, step, sample, least)
    return figures


def _heads(sample: Sample) -> dict[str, Figure]:
    """Of the modalities whose classes can say it: the language model alone."""
    step = Width(mlp_removed=0, heads_removed={Modality.LANGUAGE: 0.25})
    name = "scenes-llava, language heads kept 0.75"
    return {name: _quality("scenes-llava", step, sample)}


def _depth(sample: Sample) -> dict[str, Figure]:
    name = "scenes-llava, one of four language blocks left out, by"
    steps = {score: ONE_OF_FOUR.model_copy(update={"score": score}) for score in BLOCK_SCORES}
    return {
        f"{name} {score}": _quality("scenes-llava", steps[score], sample, least)
        for score, least in BLOCK_SCORES.items()
    }


def _recovered(sample: Sample) -> dict[str, Figure]:
    more = Sample(2 * sample.calibration, sample.evaluation, sample.draws)
    figures = {}
    for (subject, kept), least in RECOVERED.items():
        found = _quality(subject, Width(mlp_removed=1 - kept), more, least, RECOVERY)
        figures[f"{subject}, MLP kept {kept:g}, width and recovery"] = found
    name = "scenes-llava, one of four language blocks left out, and recovery"
    figures[name] = _quality("scenes-llava", ONE_OF_FOUR, more, 0.90, RECOVERY)
    return figures


def _texts(sample: Sample) -> dict[str, Figure]:
    """Published, nothing asked: cosine of MiniLM's sentences, perplexity of SmolLM2."""
    prepare()
    figures = {}
    for subject, kept in (("minilm", 0.5), ("smollm2", 0.75)):
        few = Sample(64, 50 if subject == "smollm2" else sample.evaluation, 1)
        figures[f"{subject}, dense"] = Figure(dense(subject, few))
        for how in ("magnitude, as is", "width"):
            step = Width(mlp_removed=1 - kept, **HOW[how])  # type: ignore[arg-type]  # by name
            figures[f"{subject}, MLP kept {kept:g}, {how}"] = _quality(subject, step, few)
    return figures


def _quality(
    subject: str,
    step: Step,
    sample: Sample,
    least: float | None = None,
    recovery: Recovery | None = None,
) -> Figure:
    found = reduced(subject, step, sample, recovery)
    each = " ".join(f"{scores.value:.3f}" for scores in found.scores)
    print(
        f"{subject} {step.kind} {step.asked}{' and recovery' if recovery else ''}: "
        f"{found.value:.3f} ({each}), {found.ratio:.1%} of the parameters in blocks, "
        f"{found.seconds:.1f} s",
        flush=True,
    )
    return Figure(found.value, least=least)


def _speed(_sample: Sample) -> dict[str, Figure]:
    prepare()
    found = {}
    models = {"Llama of 16 layers": speed.compare_language, "MiniLM": speed.compare_minilm}
    for (model, compare), (label, step) in product(models.items(), speed.STEPS.items()):
        if model == "MiniLM" and step.kind == "depth":
            continue
        ratio = compare(step)
        for run, value in ratio.times.items():
            most = ratio.parameters + 0.08
            found[f"{model}, {label}: time to {run}"] = Figure(value, most=round(most, 3))
        off = abs(ratio.loaded / ratio.all_parameters - 1)
        found[f"{model}, {label}: parameters in blocks"] = Figure(ratio.parameters)
        found[f"{model}, {label}: loaded bytes, off the ratio by"] = Figure(off, most=0.01)
    return found


def _cost(_sample: Sample) -> dict[str, Figure]:
    loaded, experts_left = cost.bytes_of_half_the_experts()
    return {
        "width job / SparseGPT job, CPU seconds": Figure(cost.width_beside_sparsegpt(), most=1.6),
        "half of the experts, loaded bytes off the ratio by": Figure(
            abs(loaded / experts_left - 1), most=0.02
        ),
        "int8 with scales / bfloat16": Figure(cost.bytes_in_int8(), most=0.52),
    }


PARTS = {
    "channels": _channels,
    "heads": _heads,
    "depth": _depth,
    "recovery": _recovered,
    "texts": _texts,
    "speed": _speed,
    "cost": _cost,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
