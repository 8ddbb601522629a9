"""Ratios of paired rounds, and how sure their intervals are."""

from itertools import product

import pytest

from app.recipes.performance import Amount, PerformanceReport, Shapes, Timing, confidence

PERFORMANCE = PerformanceReport(
    device="cpu",
    threads=2,
    dtype="bfloat16",
    shapes=Shapes(batch=1, tokens=512, image_tokens=100, image=(448, 448), answer=32),
    rounds=3,
    confidence=confidence(3),
    together=False,
    bytes=Amount(dense=1000, result=750),
    peak_bytes=Amount(dense=5000, result=4500),
    seconds={
        "prefill": Timing.of([2.0] * 3, [1.0] * 3),
        "decode": Timing.of([0.25] * 3, [0.125, 0.1875, 0.25]),
    },
)


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_of_the_times():
    found = Timing.of([1.0, 2.0, 100.0], [0.5, 4.0, 50.0])
    assert found.ratio.value == 0.5
    assert (found.dense, found.result) == (2.0, 4.0)
    assert (found.ratio.low, found.ratio.high) == (0.5, 2.0)


def test_nine_rounds_leave_out_the_smallest_and_the_largest():
    ratios = [9.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 0.1]
    found = Timing.of([1.0] * 9, ratios).ratio
    assert (found.low, found.value, found.high) == (1.0, 1.3, 1.6)


@pytest.mark.parametrize("rounds", range(1, 13))
def test_the_confidence_is_the_share_of_samples_whose_interval_holds_the_median(rounds):
    # Values fall on either side of the median as a coin does: all ways they can fall.
    held = 0
    for sides in product((0.5, 2.0), repeat=rounds):
        found = Timing.of([1.0] * rounds, sides).ratio
        held += found.low < 1 < found.high
    assert confidence(rounds) == pytest.approx(held / 2**rounds)


def test_few_rounds_are_told_to_be_less_sure():
    assert confidence(1) == 0
    assert confidence(4) == pytest.approx(0.875)
    assert confidence(9) >= 0.95


def test_what_counts_is_the_time_of_a_token_where_some_are_written():
    prefill, decode = Timing.of([2.0], [1.0]), Timing.of([4.0], [1.0])
    report = PerformanceReport.model_construct(seconds={"prefill": prefill, "decode": decode})
    assert report.time is decode
    assert PerformanceReport.model_construct(seconds={"encode": prefill}).time is prefill
