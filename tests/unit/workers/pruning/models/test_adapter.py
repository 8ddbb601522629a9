"""Ties, fused projections, bridges, packed attention, and how records become batches."""

import json

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from app.errors import CalibrationDataError, RecipeError, UnsupportedArchitectureError
from app.recipes.modality import Modality
from tests.families import BY_NAME, records
from tests.tiny_models import BERT, DECODER, VISION_CONFIG, save, tokenizer
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt, known_adapters
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.loading import load_model


def test_every_declared_architecture_exists_and_every_family_has_a_row(family_directory):
    configs = [json.loads((family_directory(n) / "config.json").read_text()) for n in BY_NAME]
    rows = {config["architectures"][0] for config in configs}
    for name, family in known_adapters().items():
        assert issubclass(getattr(transformers, name), transformers.PreTrainedModel)
        assert rows & set(family.architectures), f"{family.__name__} has no row in the matrix"


def test_a_family_of_its_own_gives_no_warning(family_directory):
    assert adapt(load_model(family_directory("llava"))).warnings == ()


def test_the_generic_adapter_warns(family_directory):
    assert "no adapter of its own" in adapt(load_model(family_directory("phi"))).warnings[0]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "encoder"),
        ("llama", "decoder"),
        ("llava", "vision-language"),
        ("clip", "other"),
        ("bart", "other"),
    ],
)
def test_runtimes_tell_models_apart_by_what_they_read_and_write(family, kind, family_directory):
    assert adapt(load_model(family_directory(family))).kind == kind


def test_weights_of_no_linear_layer_are_said(family_directory):
    warnings = adapt(load_model(family_directory("mixtral"))).warnings
    assert any("mlp.gate.weight" in text for text in warnings)
    assert not any("experts" in text for text in warnings)


# -- ties ---------------------------------------------------------------------------------


@pytest.fixture
def tied(family_directory, tmp_path):
    """A Llama whose two up projections are one weight, saved twice."""
    source = tmp_path / "source"
    save(source, transformers.LlamaForCausalLM, transformers.LlamaConfig(**DECODER), tokenizer())
    first, second = (f"model.layers.{i}.mlp.up_proj.weight" for i in range(2))
    tensors = load_file(source / "model.safetensors")
    tensors[second] = tensors[first].clone()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(source)
    layers = loaded.model.model.layers
    layers[1].mlp.up_proj.weight = layers[0].mlp.up_proj.weight
    return loaded, first, second


def test_a_tied_weight_is_one_matrix_with_all_its_callers(tied):
    loaded, first, second = tied
    matrices = [m for m in adapt(loaded).matrices if "up_proj" in m.name]
    assert len(matrices) == 1
    layers = loaded.model.model.layers
    assert set(matrices[0].callers) == {layers[0].mlp.up_proj, layers[1].mlp.up_proj}
    assert {matrices[0].file_key, *matrices[0].copies} == {first, second}


def test_every_copy_of_a_tied_weight_is_written(tied, tmp_path):
    loaded, first, second = tied
    adapter = adapt(loaded)
    matrix = next(m for m in adapter.matrices if "up_proj" in m.name)
    matrix.weight[:, ::2] = 0
    export_checkpoint(loaded.directory, tmp_path / "out", [matrix])
    stored = load_file(tmp_path / "out" / "model.safetensors")
    for key in (first, second):
        assert torch.equal(stored[key], matrix.parameter.detach())


# -- fused, packed, transposed ------------------------------------------------------------


@pytest.mark.parametrize("name", ["blip_caption", "gpt2", "qwen2_vl", "siglip"])
def test_a_fused_projection_splits_into_views_of_its_thirds(name, family_directory):
    loaded = load_model(family_directory(name))
    whole = {m.name: m for m in adapt(loaded).matrices}
    split = {m.name: m for m in adapt(loaded, split_qkv=True).matrices}
    fused = whole.keys() - split.keys()
    assert fused
    for module in fused:
        parts = [split[f"{module}[{part}]"] for part in "qkv"]
        assert torch.equal(torch.cat([part.weight for part in parts]), whole[module].weight)
        assert len({part.file_key for part in parts}) == 1
        parts[1].weight.zero_()
        rows = whole[module].weight.reshape(3, -1)
        assert [bool((third == 0).all()) for third in rows] == [False, True, False]


