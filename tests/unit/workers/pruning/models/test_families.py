"""Every family: towers, file keys, inputs, replay, loss, export."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.families import FAMILIES, records
from tests.models_without_adapter import UNSEEN
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.models.layout.replay import BatchRun, TowerPass
from workers.pruning.models.loading import load_model
from workers.pruning.models.losses import next_token_labels

Directory = Callable[[str], Path]
Dense = Callable[[str], Adapter]
ROWS = {family.name: family for family in (*FAMILIES, *UNSEEN)}
EVERY_FAMILY = pytest.mark.parametrize("name", sorted(ROWS))


@pytest.fixture(scope="module")
def dense(family_directory: Directory) -> Callable[[str], Adapter]:
    """Adapter of the named family, loaded once; tests leave its model as it was."""
    return functools.cache(lambda name: adapt(load_model(family_directory(name))))


def batches_of(name: str, adapter: Adapter) -> list[dict[str, Tensor]]:
    made = records(ROWS[name].kind)
    return list(adapter.batches(made, batch_size=3, max_length=24))


@EVERY_FAMILY
def test_towers_are_the_expected_ones(name: str, dense: Dense) -> None:
    towers = dense(name).towers
    assert {
        tower.name: (
            tower.modality,
            len(tower.blocks),
            sum(len(block.matrices) for block in tower.blocks),
        )
        for tower in towers
    } == ROWS[name].towers
    for tower in towers:
        assert {m.modality for block in tower.blocks for m in block.matrices} == {tower.modality}


@EVERY_FAMILY
def test_file_keys_name_the_tensor_that_was_loaded(
    name: str, dense: Dense, family_directory: Directory
) -> None:
    matrices = dense(name).matrices
    stored = load_file(family_directory(name) / "model.safetensors")
    assert len({(m.file_key, m.file_row) for m in matrices}) == len(matrices)
    for matrix in matrices:
        if matrix.source is not None:  # put together from several tensors, of which this is one
            assert torch.equal(stored[matrix.file_key], matrix.weight), matrix.name
            continue
        rows = slice(matrix.file_row, matrix.file_row + len(matrix.parameter))
        assert torch.equal(stored[matrix.file_key][rows], matrix.parameter.detach()), matrix.name
        for key in matrix.copies:
            assert torch.equal(stored[key], matrix.parameter.detach()), matrix.name


@EVERY_FAMILY
def test_replay_block_by_block_equals_the_model(name: str, dense: Dense) -> None:
    adapter = dense(name)
    assert_replay_equals_the_model(adapter, batches_of(name, adapter))


def assert_replay_equals_the_model(adapter: Adapter, batches: Iterable[dict[str, Tensor]]) -> None:
    for batch in batches:
        expected, reached = true_outputs(adapter, batch)
        run = BatchRun(adapter, batch)
        for tower in adapter.towers:
            passes = run.enter(tower)
            assert len(passes) == reached[tower.name]
            got = []
            for step in passes:
                for index, block in enumerate(tower.blocks):
                    args, kwargs = step.inputs(index)
                    with torch.no_grad():
                        output = block.module(*args, **kwargs)
                    step.advance(index, output)
                    got.append(hidden_of(output))
            assert len(got) == len(expected[tower.name])
            for mine, theirs in zip(got, expected[tower.name], strict=True):
                assert torch.equal(mine, theirs), tower.name


@pytest.mark.parametrize(
    ("layers", "read"), [(-2, (1,)), (-1, (2,)), ([1, -1], (0, 2)), ([2, 0], (1,)), ([0], ())]
)
def test_of_vision_blocks_those_are_kept_that_llava_reads(
    layers: int | list[int], read: tuple[int, ...], family_directory: Directory
) -> None:
    loaded = load_model(family_directory("llava"))
    loaded.config.vision_feature_layer = loaded.model.config.vision_feature_layer = layers
    projector = loaded.model.model.multi_modal_projector
    width = projector.linear_1.in_features * (len(layers) if isinstance(layers, list) else 1)
    projector.linear_1 = nn.Linear(width, projector.linear_1.out_features)
    adapter = adapt(loaded)
    assert adapter.towers[0].feeds == read
    assert_replay_equals_the_model(adapter, batches_of("llava", adapter))


def true_outputs(
    adapter: Adapter, batch: dict[str, Tensor]
) -> tuple[dict[str, list[Tensor]], dict[str, int]]:
    """Hidden states after every block, and passes per tower, in the model's own forward."""
    outputs: dict[str, list[Tensor]] = {tower.name: [] for tower in adapter.towers}
    handles = [
        block.module.register_forward_hook(
            lambda _m, _a, out, name=tower.name: outputs[name].append(hidden_of(out).clone())
        )
        for tower in adapter.towers
        for block in tower.blocks
    ]
    with torch.no_grad():
        adapter.forward(batch)
    for handle in handles:
        handle.remove()
    return outputs, {t.name: len(outputs[t.name]) // len(t.blocks) for t in adapter.towers}


@EVERY_FAMILY
def test_every_observable_matrix_is_used_by_a_forward(name: str, dense: Dense) -> None:
    adapter = dense(name)
    used: set[str] = set()
    handles = [
        caller.register_forward_hook(lambda *_, name=matrix.name: used.add(name))
        for matrix in adapter.matrices
        for caller in matrix.callers
    ]
    with torch.no_grad():
        adapter.forward(batches_of(name, adapter)[0])
    for handle in handles:
        handle.remove()
    assert used == {matrix.name for matrix in adapter.matrices if matrix.callers}


@EVERY_FAMILY
def test_padding_is_excluded_everywhere(name: str, family_directory: Directory) -> None:
    """Every input of a matrix has as many real tokens alone as in a padded batch."""
    adapter = adapt(load_model(family_directory(name)), include_bridge=True)
    made = records(ROWS[name].kind)
    one = real_tokens(adapter, adapter.batches(made, batch_size=1, max_length=24))
    many = real_tokens(adapter, adapter.batches(made, batch_size=len(made), max_length=24))
    assert one == many


def real_tokens(adapter: Adapter, batches: Iterable[dict[str, Tensor]]) -> Counter[str]:
    """Real tokens every matrix is shown in a run over all towers."""
    seen: Counter[str] = Counter()
    steps: list[TowerPass] = []

    def count(name: str) -> Callable[..., None]:
        def hook(_module: object, args: tuple[Tensor, ...]) -> None:
            if steps:
                mask = steps[-1].mask_of(args[0])
                seen[name] += args[0][..., 0].numel() if mask is None else int(mask.sum())

        return hook

    handles = [
        caller.register_forward_pre_hook(count(matrix.name))
        for matrix in adapter.matrices
        for caller in matrix.callers
    ]
    for batch in batches:
        run = BatchRun(adapter, batch)
        for tower in adapter.towers:
            for step in run.enter(tower):
                for index, block in enumerate(tower.blocks):
                    args, kwargs = step.inputs(index)
                    steps.append(step)
                    with torch.no_grad():
                        step.advance(index, block.module(*args, **kwargs))
                    steps.clear()
    for handle in handles:
        handle.remove()
    return seen


@EVERY_FAMILY
def test_loss_is_finite_and_reaches_every_tower(name: str, dense: Dense) -> None:
    adapter = dense(name)
    loss = adapter.loss(batches_of(name, adapter)[0])
    loss.backward()
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    for tower in adapter.towers:
        assert any(m.parameter.grad is not None for m in tower.blocks[0].matrices), tower.name


@EVERY_FAMILY
def test_the_loss_is_that_of_all_logits(name: str, dense: Dense) -> None:
    adapter = dense(name)
    model, batch = adapter.model, batches_of(name, adapter)[0]
    if "labels" in batch or not model.can_generate() or "labels" not in adapter.accepted:
        return  # no next token is predicted
    labels = next_token_labels(model, batch)
    with torch.no_grad():
        whole = adapter.call(batch, labels=labels).loss
        assert adapter.loss(batch).item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_5_vl", "gemma3", "mllama", "smolvlm"])
def test_logits_are_made_where_something_is_predicted(name: str, dense: Dense) -> None:
    adapter = dense(name)
    batch = batches_of(name, adapter)[0]
    labels = next_token_labels(adapter.model, batch)
    predicted = (labels[:, 1:] != IGNORED_LABEL).any(0).sum()
    made = []
    head = adapter.model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, args, logits: made.append(logits.shape[1]))
    try:
        adapter.loss(batch)
        adapter.call(batch)
    finally:
        handle.remove()
    assert made == [predicted, labels.shape[1]]
    assert made[0] < made[1]


@EVERY_FAMILY
def test_export_is_what_plain_transformers_loads(
    name: str, family_directory: Directory, tmp_path: Path
) -> None:
    source = family_directory(name)
    adapter = adapt(load_model(source), include_bridge=True)
    for matrix in adapter.matrices:
        matrix.weight[::2, 1::3] = 0
    export_checkpoint(source, tmp_path / "out", adapter.matrices)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    plain = getattr(transformers, config.architectures[0]).from_pretrained(tmp_path / "out")
    expected = adapter.model.state_dict()
    assert {k: v.dtype for k, v in plain.state_dict().items()} == {
        k: v.dtype for k, v in expected.items()
    }
    assert all(torch.equal(value, expected[key]) for key, value in plain.state_dict().items())
