"""Peak memory and time as a plan estimates them, beside what the job takes; last line is JSON.

    make bench-plans

Every job runs in a process of its own, on random models, one thread, on the CPU.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

os.environ["OMP_NUM_THREADS"] = "1"

from app.domain.submission import JobRequest, resolve
from app.planning.machines import Machine
from app.planning.memory import ModelLayout, estimate_memory
from app.planning.model_files.files import read_config
from app.planning.seconds import estimate_seconds
from app.process import memory_limit
from benchmarks.figures import Figure, conclude
from benchmarks.plans.job import ACTIVATIONS
from benchmarks.plans.models import build
from workers.pruning.models.files import open_checkpoint
from workers.runtime.machine import disk_rate, gflops

# The built-in texts have about so many tokens: a plan counts with as many as there may be.
CALIBRATION = {"samples": 64, "batch_size": 16, "max_length": 16}
JOBS = {
    "small-wanda": {"method": "wanda"},
    "small-snip": {"method": "snip"},
    "small-ecoflap-zeroth-order": {
        "method": "ecoflap",
        "parameters": {"estimator": "zeroth-order", "samples": 4},
    },
    "wide-magnitude": {"method": "magnitude"},
    "wide-wanda": {"method": "wanda"},
    "wide-sparsegpt": {"method": "sparsegpt"},
    "wide-multiflow": {"method": "multiflow"},
    "wide-ecoflap": {"method": "ecoflap"},
    "wide-snip": {"method": "snip"},
    "deep-wanda": {"method": "wanda"},
    "deep-global-magnitude": {"method": "magnitude", "parameters": {"scope": "global"}},
}
IMAGES = {"set": "shapes", "samples": 32, "batch_size": 4, "max_length": 32}
SCENES = IMAGES | {"set": "scenes"}
# What the estimate's terms were not chosen by.
UNSEEN = {
    "small-chita": {"method": "chita"},
    "small-ecoflap-first-order": {
        "method": "ecoflap",
        "parameters": {"estimator": "first-order"},
    },
    "opt-sparsegpt": {"method": "sparsegpt"},
    "opt-ecoflap": {"method": "ecoflap"},
    "t5-wanda": {"method": "wanda"},
    "llava-wanda": {"method": "wanda", "calibration": IMAGES},
    "llava-multiflow": {"method": "multiflow", "calibration": IMAGES},
    "llava-sparsegpt": {"method": "sparsegpt", "calibration": IMAGES},
    "wide16-magnitude": {"method": "magnitude"},
    "wide16-wanda": {"method": "wanda"},
    "wide16-sparsegpt": {"method": "sparsegpt"},
    "wide16-ecoflap": {"method": "ecoflap"},
    "wide16-snip": {"method": "snip"},
    "deep16-wanda": {"method": "wanda"},
    "llava16-wanda": {"method": "wanda", "calibration": IMAGES},
    "llava16-ecoflap": {"method": "ecoflap", "calibration": IMAGES},
    "llava-par": {
        "method": "par",
        "parameters": {"rounds": 1, "epochs": 1},
        "calibration": SCENES | {"samples": 16},
        "sparsity": None,
    },
}


# The parts of a recipe beside importance and allocation, and what makes a model smaller.
PARTS = {
    "small-width": {"method": "width", "parameters": {"mlp_removed": 0.5}},
    "wide-width": {"method": "width", "parameters": {"mlp_removed": 0.5}},
    "wide16-width": {"method": "width", "parameters": {"mlp_removed": 0.5}},
    "opt-width": {"method": "width", "parameters": {"mlp_removed": 0.5}},
    "llava-width": {"method": "width", "calibration": IMAGES},
    "deep-width": {"method": "width", "parameters": {"mlp_removed": 0.5}},
    "deep-depth": {"method": "depth", "parameters": {"removed": 0.25}},
    "llava-depth": {
        "method": "depth",
        "parameters": {"removed": 0.25, "score": "output"},
        "calibration": IMAGES,
    },
    "wide-wanda-after-width": {
        "method": "wanda",
        "structure": [{"kind": "width", "mlp_removed": 0.5}],
    },
    "wide-wanda-least-squares": {"method": "wanda", "reconstruction": {"kind": "least-squares"}},
    "wide-admm": {"method": "admm"},
    "llava-admm": {"method": "admm", "calibration": IMAGES},
    "small-recommended": {"method": "recommended"},
    "llava-recommended": {"method": "recommended", "calibration": IMAGES},
    "llava-atv": {"method": "atv", "calibration": IMAGES},
    "small-wanda-recovered": {"method": "wanda", "recovery": {"steps": 20}},
    "small-width-recovered": {
        "method": "width",
        "parameters": {"mlp_removed": 0.5},
        "recovery": {"steps": 20},
    },
}


def measured(directory: Path, request: JobRequest) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.plans.job", directory, request.model_dump_json()],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(chosen: list[str]) -> int:
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        machine = Machine(
            "bench",
            memory_limit(),
            1,
            "cpu",
            0,
            None,
            gflops("cpu", process_time),
            disk_rate(directory),
        )
        print(f"{machine.gflops:.1f} GFLOPS, {machine.disk_rate / 1e6:.0f} MB/s", flush=True)
        for job, asked in (JOBS | UNSEEN | PARTS).items():
            if chosen and job not in chosen:
                continue
            model = job.partition("-")[0]
            if not (directory / model).exists():
                build(directory / model, model)
            told = {"sparsity": 0.5, "calibration": CALIBRATION} | asked
            if told["method"] in {"width", "depth"}:
                del told["sparsity"]
            given = {name: value for name, value in told.items() if value is not None}
            request = JobRequest(model=model, **given)
            tensors = open_checkpoint(directory / model).tensors
            layout = ModelLayout.of(tensors, read_config(directory / model))
            spec = resolve(request)
            memory = estimate_memory(layout, spec, activations=ACTIVATIONS)
            seconds = sum(estimate_seconds(layout, spec, machine).values())
            real = measured(directory, request)
            print(
                f"{job}: estimated {memory.peak / 1e6:.0f} MB, took {real['peak'] / 1e6:.0f}; "
                f"estimated {seconds:.1f} s, took {real['seconds']:.1f}; {memory}",
                flush=True,
            )
            off = abs(memory.peak / real["peak"] - 1)
            figures[f"{job}: memory, estimate off by"] = Figure(off, most=0.25)
            figures[f"{job}: time, estimated / taken"] = Figure(
                seconds / real["seconds"], least=0.5, most=2.0
            )
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
