"""Seconds of jobs beside those of jobs that do less; how near they come is a bench's matter."""

from dataclasses import replace

import pytest

from app.domain.jobs import Phase
from app.domain.submission import JobRequest, resolve
from app.planning.machines import Machine
from app.planning.memory import ModelLayout
from app.planning.model_files.headers import StoredTensor
from app.planning.routing_seconds import Pace, estimate_routing
from app.planning.seconds import estimate_seconds
from app.recipes.routing import Routing, TokensAndLayers

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


def pruning(method, *, layout=LAYOUT, machine=MACHINE, calibration=CALIBRATION, **more):
    sparsity = {} if method in {"width", "depth", "par"} else {"sparsity": 0.5}
    request = JobRequest(model="m", method=method, calibration=calibration, **sparsity, **more)
    return estimate_seconds(layout, resolve(request), machine)[Phase.PRUNING]


def zeroth_order(calibration=CALIBRATION, **settings):
    parameters = {"estimator": "zeroth-order"} | settings
    return pruning("ecoflap", calibration=calibration, parameters=parameters)


@pytest.mark.parametrize("method", ["wanda", "width", "depth"])
def test_training_counts_whatever_was_done_before(method):
    none, few, more, most = (
        pruning(method, recovery={"steps": steps} if steps else None) for steps in (0, 5, 105, 205)
    )
    assert none < few < more
    assert most - more == pytest.approx(more - few, abs=0.03)  # they are rounded


def test_a_solver_counts_its_rounds():
    few, many = (pruning("admm", parameters={"rounds": n, "steps": 1}) for n in (1, 16))
    products = WIDTH**2 * (2 * WIDTH + INNER) + WIDTH * INNER**2
    assert many - few > 15 * 2 * BLOCKS * products / (MACHINE.gflops * 1e9)


def test_solving_after_a_mask_costs_more_than_the_mask():
    assert pruning("wanda", reconstruction={"kind": "least-squares"}) > 2 * pruning("wanda")


def test_zeroth_order_counts_whole_batches_and_both_signs_of_every_draw():
    assert zeroth_order(samples=4) == zeroth_order(samples=16)
    assert zeroth_order(samples=4) < zeroth_order(samples=17)
    rest = pruning("wanda")
    assert zeroth_order(samples=4, draws=4) - rest > 3.5 * (zeroth_order(samples=4) - rest)


def test_small_batches_take_longer():
    assert pruning("wanda", calibration=CALIBRATION | {"batch_size": 1}) > pruning("wanda")


def test_predictions_count_where_the_loss_is_asked_for():
    spoken = replace(LAYOUT, vocabulary=64_000)
    assert pruning("snip", layout=spoken) > 1.5 * pruning("snip")
    assert pruning("wanda", layout=spoken) == pruning("wanda")


def test_chita_differentiates_again_for_every_block():
    assert pruning("chita") > 3 * pruning("snip")


@pytest.mark.parametrize(("few", "many"), [(0.25, 0.5), (0.5, 0.75)])
def test_leaving_out_by_outputs_tries_each_block_that_is_left(few, many):
    """Of 8 blocks 6 may go: 6 are tried for the first, 5 for the second."""
    known = pruning("depth", parameters={"removed": 0.125})
    first, few, many = (
        pruning("depth", parameters={"removed": removed, "score": "output"}) - known
        for removed in (0.125, few, many)
    )
    assert first < few < many < 4 * first


def test_a_router_is_mined_with_candidates_and_hardly_trained():
    def par(**parameters):
        return pruning("par", parameters={"rounds": 1, "candidates": 8} | parameters)

    assert par(epochs=100) == par(epochs=1)
    assert par(candidates=16) > 1.3 * par()
    assert par(rounds=4) > 2 * par()
    assert par(profile="turbo") < par(profile="quality")


def test_pictures_that_a_router_is_trained_on_are_asked_twice():
    routing = Routing(budget=TokensAndLayers(tokens=0.5), candidates=8, held_out=0.2, rounds=1)
    pace = Pace(vision=0, decoder=0, batch=1)  # every forward pass is a second

    def seconds(rounds):
        longer = routing.model_copy(update={"rounds": rounds})
        return estimate_routing(LAYOUT, pace, longer, samples=100, text=0)

    candidates = (16 + 8 + 16) / 3  # with tokens, half of them at half and at a quarter
    assert seconds(2) - seconds(1) == pytest.approx(2 * 80 * (1 + candidates) + 10 * 2)


def test_reading_weights_takes_longer_on_a_cpu():
    gpu = replace(MACHINE, device="cuda", devices=1, device_bytes=1 << 34)
    assert pruning("wanda", machine=gpu) < pruning("wanda")


def test_walks_are_faster_in_half_precision_and_gradients_are_not():
    stored = replace(LAYOUT, width=2)
    assert pruning("wanda", layout=stored) < 0.9 * pruning("wanda")
    assert pruning("wanda", dtype="bfloat16") < 0.9 * pruning("wanda")
    assert pruning("wanda", layout=stored, dtype="float32") > pruning("wanda", layout=stored)
    assert pruning("snip", dtype="bfloat16") == pruning("snip")
