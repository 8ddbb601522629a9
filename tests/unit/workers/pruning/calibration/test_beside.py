import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.pruning.calibration.beside import HeldOut, PairedMoments
from workers.pruning.calibration.statistics import mirrored
from workers.pruning.memory import Memory


def paired(batches, held, memory):
    found = PairedMoments(batches[0][0].shape[1], torch.device("cpu"))
    for number, (pruned, dense) in enumerate(batches):
        found.add_pair(pruned, dense, 2)
        if number in held:
            found.held.append(HeldOut((memory.keep(pruned), memory.keep(dense)), 2, memory))
    return found


@given(
    seed=st.integers(0, 1 << 16),
    features=st.sampled_from([3, 512, 1100]),
    held=st.sets(st.integers(0, 3), min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_what_is_shown_is_what_the_other_batches_sum_up_to(seed, features, held, dtype):
    draw = torch.Generator().manual_seed(seed)
    batches = [
        tuple(torch.randn(9, features, generator=draw).to(dtype) for _ in range(2))
        for _ in range(4)
    ]
    moments, cross = paired(batches, held, Memory()).shown()
    others = [batch for number, batch in enumerate(batches) if number not in held]
    wanted = paired(others, (), Memory())
    assert torch.allclose(mirrored(moments), mirrored(wanted.moments()), atol=1e-5)
    assert torch.allclose(cross, wanted.cross_moments(), atol=1e-5)


def test_what_is_held_out_waits_on_disk_where_activations_do(tmp_path):
    memory = Memory(activations=0, scratch=tmp_path)
    batches = [(torch.randn(300, 80), torch.randn(300, 80)) for _ in range(2)]
    statistic = paired(batches, {1}, memory)
    assert all(kept.data_ptr() in memory._spilled for kept in statistic.held[0].kept)
    for (pruned, dense), (first, second) in zip(
        statistic.tokens_held_out(), batches[1:], strict=True
    ):
        assert torch.equal(pruned, first)
        assert torch.equal(dense, second)


def test_a_tied_weight_holds_out_what_any_caller_does():
    batches = [(torch.randn(9, 4), torch.randn(9, 4)) for _ in range(4)]
    first, second = paired(batches, {1}, Memory()), paired(batches, {3}, Memory())
    first.merge(second)
    assert len(list(first.tokens_held_out())) == 2
    moments, _ = first.shown()
    shown = paired([*(batches[n] for n in (0, 2, 3)), *batches[:3]], (), Memory())
    assert torch.allclose(mirrored(moments), mirrored(shown.moments()), atol=1e-5)


def test_without_a_pair_nothing_is_known_of_the_dense_model():
    with pytest.raises(ValueError, match="no pair"):
        PairedMoments(4, torch.device("cpu")).cross_moments()
