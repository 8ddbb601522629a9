"""Memory runs out: the batch is halved until it fits, and told in figures where it never does."""

from contextlib import contextmanager

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from app.domain.submission import JobRequest, resolve
from app.errors import ModelRunError, OutOfMemoryError
from tests.families import BY_NAME
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import out_of_memory
from workers.pipeline.run.run import run_with_smaller_batches

MESSAGES = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cuda's own words": RuntimeError("CUDA error: out of memory"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "hip": RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
    "torch on the cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    "python": MemoryError(),
}


class Listener:
    """Keeps the warnings of a run."""

    def __init__(self):
        self.warnings = []

    def event(self, event):
        if event.level == "warning":
            self.warnings.append(event)

    def phase(self, phase): ...

    def progress(self, share): ...

    def check(self): ...

    def wait(self, seconds): ...

    def kept(self): ...


@contextmanager
def room_for(rows, error):
    """A device that holds so many rows at a time."""

    def refuse(_module, inputs):
        for value in inputs:
            if isinstance(value, torch.Tensor) and value.ndim > 1 and len(value) > rows:
                raise error

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture
def context(tmp_path):
    BY_NAME["bert"].build(tmp_path / "models" / "bert")
    request = JobRequest(
        model="bert",
        method="wanda",
        sparsity=0.5,
        calibration={"samples": 8, "batch_size": 8},
        device="cpu",
    )
    (tmp_path / "staging").mkdir()
    return RunContext(
        spec=resolve(request),
        staging=tmp_path / "staging",
        models=ModelAccess((tmp_path / "models",), "http://127.0.0.1:1", tmp_path / "hub"),
        datasets=tmp_path / "datasets",
        checkpoints=CheckpointPlace(tmp_path / "checkpoints", 1 << 20),
        activation_bytes=1 << 30,
        report=Listener(),
    )


@pytest.mark.parametrize("error", MESSAGES.values(), ids=MESSAGES)
def test_the_batch_is_halved_until_it_fits(context, error):
    (context.staging / "left-over").write_text("of the first try")
    with room_for(3, error):
        outcome = run_with_smaller_batches(context)
    assert outcome.result.sparsity == pytest.approx(0.5, abs=0.01)
    assert not (context.staging / "left-over").exists()
    halvings = [event.data["batch_size"] for event in context.report.warnings]
    assert halvings == [4, 2]
    assert all("GB were free" in event.message for event in context.report.warnings)
    manifest = (context.staging / "manifest.json").read_text()
    assert '"batch_size": 2' in manifest, "what was really done is on record"


def test_on_a_gpu_activations_leave_before_batches_are_halved(context, monkeypatch):
    monkeypatch.setattr(out_of_memory, "find_device", lambda *_: torch.device("cuda", 0))
    monkeypatch.setattr(out_of_memory, "_usage", lambda _device: "1.0 GB of 2.0 GB were free")
    context.checkpoints.directory.mkdir()
    first = out_of_memory.smaller(context)
    assert (first.roomy, first.spec.calibration.batch_size) == (False, 8)
    assert context.checkpoints.directory.exists(), "the result is the same bit by bit"
    second = out_of_memory.smaller(first)
    assert (second.roomy, second.spec.calibration.batch_size) == (False, 4)
    assert not context.checkpoints.directory.exists()
    told = [event.message for event in context.report.warnings]
    assert "starting again with activations on the host" in told[0]
    assert "starting again with batches of 4" in told[1]


def test_where_nothing_helps_the_error_has_figures(context):
    with room_for(0, MESSAGES["cuda"]), pytest.raises(OutOfMemoryError, match="GB were free"):
        run_with_smaller_batches(context)
    assert len(context.report.warnings) == 3


def test_other_errors_are_not_tried_again(context):
    with room_for(3, RuntimeError("shape mismatch")), pytest.raises(ModelRunError, match="shape"):
        run_with_smaller_batches(context)
    assert context.report.warnings == []
