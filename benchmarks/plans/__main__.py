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

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.checkpoint_headers import read_headers
from app.domain.anatomy import Anatomy
from app.domain.machines import Machine
from app.domain.memory_estimate import estimate_memory
from app.domain.submission import JobRequest, resolve
from app.domain.time_estimate import estimate_seconds
from app.model_directory import read_config
from benchmarks.figures import Figure, conclude
from benchmarks.models.tokenizer import build_tokenizer
from benchmarks.plans.job import ACTIVATIONS
from workers.machine import disk_rate, gflops, memory_limit

# Hidden size, inner size, layers, vocabulary: 0.2, 0.7 and 1.3 GB of float32.
MODELS = {
    "small": (512, 1408, 8, 16_000),
    "wide": (2048, 5504, 3, 8_000),
    "deep": (1024, 2816, 20, 32_000),
}
CALIBRATION = {"samples": 16, "batch_size": 4, "max_length": 128}
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


def build(directory: Path, name: str) -> None:
    hidden, inner, layers, vocabulary = MODELS[name]
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        vocab_size=vocabulary,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).save_pretrained(directory / name)
    build_tokenizer(end=True).save_pretrained(directory / name)


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
            "bench", memory_limit(), 1, "cpu", 0, None, gflops("cpu"), disk_rate(directory)
        )
        print(f"{machine.gflops:.1f} GFLOPS, {machine.disk_rate / 1e6:.0f} MB/s", flush=True)
        for job, asked in JOBS.items():
            if chosen and job not in chosen:
                continue
            model = job.partition("-")[0]
            if not (directory / model).exists():
                build(directory, model)
            request = JobRequest(model=model, sparsity=0.5, calibration=CALIBRATION, **asked)
            tensors = read_headers(directory / model)
            anatomy = Anatomy.of(tensors, read_config(directory / model))
            spec = resolve(request)
            memory = estimate_memory(anatomy, spec, activations=ACTIVATIONS)
            seconds = sum(estimate_seconds(anatomy, spec, machine).values())
            real = measured(directory, request)
            print(
                f"{job}: estimated {memory.peak / 1e6:.0f} MB, took {real['peak'] / 1e6:.0f}; "
                f"estimated {seconds:.1f} s, took {real['seconds']:.1f}; {memory}",
                flush=True,
            )
            off = abs(memory.peak / real["peak"] - 1)
            figures[f"{job}: memory, estimate off by"] = Figure(off, most=0.25)
            figures[f"{job}: time, estimated / taken"] = Figure(seconds / real["seconds"])
    return conclude(figures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
