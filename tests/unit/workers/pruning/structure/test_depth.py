"""Fewer blocks: what is left is renumbered everywhere, and computes what skipping them does."""

import json

import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st

from app.planning.model_files.files import LocalModel
from app.planning.model_files.outlines import Outlines
from app.planning.structure import plan_structure
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe
from app.recipes.routing_report import ROUTER_CONFIG_FILE, ROUTER_FILE
from app.recipes.structure import (
    ConfigurationError,
    Depth,
    KeepError,
    NothingLeftError,
    StructureError,
    WiringError,
)
from benchmarks.families.inputs import batches_for
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import Marks, build
from tests.families import BY_NAME, records
from tests.models_without_adapter import UNSEEN
from tests.tiny_models import DECODER, text_model
from workers.pipeline.checkpoints import DiskCheckpoints
from workers.pruning.allocation.ecoflap import backward
from workers.pruning.calibration.outputs import distance, learn_by_heart, lessons_of
from workers.pruning.models.export import copy_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.files import open_checkpoint
from workers.pruning.models.loading import load_model
from workers.pruning.resume import NoCheckpoints
from workers.pruning.structure import depth, removal
from workers.pruning.structure.bypass import bypassed
from workers.pruning.structure.choice import Choice
from workers.pruning.structure.layers import Layers, beside
from workers.pruning.structure.reduce import check_outputs, reduce

ROWS = BY_NAME | {family.name: family for family in UNSEEN}
HALF = Depth(removed=0.5, ends=True)
WORKING = [
    *("llama", "gpt2", "bert", "t5", "clip", "llava", "qwen2_5_vl", "bart", "dinov2"),
]


def shortened(source, out, kind, settings, **more):
    copy_checkpoint(source, out)
    adapter = adapt(load_model(source))
    batches = list(adapter.batches(records(kind), batch_size=2, max_length=24))
    return adapter, batches, reduce(adapter, settings, batches, out, **more)


def outputs(adapter, batch):
    values = adapter.forward(batch).values()
    return [each for each in values if isinstance(each, torch.Tensor)]


