"""A pruned model stays sparse whatever trains it."""

import ast
import sys
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from app.recipes.recipe import build_recipe
from tests.families import records
from workers.pipeline.export import write_masks
from workers.pruning.engine.prune import prune
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.selection import keep_sparse
from workers.pruning.selection.keep_sparse import KeepSparse, pack, read_masks, unpack


@pytest.fixture
def pruned(family_directory, tmp_path):
    """Makes the files of a pruned model of a family."""

    def make(family, **options):
        adapter = adapt(load_model(family_directory(family)), **options)
        recipe = build_recipe("magnitude", {}, "unstructured", sparsity=0.6, ignore=("*.1.*",))
        report = prune(adapter, recipe)
        export_checkpoint(family_directory(family), tmp_path, adapter.matrices)
        write_masks(tmp_path, adapter, report.matrices)
        return tmp_path, report

    return make


def masked(model, masks):
    """Weights that must be zero, and those among them that are."""
    gone = zero = 0
    parameters = dict(model.named_parameters())
    for mask in read_masks(masks):
        weight = next(parameters[name] for name in mask.names if name in parameters)
        gone += int((~mask.kept).sum())
        zero += int((weight[~mask.kept] == 0).sum())
    return gone, zero


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_packing_is_reversible_and_as_numpy_packs(shape, seed):
    kept = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.5
    bits = pack(kept)
    assert torch.equal(unpack(bits, shape), kept)
    numpy = pytest.importorskip("numpy", reason="a dependency of the worker")
    assert bits.tolist() == numpy.packbits(kept.flatten().numpy()).tolist()


@pytest.mark.parametrize("family", ["llava", "gpt2", "blip_caption", "t5", "siglip", "qwen2_vl"])
def test_masks_are_the_zeros_by_file_key(family, pruned):
    directory, report = pruned(family)
    stored = keep_sparse.safe_open(directory / "model.safetensors", framework="pt")
    with keep_sparse.safe_open(directory / "masks.safetensors", framework="pt") as bits:
        assert set(bits.keys()) >= {matrix.file_key for matrix in report.matrices}
        tensors = keep_sparse.json.loads(bits.metadata()["tensors"])
        for key in bits.keys():  # noqa: SIM118 - safetensors files do not iterate
            kept = unpack(bits.get_tensor(key), tensors[key]["shape"])
            assert torch.equal(kept, stored.get_tensor(key) != 0)
    model = getattr(
        transformers, transformers.AutoConfig.from_pretrained(directory).architectures[0]
    ).from_pretrained(directory)
    gone, zero = masked(model, directory / "masks.safetensors")
    assert gone == zero == report.model.zeros


def test_a_part_of_a_fused_projection(pruned):
    directory, report = pruned("blip_caption", split_qkv=True)
    gone = sum(int((~mask.kept).sum()) for mask in read_masks(directory / "masks.safetensors"))
    assert gone == report.model.zeros


OPTIMISERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
    # Its update mixes rows and columns, so zero gradients do not stay zero.
    "muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=1e-2),
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_zeros_survive_any_optimiser(optimiser, pruned):
    directory, _ = pruned("llama")
    model = transformers.LlamaForCausalLM.from_pretrained(directory)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with KeepSparse(model, directory / "masks.safetensors") as keeper:
        step = OPTIMISERS[optimiser](model.parameters())
        for seed in range(3):
            ids = torch.randint(0, 60, (2, 8), generator=torch.Generator().manual_seed(seed))
            model(input_ids=ids, labels=ids).loss.backward()
            step.step()
            step.zero_grad()
            assert keeper.revived() == 0
    gone, zero = masked(model, directory / "masks.safetensors")
    assert gone == zero > 0
    assert any(not torch.equal(value, before[n]) for n, value in model.named_parameters())
    assert all(p._backward_hooks in (None, {}) for p in model.parameters())


