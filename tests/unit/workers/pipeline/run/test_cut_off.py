"""A job that is killed while it makes a model smaller comes to the bytes of one that was not."""

import fnmatch
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from app.domain.submission import JobRequest, resolve
from tests.models_of_experts import TEXT
from tests.tiny_models import DECODER, save, tokenizer
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run.run import run
from workers.pruning.calibration import walk

DENSE = {
    "model": "llama",
    "structure": [
        {"kind": "depth", "removed": 0.34, "ends": True},
        {"kind": "width", "mlp_removed": 0.5, "heads_removed": 0.5},
    ],
    "method": "wanda",
    "sparsity": 0.5,
    "quantization": "int8",
}
MIXTURE = {
    "model": "mixtral",
    "structure": [{"kind": "experts", "removed": 0.25}],
    "method": "wanda",
    "sparsity": 0.5,
    "expert_tokens": 1,
}
WEIGHTS = "model.safetensors"

# Where a process dies: at the n-th time that it opens a file of such a name to write it, or puts
# one in place under that name. The next one goes on from what the one before has left.
OF_DENSE = [
    ("rename", "depth*.safetensors", 2),
    ("open", f"{WEIGHTS}.new", 1),  # fewer blocks
    ("rename", WEIGHTS, 1),
    ("open", "config.json", 2),
    ("rename", "width%2Fheads*.safetensors", 1),
    ("rename", "width%2Fmodel*.safetensors", 2),
    ("open", f"{WEIGHTS}.new", 2),  # fewer heads and channels
    ("rename", WEIGHTS, 2),
    ("open", "config.json", 3),
    ("rename", "0%2Fpruned*.safetensors", 1),
    ("open", f"{WEIGHTS}.new", 3),  # 8 bits
    ("rename", WEIGHTS, 3),
    ("open", "config.json", 4),
    ("open", "masks.safetensors", 1),
    ("open", "manifest.json", 1),
]
OF_MIXTURE = [
    ("rename", "experts*.safetensors", 1),
    ("rename", "experts*.safetensors", 2),
    ("open", f"{WEIGHTS}.new", 1),
    ("rename", WEIGHTS, 1),
    ("open", "config.json", 2),
    ("rename", "0%2Fpruned*.safetensors", 1),
]


class Listener:
    """Takes what a run tells; from a phase on, a file of more bytes kills the process."""

    def __init__(self, largest=None):
        self._largest = largest

    def phase(self, phase):
        if self._largest and phase.value == "exporting":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._largest, self._largest))

    def event(self, event): ...

    def kept(self): ...

    def progress(self, share): ...

    def check(self): ...

    def wait(self, seconds): ...


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    config = LlamaConfig(**DECODER | {"num_hidden_layers": 3})
    save(root / "llama", LlamaForCausalLM, config, tokenizer())
    TEXT["mixtral"](root / "mixtral")
    return root


@pytest.fixture(autouse=True)
def _activations_are_always_worth_keeping(monkeypatch):
    monkeypatch.setattr(walk, "_WORTH", 0)


@pytest.fixture
def attempt(models, tmp_path):
    """One attempt at a job: the digest of every file."""

    def carried_out(request, name, listener=None):
        staging = tmp_path / name
        staging.mkdir()
        calibration = {"set": "sentences", "samples": 8, "batch_size": 4}
        asked = JobRequest.model_validate({"device": "cpu", "calibration": calibration} | request)
        context = RunContext(
            spec=resolve(asked),
            staging=staging,
            models=ModelAccess((models,), "http://127.0.0.1:1", tmp_path / "hub"),
            datasets=tmp_path / "datasets",
            checkpoints=CheckpointPlace(tmp_path / "kept", 1 << 30),
            activation_bytes=1 << 30,
            report=listener or Listener(),
        )
        digests = {file.path: file.sha256 for file in run(context).files}
        assert not list(staging.rglob("*.new"))
        return digests

    return carried_out


def dying(attempt):
    """Carry out an attempt in a process of its own; returns the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            attempt()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def killer(happens, pattern, left):
    """An audit hook that kills its process."""

    def see(event, args):
        nonlocal left
        if happens == "open":
            seen = event == "open" and isinstance(args[1], str) and "w" in args[1] and args[0]
        else:
            seen = event == "os.rename" and args[1]
        if seen and fnmatch.fnmatchcase(Path(os.fsdecode(seen)).name, pattern):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return see


@pytest.mark.parametrize(
    ("job", "moments"), [(DENSE, OF_DENSE), (MIXTURE, OF_MIXTURE)], ids=["dense", "mixture"]
)
def test_killed_anywhere_it_goes_on_with_the_same_bits(attempt, tmp_path, job, moments):
    whole = attempt(job, "whole")
    shutil.rmtree(tmp_path / "kept")
    for number, moment in enumerate(moments):

        def killed(moment=moment, number=number):
            sys.addaudithook(killer(*moment))
            attempt(job, f"attempt-{number}")

        assert dying(killed) == signal.SIGKILL, moment
    assert attempt(job, "last") == whole


def test_killed_in_the_middle_of_the_quantised_weights_it_goes_on(attempt, tmp_path):
    whole = attempt(DENSE, "whole")
    shutil.rmtree(tmp_path / "kept")
    half = (tmp_path / "whole" / WEIGHTS).stat().st_size // 2
    assert dying(lambda: attempt(DENSE, "first", Listener(half))) == signal.SIGXFSZ
    assert 0 < (tmp_path / "first" / f"{WEIGHTS}.new").stat().st_size <= half
    assert attempt(DENSE, "last") == whole