@pytest.mark.parametrize("name", WORKING)
def test_a_plain_load_computes_what_skipping_the_blocks_does(family_directory, tmp_path, name):
    source, out = family_directory(name), tmp_path / "out"
    adapter, batches, made = shortened(source, out, ROWS[name].kind, HALF)
    plain, told = type(adapter.model).from_pretrained(out, output_loading_info=True)
    assert not any(told.values())
    again = adapt(load_model(out))
    check_outputs(again, batches[0], made)
    gone = {block.name for block in made.blocks if not block.kept}
    assert gone
    blocks = {block for tower in adapter.towers for block in tower.blocks if block.name in gone}
    with torch.no_grad(), bypassed(adapter.towers, blocks):
        for batch in batches:
            pairs = zip(outputs(adapter, batch), outputs(again, batch), strict=True)
            assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)
    if plain.can_generate() and "input_ids" in batches[0]:
        plain.generate(input_ids=batches[0]["input_ids"][:1, :3], max_new_tokens=3)


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A Gemma 2 of six layers: sliding and full attention take turns."""
    root = tmp_path_factory.mktemp("deep")
    config = tf.Gemma2Config(**DECODER | {"num_hidden_layers": 6, "head_dim": 4})
    text_model(tf.Gemma2ForCausalLM, config)(root / "gemma")
    return root / "gemma"


def test_kinds_of_layers_move_with_their_layers_and_the_ends_stay(deep, tmp_path):
    before = json.loads((deep / "config.json").read_text())
    _, _, made = shortened(deep, tmp_path / "out", "text", Depth(removed=0.5))
    config = json.loads((tmp_path / "out/config.json").read_text())
    kept = [number for number, block in enumerate(made.blocks) if block.kept]
    assert (len(kept), kept[0], kept[-1]) == (3, 0, 5)
    assert config["num_hidden_layers"] == 3
    assert config["layer_types"] == [before["layer_types"][number] for number in kept]
    scores = [block.value for block in made.blocks]
    middle = sorted(range(1, 5), key=scores.__getitem__)
    assert set(middle[:3]) == set(range(6)) - set(kept)
    tensors = open_checkpoint(tmp_path / "out").tensors
    old = open_checkpoint(deep).tensors
    numbers = {int(key.split(".")[2]) for key in tensors if ".layers." in key}
    assert numbers == {0, 1, 2}
    assert len(old) - len(tensors) == 3 * sum(".layers.0." in key for key in old)


def test_the_blocks_that_are_named_stay_and_nothing_is_measured(
    family_directory, tmp_path, monkeypatch
):
    monkeypatch.setattr(depth, "steps", None)
    monkeypatch.setattr(depth, "unread_blocks", None)
    settings = Depth(keep={Modality.VISION: (0, 2), Modality.LANGUAGE: (1,)})
    source = family_directory("llava")
    outline = Outlines([source.parent], "http://127.0.0.1:1").of(LocalModel("llava"), "project")
    planned = plan_structure(outline, Recipe(sparsity=0, structure=(settings,)))
    adapter, batches, made = shortened(source, tmp_path / "out", "pair", settings)
    kept = {block.name for block in made.blocks if block.kept}
    assert kept == {
        "model.vision_tower.encoder.layers.0",
        "model.vision_tower.encoder.layers.2",
        "model.language_model.layers.1",
    }
    assert {(block.score, block.value) for block in made.blocks} == {("keep", None)}
    check_outputs(adapt(load_model(tmp_path / "out")), batches[0], made)
    tensors = open_checkpoint(tmp_path / "out").tensors
    assert planned.report.bytes_kept == sum(tensor.bytes for tensor in tensors.values())
    old, new = open_checkpoint(source).tensors, tensors
    last = next(key for key in old if "language_model" in key and ".layers.1." in key)
    assert new[last.replace(".layers.1.", ".layers.0.")].shape == old[last].shape
    assert adapter.model.config.text_config.num_hidden_layers == 2


@pytest.mark.parametrize(
    ("keep", "words"),
    [((0, 1), "no block of attention"), ((2, 5), "names block 5"), ((0, 1, 2, 3, 4), "all")],
)
def test_numbers_are_refused_by_the_worker_too(hybrid, tmp_path, keep, words):
    with pytest.raises(KeepError, match=words):
        shortened(hybrid, tmp_path / "out", "text", Depth(keep=keep))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    """A Qwen 3.5 of five layers, one of them with attention over all tokens."""
    root = tmp_path_factory.mktemp("hybrid")
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "head_dim": 8}
    widths = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_hidden_layers": 5}
    kinds = ["linear_attention"] * 2 + ["full_attention"] + ["linear_attention"] * 2
    config = tf.Qwen3_5TextConfig(**DECODER | heads | widths, layer_types=kinds)
    text_model(tf.Qwen3_5ForCausalLM, config)(root / "hybrid")
    return root / "hybrid"


@pytest.mark.parametrize("score", ["influence", "output", "gradient-norm"])
def test_the_last_layer_of_a_kind_stays_though_it_matters_least(
    hybrid, tmp_path, monkeypatch, score
):
    adapter = adapt(load_model(hybrid))
    full = adapter.towers[0].blocks[2].name
    monkeypatch.setattr(
        depth,
        "_influence",
        lambda step: 0.0 if step.block.name == full else 1.0,
    )
    monkeypatch.setattr(
        removal.Removal, "_without", lambda _self, block: 0.0 if block.name == full else 1.0
    )
    settings = Depth(removed=0.6, ends=True, score=score)
    _, batches, made = shortened(hybrid, tmp_path / "out", "text", settings)
    assert [block.kept for block in made.blocks].count(1) == 2
    assert next(block.kept for block in made.blocks if block.name == full) == 1
    plain = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    plain.generate(input_ids=batches[0]["input_ids"][:1, :3], max_new_tokens=3)
    beyond = Depth(removed=0.8, ends=True, score=score)
    with pytest.raises(NothingLeftError, match="3 can: one block of each kind stays"):
        shortened(hybrid, tmp_path / "beyond", "text", beyond)
    outline = Outlines([hybrid.parent], "http://127.0.0.1:1").of(LocalModel("hybrid"), "project")
    with pytest.raises(NothingLeftError, match="is 4 blocks; from 1 to 3 can be removed"):
        plan_structure(outline, Recipe(sparsity=0, structure=(beyond,)))


def test_a_layer_that_the_configuration_names_stays_under_its_new_number(tmp_path):
    name = "MiniCPMV4_6ForConditionalGeneration"
    after = {"vision_config.insert_layer_id": 1, "insert_layer_id": 1}
    model = build(name, CHANGES[name] | after, Marks())
    model.save_pretrained(tmp_path / "source")
    copy_checkpoint(tmp_path / "source", tmp_path / "out")
    adapter = adapt(load_model(tmp_path / "source"))
    batches = batches_for(model, INPUTS[name])
    settings = Depth(removed={Modality.VISION: 0.5}, ends=True)
    made = reduce(adapter, settings, batches, tmp_path / "out")
    assert [block.kept for block in made.blocks] == [0, 1]
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert (config["insert_layer_id"], config["vision_config"]["insert_layer_id"]) == (0, 0)
    check_outputs(adapt(load_model(tmp_path / "out")), batches[0], made)


def test_blocks_go_whose_absence_changes_the_output_least(deep, tmp_path):
    settings = Depth(removed=0.34, score="output")
    told = []
    adapter, batches, made = shortened(deep, tmp_path / "out", "text", settings, report=told.append)
    known = learn_by_heart(adapter, lessons_of(adapter, batches))
    gone, blocks = set(), adapter.towers[0].blocks
    for _ in range(2):
        found = {}
        for block in blocks[1:-1]:
            if block not in gone:
                with torch.no_grad(), bypassed(adapter.towers, gone | {block}):
                    found[block] = sum(float(distance(adapter, each)) for each in known)
        gone.add(min(found, key=found.get))
    assert {block.name for block in made.blocks if not block.kept} == {b.name for b in gone}
    assert {block.score for block in made.blocks} == {"output"}
    values = [block.value for block in made.blocks if not block.kept]
    assert max(values) == pytest.approx(min(found.values()) / len(known), rel=1e-4)
    shares = [each.done / each.total for each in told]
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_blocks_go_on_which_the_loss_depends_least(deep, tmp_path):
    settings = Depth(removed=0.34, score="gradient-norm")
    told = []
    adapter, batches, made = shortened(deep, tmp_path / "out", "text", settings, report=told.append)
    found = dict.fromkeys(adapter.towers[0].blocks, 0.0)
    for batch in batches:
        adapter.model.zero_grad()
        adapter.loss(batch).backward()
        for block in found:
            found[block] += sum(float(m.parameter.grad.norm()) for m in block.matrices)
    inner = list(found)[1:-1]
    assert {block.name for block in made.blocks if not block.kept} == {
        block.name for block in sorted(inner, key=found.get)[:2]
    }
    assert {block.score for block in made.blocks} == {"gradient-norm"}
    assert [each.value for each in made.blocks] == pytest.approx(list(found.values()), rel=1e-4)
    shares = [each.done / each.total for each in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_block_without_which_the_output_breaks_is_not_the_best_to_go(deep, monkeypatch):
    adapter = adapt(load_model(deep))
    found = iter([float("nan"), 2.0, 1.0])
    monkeypatch.setattr(removal, "distance", lambda *_: next(found))
    blocks = adapter.towers[0].blocks[1:4]
    chosen = removal.Removal(adapter, [None], NoCheckpoints(), lambda *_: None)
    chosen.go_on(Choice(adapter.towers[0], tuple(blocks), 1, ("attention",) * 6))
    assert chosen.gone == {blocks[2]: 1.0}


@pytest.mark.parametrize(
    ("score", "module", "measured_by"),
    [("output", removal, "distance"), ("gradient-norm", backward, "each_gradient")],
)
def test_what_was_measured_is_not_measured_again(
    deep, tmp_path, monkeypatch, score, module, measured_by
):
    settings, kept = (
        Depth(removed=0.34, score=score),
        DiskCheckpoints(tmp_path / "kept", {}, limit=1 << 30),
    )
    _, _, made = shortened(deep, tmp_path / "one", "text", settings, checkpoints=kept)
    monkeypatch.setattr(module, measured_by, None)
    _, _, again = shortened(deep, tmp_path / "two", "text", settings, checkpoints=kept)
    assert again.blocks == made.blocks


def test_a_plan_tells_the_size_and_the_block_that_nothing_reads(family_directory, tmp_path):
    root = family_directory("llava").parent
    outline = Outlines([root], "http://127.0.0.1:1").of(LocalModel("llava"), "project")
    settings = Depth(removed={Modality.VISION: 0.34})
    planned = plan_structure(outline, Recipe(sparsity=0, structure=(settings,)))
    assert planned.notes == (
        "vision_tower.encoder.layers.2: nothing reads its output; it goes first",
    )
    _, _, made = shortened(family_directory("llava"), tmp_path / "out", "pair", settings)
    assert [block.score for block in made.blocks if not block.kept] == ["unread"]
    assert made.warnings == (
        "nothing reads the output of model.vision_tower.encoder.layers.2; it goes first",
    )
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["vision_feature_layer"] == -1
    tensors = open_checkpoint(tmp_path / "out").tensors
    assert planned.report.bytes_kept == sum(tensor.bytes for tensor in tensors.values())


def test_lists_of_the_configuration_are_told_apart():
    class Tower:
        name = "vision.blocks"
        modality = Modality.TEXT
        blocks = range(2)

    section = {
        "depth": 2,
        "layer_types": ["full", "sliding"],
        "no_rope_layers": [1, 0],
        "deepstack_indexes": [0, 1],
        "image_size": [448, 448],
        "image_mean": [0.5, 0.5],
        "time_step_limit": [0.0, 1.0],
        "insert_layer_id": 1,
    }
    found = beside(("vision", "depth"), Tower, {"vision": section})
    assert {path[-1] for path in found.lists} == {"layer_types", "no_rope_layers"}
    assert [path[-1] for path in found.indices] == ["deepstack_indexes"]
    changed = found.without({"vision": section}, {"vision": section}, [1])["vision"]
    assert changed == section | {
        "depth": 1,
        "layer_types": ["sliding"],
        "no_rope_layers": [0],
        "deepstack_indexes": [0],
        "insert_layer_id": 0,
    }


@given(st.integers(2, 12), st.data())
def test_hidden_states_are_told_by_the_blocks_that_are_left(total, data):
    kept = sorted(data.draw(st.sets(st.integers(0, total - 1), min_size=1)))
    state = data.draw(st.integers(0, total))

    class Tower:
        blocks = range(total)

    layers = Layers(Tower, ("count",), (), (), (), (("vision_feature_layer",),))
    whole = {"vision_feature_layer": [state, state - total - 1]}
    found = layers.without({}, whole, kept)["vision_feature_layer"]
    passed = sum(number < state for number in kept)
    assert found == [passed, passed - len(kept) - 1]


class Cut(Exception):  # noqa: N818 - the end of a process
    pass


def test_it_goes_on_where_it_was_cut_to_the_same_bytes(deep, tmp_path):
    def attempt(name, **more):
        _, _, made = shortened(deep, tmp_path / name, "text", Depth(removed=0.5), **more)
        return made.blocks, (tmp_path / name / "model.safetensors").read_bytes()

    whole = attempt("whole")
    for number in (1, 4):
        left = [number]

        def cut(_progress, left=left):
            left[0] -= 1
            if not left[0]:
                raise Cut

        kept = DiskCheckpoints(tmp_path / f"kept{number}", {}, limit=1 << 30)
        with pytest.raises(Cut):
            attempt(f"cut{number}", checkpoints=kept, report=cut)
        assert attempt(f"again{number}", checkpoints=kept) == whole


@pytest.mark.parametrize(
    ("name", "settings", "kind", "words"),
    [
        ("llama", Depth(removed=0.5), NothingLeftError, "1 of 2 blocks are to go, and only 0 can"),
        ("llama", Depth(removed=0.1), NothingLeftError, "of 2 blocks is 0"),
        ("blip_vqa", HALF, ConfigurationError, "text_encoder"),
        ("albert", HALF, WiringError, "no tower"),
        ("swin", HALF, ConfigurationError, "swin.encoder.layers"),
    ],
)
def test_what_cannot_be_is_refused_by_name(family_directory, tmp_path, name, settings, kind, words):
    source = family_directory(name)
    with pytest.raises(kind, match=words):
        shortened(source, tmp_path / "out", ROWS[name].kind, settings)
    before, after = open_checkpoint(source), open_checkpoint(tmp_path / "out")
    assert before.tensors == after.tensors


def test_a_router_of_the_larger_model_is_no_part_of_a_smaller_one(family_directory, tmp_path):
    source = tmp_path / "routed"
    copy_checkpoint(family_directory("llava"), source)
    (source / ROUTER_FILE).write_bytes((source / "model.safetensors").read_bytes())
    (source / ROUTER_CONFIG_FILE).write_text("{}")
    outline = Outlines([tmp_path], "http://127.0.0.1:1").of(LocalModel("routed"), "project")
    with pytest.raises(StructureError, match="train a router for the result"):
        plan_structure(outline, Recipe(sparsity=0, structure=(HALF,)))
    copy_checkpoint(source, tmp_path / "pruned")
    assert not {ROUTER_FILE, ROUTER_CONFIG_FILE} & {f.name for f in (tmp_path / "pruned").iterdir()}