@pytest.mark.parametrize("name", ["gpt_neox", "bloom"])
def test_interleaved_projections_stay_whole(name, family_directory, tmp_path):
    if name == "bloom":
        config = transformers.BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2)
        save(tmp_path, transformers.BloomForCausalLM, config, tokenizer())
    directory = tmp_path if name == "bloom" else family_directory(name)
    assert not any("[q]" in m.name for m in adapt(load_model(directory), split_qkv=True).matrices)


def test_conv1d_is_seen_as_out_by_in(family_directory):
    adapter = adapt(load_model(family_directory("gpt2")))
    matrix = next(m for m in adapter.matrices if m.name.endswith("0.mlp.c_fc"))
    assert matrix.place.transposed
    assert tuple(matrix.weight.shape) == (64, 16)
    x = torch.randn(3, 16)
    module = matrix.callers[0]
    assert torch.allclose(module(x), x @ matrix.weight.T + module.bias, atol=1e-6)


def test_packed_attention_is_said_to_have_no_statistics(family_directory):
    adapter = adapt(load_model(family_directory("siglip")))
    silent = {m.name for m in adapter.matrices if not m.callers}
    head = "vision_model.head.attention"
    assert silent == {f"{head}.in_proj_weight", f"{head}.out_proj"}
    assert all(any(name in text for text in adapter.warnings) for name in silent)


# -- what is pruned -----------------------------------------------------------------------

BRIDGES = {
    "blip2_opt": {"qformer.encoder.layer", "language_projection"},
    "instructblip": {"qformer.encoder.layer", "language_projection"},
    "clip": {"visual_projection", "text_projection"},
    "blip_retrieval": {"vision_proj", "text_proj"},
    "llava": {"model.multi_modal_projector"},
    "paligemma": {"model.multi_modal_projector"},
    "qwen2_vl": {"model.visual.merger"},
    "idefics3": {"model.connector"},
}


@pytest.mark.parametrize("name", sorted(BRIDGES))
def test_the_bridge_is_prunable_on_request(name, family_directory):
    loaded = load_model(family_directory(name))
    assert all(tower.modality is not Modality.BRIDGE for tower in adapt(loaded).towers)
    towers = adapt(loaded, include_bridge=True).towers
    bridge = [tower for tower in towers if tower.modality is Modality.BRIDGE]
    assert {tower.name for tower in bridge} == BRIDGES[name]
    assert all(m.modality is Modality.BRIDGE for t in bridge for b in t.blocks for m in b.matrices)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_embeddings_norms_heads_and_biases_are_never_pruned(name, family_directory):
    adapter = adapt(load_model(family_directory(name)), include_bridge=True)
    for matrix in adapter.matrices:
        assert matrix.parameter.ndim == 2
        leaf = matrix.name.rpartition(".")[2]
        assert leaf not in {"lm_head", "classifier", "itm_head", "decoder", "embed_tokens"}
        assert "embed" not in matrix.name
        assert "norm" not in matrix.name.lower()
        assert not any(isinstance(c, torch.nn.Embedding) for c in matrix.callers)


def test_lists_of_lists_of_blocks_are_one_tower(tmp_path):
    options = {"vocab_size": 64, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 24}
    config = transformers.FunnelConfig(**options, block_sizes=[1, 2], num_decoder_layers=1)
    save(tmp_path, transformers.FunnelModel, config, None)
    encoder, decoder = adapt(load_model(tmp_path)).towers
    names = [block.name for block in encoder.blocks]
    assert names == ["encoder.blocks.0.0", "encoder.blocks.1.0", "encoder.blocks.1.1"]
    assert len(decoder.blocks) == 1


def test_a_model_without_blocks_is_refused(family_directory, tmp_path):
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])
    save(tmp_path, transformers.ResNetModel, config, None)
    with pytest.raises(UnsupportedArchitectureError, match="no stack of blocks"):
        adapt(load_model(tmp_path))


# -- records and batches ------------------------------------------------------------------

PICTURE = Image.new("RGB", (20, 20))


