"""Jobs on the devices and in the types they ask for; what has a GPU runs the same on it."""

import pytest
import torch

from app.domain.submission import JobRequest, resolve
from app.planning.machines import NoWorkerError
from app.recipes.methods import WEIGHT_METHODS
from tests.families import BY_NAME, records
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.stages import load
from workers.pruning.engine.prune import prune
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.precision import find_device, set_precision
from workers.pruning.models.loading import load_model

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


@pytest.fixture
def opened(tmp_path):
    """The adapter of a job that asks for these, its staging directory and its recipe."""

    def open_model(family, method="magnitude", **asked):
        source, staging = tmp_path / family, tmp_path / "staging"
        BY_NAME[family].build(source)
        copy_checkpoint(source, staging)
        request = JobRequest(model=family, method=method, sparsity=0.5, **asked)
        context = RunContext(
            spec=resolve(request),
            staging=staging,
            models=ModelAccess((tmp_path,), "http://127.0.0.1:1", tmp_path),
            datasets=tmp_path,
            checkpoints=CheckpointPlace(tmp_path / "kept", 0),
            activation_bytes=1 << 30,
            report=None,
        )
        return (
            adapt(load(context, source)),
            staging,
            context.spec.recipe,
        )

    return open_model


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", sorted(WEIGHT_METHODS))
def test_every_method_computes_there_and_writes_back(opened, method, device):
    adapter, staging, recipe = opened("llava", method, device=device)
    assert {p.device.type for p in adapter.model.parameters()} == {device}
    batches = list(adapter.batches(records("pair"), batch_size=3, max_length=24))
    report = prune(adapter, recipe, batches if WEIGHT_METHODS[method].needs_data else ())
    assert {p.device.type for p in adapter.model.parameters()} == {device}
    write_back(staging, adapter.matrices, adapter.memory)
    written = {m.name: m.weight for m in adapt(load_model(staging)).matrices}
    for matrix in report.matrices:
        assert int((written[matrix.module] == 0).sum()) == matrix.zeros
    assert report.model.sparsity == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_files_keep_their_type_whatever_is_computed_in(opened, dtype, device):
    adapter, staging, recipe = opened("bert", device=device, dtype=dtype)
    shown = {parameter.dtype for parameter in adapter.model.parameters()}
    assert shown == {getattr(torch, dtype)}
    prune(adapter, recipe)
    write_back(staging, adapter.matrices, adapter.memory)
    assert {m.weight.dtype for m in adapt(load_model(staging)).matrices} == {torch.float32}


def test_auto_is_what_the_worker_says():
    assert find_device("auto", "cpu") == find_device("cpu", "cuda:7") == torch.device("cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert find_device("auto").type == best


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(NoWorkerError, match="there is no cuda:99"):
        find_device("cuda:99")


def test_products_are_exact_unless_asked_otherwise():
    try:
        set_precision(tf32=True)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        set_precision(tf32=False)
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    finally:
        torch.backends.fp32_precision = "none"