def test_gradients_of_pruned_weights_are_zero_and_frozen_parameters_stay_frozen(pruned):
    directory, report = pruned("bert")
    model = load_model(directory).model
    frozen, *others = [model.get_submodule(each.module).weight for each in report.matrices[:3]]
    frozen.requires_grad_(False)
    for parameter in others:
        parameter.requires_grad_(True)
    with KeepSparse(model, directory / "masks.safetensors") as keep:
        sum(parameter.sum() for parameter in others).backward()
        assert frozen.grad is None
        for parameter in others:
            assert not parameter.grad[parameter == 0].any()
            assert parameter.grad[parameter != 0].all()
        assert keep.revived() == 0


def test_zeros_would_not_survive_without_it(pruned):
    directory, _ = pruned("llama")
    model = transformers.LlamaForCausalLM.from_pretrained(directory)
    ids = torch.arange(3, 9)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    torch.optim.SGD(model.parameters(), lr=1e-2).step()
    gone, zero = masked(model, directory / "masks.safetensors")
    assert zero < gone


@pytest.mark.parametrize("family", ["llava", "bert"])
def test_fine_tuning_with_the_trainer(family, pruned, tmp_path):
    """LLaVA's file keys are not its parameters' names; BERT gets a new head around it."""
    directory, _ = pruned(family)
    masks = directory / "masks.safetensors"
    rows, model = TASKS[family](directory)
    options = transformers.TrainingArguments(
        tmp_path / "run",
        max_steps=3,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
    )
    before = {name: value.clone() for name, value in model.named_parameters()}
    with KeepSparse(model, masks) as keeper:
        transformers.Trainer(model, options, train_dataset=rows).train()
        assert keeper.revived() == 0
    changed = [n for n, value in model.named_parameters() if not torch.equal(value, before[n])]
    model.save_pretrained(tmp_path / "tuned")
    again = type(model).from_pretrained(tmp_path / "tuned")
    with KeepSparse(again, masks) as keeper:
        gone = sum(int((~mask.kept).sum()) for mask in read_masks(masks))
        assert gone > 0
    assert changed
    for name, weight in model.named_parameters():
        assert torch.equal(weight, dict(again.named_parameters())[name]), name


def captions(directory):
    adapter = adapt(load_model(directory))
    batches = list(adapter.batches(records("pair", 4), batch_size=4, max_length=16))
    rows = [{key: value[i] for key, value in batches[0].items()} for i in range(4)]
    for row in rows:
        row["labels"] = row["input_ids"]
    return rows, transformers.LlavaForConditionalGeneration.from_pretrained(directory)


def labels(directory):
    rows = [{"input_ids": torch.arange(3, 9), "labels": torch.tensor(i % 2)} for i in range(4)]
    return rows, transformers.BertForSequenceClassification.from_pretrained(directory)


TASKS = {"llava": captions, "bert": labels}


def test_a_model_without_such_parameters_is_refused(pruned):
    directory, _ = pruned("bert")
    with pytest.raises(KeyError, match="no parameter of this model could be"):
        KeepSparse(nn.Linear(3, 3), directory / "masks.safetensors")


def test_an_ambiguous_model_is_refused(pruned):
    directory, _ = pruned("bert")
    twins = nn.ModuleList(transformers.BertModel.from_pretrained(directory) for _ in range(2))
    with pytest.raises(KeyError, match="2 parameters"):
        KeepSparse(twins, directory / "masks.safetensors")


def test_the_file_needs_torch_and_safetensors_alone():
    tree = ast.parse(Path(keep_sparse.__file__).read_text(encoding="utf-8"))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    roots = {name.partition(".")[0] for name in modules if name}
    assert roots - sys.stdlib_module_names == {"torch", "safetensors"}


@pytest.mark.parametrize("known", ["encoder.weight", "bert.encoder.weight", "weight"])
def test_names_may_lack_leading_words_or_have_more_of_them(known):
    model = nn.ModuleDict({"encoder": nn.Linear(3, 2)})
    kept = torch.ones(2, 3, dtype=torch.bool)
    assert keep_sparse._find(model, keep_sparse.Mask((known,), kept)) is model["encoder"].weight