@pytest.mark.parametrize(
    ("name", "record", "words"),
    [
        ("llama", CalibrationRecord(text="a cat", image=PICTURE), "reads text only"),
        ("llama", CalibrationRecord(image=PICTURE), "no text"),
        ("llama", CalibrationRecord(text="  "), "no text"),
        ("vit", CalibrationRecord(text="a cat", image=PICTURE), "sees images only"),
        ("vit", CalibrationRecord(text="a cat"), "sees images only"),
        ("llava", CalibrationRecord(text="a cat"), "no image"),
        ("llava", CalibrationRecord(image=PICTURE), "no text"),
        ("paligemma", CalibrationRecord(text="a cat"), "no image"),
        ("blip_vqa", CalibrationRecord(image=PICTURE), "no text"),
    ],
)
def test_records_of_the_wrong_kind_are_refused_in_words(name, record, words, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    with pytest.raises(CalibrationDataError, match=words):
        list(adapter.batches([record], batch_size=1, max_length=16))


def test_an_empty_set_is_refused(family_directory):
    adapter = adapt(load_model(family_directory("llama")))
    with pytest.raises(CalibrationDataError, match="empty"):
        list(adapter.batches([], batch_size=1, max_length=16))


def test_a_checkpoint_without_tokenizer_cannot_be_calibrated(tmp_path):
    save(tmp_path, transformers.LlamaForCausalLM, transformers.LlamaConfig(**DECODER), None)
    adapter = adapt(load_model(tmp_path))
    with pytest.raises(CalibrationDataError, match=r"no usable tokenizer.*Unrecognized") as caught:
        list(adapter.batches(records("text"), batch_size=1, max_length=16))
    assert str(tmp_path) not in str(caught.value)


def test_a_tokenizer_without_pad_token_works_and_stays_so(tmp_path):
    words = tokenizer(pad_token=None)
    save(tmp_path, transformers.LlamaForCausalLM, transformers.LlamaConfig(**DECODER), words)
    adapter = adapt(load_model(tmp_path))
    assert adapter.tokenizer.pad_token_id is None
    batch = next(adapter.batches(records("text"), batch_size=5, max_length=16))
    padding = batch["attention_mask"] == 0
    assert padding.any()
    assert (batch["input_ids"][padding] == adapter.tokenizer.eos_token_id).all()
    assert adapter.tokenizer.pad_token_id is None


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_batches_hold_every_record_in_order_and_in_the_models_dtype(name, family_directory):
    adapter = adapt(load_model(family_directory(name), torch.bfloat16))
    made = records(BY_NAME[name].kind)
    together = list(adapter.batches(made, batch_size=2, max_length=16))
    assert len(together) == 3
    for batch in together:
        assert all(v.dtype == torch.bfloat16 for v in batch.values() if v.is_floating_point())
        if "attention_mask" in batch:  # padding stands behind what is real
            mask = batch["attention_mask"]
            assert (mask.diff(dim=1) <= 0).all()
    again = list(adapter.batches(made, batch_size=2, max_length=16))
    for one, two in zip(together, again, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_max_length_is_capped_by_the_positions_of_the_model(family_directory):
    adapter = adapt(load_model(family_directory("bert")))
    record = CalibrationRecord(text="cat " * 200)
    batch = next(adapter.batches([record], batch_size=1, max_length=512))
    assert batch["input_ids"].shape[1] == BERT["max_position_embeddings"]


def test_questions_and_answers_are_told_apart(family_directory):
    adapter = adapt(load_model(family_directory("blip_vqa")))
    assert adapter.split("what is it ? a cat") == ("what is it ?", "a cat")
    assert adapter.split("a red cat sits") == ("a red", "cat sits")
    assert adapter.split("cat") == ("cat", "cat")


# -- losses -------------------------------------------------------------------------------


def test_padding_and_image_tokens_carry_no_loss(family_directory):
    adapter = adapt(load_model(family_directory("llava")))
    made = records("pair")
    batch = next(adapter.batches(made, batch_size=5, max_length=24))
    before = adapter.loss(batch).item()
    padding = batch["attention_mask"] == 0
    assert padding.any()
    batch["input_ids"] = batch["input_ids"].masked_fill(padding, 9)
    assert adapter.loss(batch).item() == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("name", ["clip", "siglip", "bert", "blip_retrieval"])
def test_a_contrast_needs_two_records(name, family_directory):
    adapter = adapt(load_model(family_directory(name)))
    batch = next(adapter.batches(records(BY_NAME[name].kind, 1), batch_size=1, max_length=16))
    with pytest.raises(CalibrationDataError, match="at least two"):
        adapter.loss(batch)


def test_a_model_without_loss_says_so(tmp_path):
    config = transformers.VitDetConfig(**VISION_CONFIG, pretrain_image_size=16)
    save(tmp_path, transformers.VitDetBackbone, config, None)
    adapter = adapt(load_model(tmp_path))
    batch = {"pixel_values": torch.ones(2, 3, 16, 16)}
    with pytest.raises(RecipeError, match="no training loss"):
        adapter.loss(batch)
