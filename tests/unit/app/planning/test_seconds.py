"""Seconds of jobs beside those of jobs that do less; how near they come is a bench's matter."""

import pytest

from app.domain.jobs import Phase
from app.domain.submission import JobRequest, resolve
from app.planning.machines import Machine
from app.planning.memory import ModelLayout
from app.planning.model_files.headers import StoredTensor
from app.planning.seconds import estimate_seconds

WIDTH, INNER, BLOCKS = 512, 1408, 8
MACHINE = Machine("slow", 1 << 34, 1, "cpu", 0, None, gflops=50.0, disk_rate=1e9)
LAYOUT = ModelLayout.of(
    {
        f"model.layers.{block}.{name}.weight": StoredTensor(shape)
        for block in range(BLOCKS)
        for name, shape in {
            "self_attn.q_proj": (WIDTH, WIDTH),
            "self_attn.o_proj": (WIDTH, WIDTH),
            "mlp.up_proj": (INNER, WIDTH),
            "mlp.down_proj": (WIDTH, INNER),
        }.items()
    },
    {"model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": BLOCKS},
)
CALIBRATION = {"samples": 64, "batch_size": 16, "max_length": 16}


def pruning(method, **more):
    sparsity = {} if method in {"width", "depth"} else {"sparsity": 0.5}
    request = JobRequest(model="m", method=method, calibration=CALIBRATION, **sparsity, **more)
    return estimate_seconds(LAYOUT, resolve(request), MACHINE)[Phase.PRUNING]


@pytest.mark.parametrize("method", ["wanda", "width", "depth"])
def test_training_counts_whatever_was_done_before(method):
    none, few, more, most = (
        pruning(method, recovery={"steps": steps} if steps else None) for steps in (0, 1, 101, 201)
    )
    assert none < few < more
    assert most - more == pytest.approx(more - few, abs=0.03)  # they are rounded


def test_a_solver_counts_its_rounds():
    few, many = (pruning("admm", parameters={"rounds": n, "steps": 1}) for n in (1, 16))
    products = WIDTH**2 * (2 * WIDTH + INNER) + WIDTH * INNER**2
    assert many - few > 15 * 2 * BLOCKS * products / (MACHINE.gflops * 1e9)


def test_solving_after_a_mask_costs_more_than_the_mask():
    assert pruning("wanda", reconstruction={"kind": "least-squares"}) > 2 * pruning("wanda")
