"""`make bench-structure`: quality and time of smaller models; last line JSON. QUICK=1 for less.

Quality of both scenes models with half and a quarter of the MLP channels, by plain magnitude, by
energy and as `width` does it, and without one of four language blocks. Then the time of reduced
models beside dense ones, and the bytes they take once loaded.
"""

import sys
from itertools import product

import torch

from app.recipes.modality import Modality
from app.recipes.structure import Depth, Step, Width
from benchmarks.figures import Figure, conclude
from benchmarks.quality.texts import prepare
from benchmarks.structure import speed
from benchmarks.structure.quality import Sample, dense, reduced

FULL = Sample(calibration=256, evaluation=500, draws=3)
QUICK = Sample(calibration=64, evaluation=200, draws=1)
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
ONE_OF_FOUR = Depth(removed={Modality.LANGUAGE: 0.25}, ends=True)


def main(arguments: list[str]) -> int:
    """Print tables; returns the exit code."""
    torch.set_num_threads(1)
    sample = QUICK if "quick" in arguments else FULL
    figures: dict[str, Figure] = {}
    for subject in ("scenes-llava", "scenes-clip"):
        figures[f"{subject}, dense"] = Figure(dense(subject, sample))
        for kept, how in product((0.5, 0.25), HOW):
            step = Width(mlp_removed=1 - kept, **HOW[how])  # type: ignore[arg-type]  # by name
            least = ASKED[subject, kept] if how == "width" else None
            figures[f"{subject}, MLP kept {kept:g}, {how}"] = _quality(subject, step, sample, least)
    name = "scenes-llava, one of four language blocks left out, by influence"
    figures[name] = _quality("scenes-llava", ONE_OF_FOUR, sample, 0.80)
    if "speed" in arguments or sample is FULL:
        figures |= _speed()
    return conclude(figures)


def _quality(subject: str, step: Step, sample: Sample, least: float | None) -> Figure:
    found = reduced(subject, step, sample)
    print(
        f"{subject} {step.kind} {step.asked}: {found.value:.3f}, {found.ratio:.1%} of the "
        f"parameters in blocks, {found.seconds:.1f} s",
        flush=True,
    )
    return Figure(found.value, least=least)


def _speed() -> dict[str, Figure]:
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
