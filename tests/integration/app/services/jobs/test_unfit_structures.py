"""Every structure that a model cannot be taken to is refused before anything is queued."""

import json

import pytest

from app.recipes.routing_report import ROUTER_FILE
from tests.integration.app.headers import write_header
from tests.integration.app.problem import assert_problem

ATTENTION = {
    "self_attn.q_proj": [64, 64],
    "self_attn.k_proj": [32, 64],
    "self_attn.v_proj": [32, 64],
    "self_attn.o_proj": [64, 64],
}
MLP = {"mlp.gate_proj": [256, 64], "mlp.up_proj": [256, 64], "mlp.down_proj": [64, 256]}
NARROW = {"mlp.gate_proj": [128, 64], "mlp.up_proj": [128, 64], "mlp.down_proj": [64, 128]}
LINEAR = {"linear_attn.in_proj": [64, 64], "linear_attn.out_proj": [64, 64]}
NORMED = {"self_attn.q_norm": [64], "self_attn.k_norm": [32]}
EXPERTS = {"mlp.gate": [8, 64]} | {
    f"mlp.experts.{number}.{name}": size
    for number in range(8)
    for name, size in {"up_proj": [48, 64], "down_proj": [64, 48]}.items()
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 64}
DENSE = [ATTENTION | MLP] * 6
MIXED = [ATTENTION | EXPERTS] * 4


def llama(**more):
    named = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 100}
    return named | HEADS | more


def mixture(**more):
    counts = {"n_routed_experts": 8, "num_experts_per_tok": 2}
    return {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3"} | counts | more


def shares(method, **parameters):
    return {"method": method, "parameters": parameters}


def heads(share):
    return shares("width", mlp_removed=0.0, heads_removed=share)


SEEING = {"vision_config": {"num_hidden_layers": 6}, "text_config": {}}
GRANITE = {"model_type": "granite4_vision", "deepstack_layer_map": [[-1, 0]]} | SEEING
TARGET = {"target_parameters": 0.01}
OUT_OF_REACH, KEEP = "structure_share_out_of_reach", "structure_keep_not_possible"
NOT_CONFIGURABLE, WIRING = "structure_not_configurable", "structure_wiring_unknown"

CASES = {
    # heads
    "no head goes": (llama(), DENSE, heads(0.1), OUT_OF_REACH, "leaves 2"),
    "one group of heads": (
        *(llama(num_key_value_heads=1), DENSE, heads(0.9), OUT_OF_REACH),
        "of 1 groups",
    ),
    "no width of a head": (
        *(llama(model_type="bert"), DENSE, heads(0.5), NOT_CONFIGURABLE),
        "leave heads_removed out",
    ),
    "heads normed together": (
        *(llama(model_type="olmo2"), [ATTENTION | NORMED | MLP] * 2, heads(0.5), WIRING),
        "norms all heads",
    ),
    # channels
    "no channel goes": (
        *(llama(), DENSE, shares("width", mlp_removed=0.001), OUT_OF_REACH),
        "256 channels",
    ),
    "all channels are one multiple": (
        *(llama(), DENSE, shares("width", multiple=256), OUT_OF_REACH),
        "multiples of 256",
    ),
    "layers of several widths": (
        *(llama(), [*DENSE, ATTENTION | NARROW], shares("width"), "structure_layers_differ"),
        "128, 256 channels",
    ),
    "a width that no number says": (
        *(llama(model_type="bloom"), DENSE, shares("width"), NOT_CONFIGURABLE),
        "four times hidden_size",
    ),
    "mixtures have no channels to give": (
        *(mixture(), MIXED, shares("width"), WIRING),
        "mixtures of experts",
    ),
    # blocks
    "no block goes": (llama(), DENSE, shares("depth", removed=0.1), OUT_OF_REACH, "is 0"),
    "no block is left": (llama(), DENSE, shares("depth", removed=0.9), OUT_OF_REACH, "1 to 4"),
    "no block of a kind is left": (
        *(llama(), [*[LINEAR | MLP] * 4, ATTENTION | MLP], shares("depth", removed=0.8, ends=True)),
        *(OUT_OF_REACH, "1 to 3"),
    ),
    "blocks that are named": (
        *(llama(no_rope_layers=[1, 2, 3, 4]), DENSE, shares("depth", removed=0.2), OUT_OF_REACH),
        "none of them can",
    ),
    "blocks of towers that are tied": (GRANITE, DENSE, shares("depth"), NOT_CONFIGURABLE, "deepst"),
    "a tower that the model lacks": (
        *(llama(), DENSE, shares("depth", removed={"vision": 0.5}), "recipe_not_applicable"),
        "vision",
    ),
    "a part that no tensor is of, blocks": (
        *({"model_type": "any"}, DENSE, shares("depth", removed={"vision": 0.5}), WIRING),
        "what depth is to take out",
    ),
    "a part that no tensor is of, channels": (
        *({"model_type": "any"}, DENSE, shares("width", mlp_removed={"vision": 0.5}), WIRING),
        "what width is to take out",
    ),
    "a part that no tensor is of, experts": (
        *(mixture(), MIXED, shares("experts", removed={"vision": 0.5}), WIRING),
        "what experts is to take out",
    ),
    # blocks that stay
    "a number beyond": (llama(), DENSE, shares("depth", keep=[0, 6]), KEEP, "0 to 5"),
    "all numbers": (llama(), DENSE, shares("depth", keep=[0, 1, 2, 3, 4, 5]), KEEP, "all of its 6"),
    "no number of a kind": (
        *(llama(), [*[LINEAR | MLP] * 4, ATTENTION | MLP], shares("depth", keep=[0, 1]), KEEP),
        "no block of attention",
    ),
    "a number that config.json names": (
        *(llama(no_rope_layers=[1, 3]), DENSE, shares("depth", keep=[0, 3]), KEEP),
        "names 1 by number",
    ),
    "numbers of a tower that the model lacks": (
        *(llama(), DENSE, shares("depth", keep={"vision": [0]}), "recipe_not_applicable"),
        "vision",
    ),
    "a target and nothing to choose": (
        *(llama(), DENSE, shares("depth", keep=[0, 1]) | {"target_parameters": 0.5}),
        *("structure_target_out_of_reach", "keep says which blocks stay"),
    ),
    # experts
    "no expert goes": (mixture(), MIXED, shares("experts", removed=0.1), OUT_OF_REACH, "has to go"),
    "fewer experts than a token is routed to": (
        *(mixture(), MIXED, shares("experts", removed=0.9), OUT_OF_REACH),
        "routed to 2",
    ),
    "groups that do not divide": (
        *(mixture(n_group=4, topk_group=2), MIXED, shares("experts", removed=0.25), OUT_OF_REACH),
        "multiple of the 4 groups",
    ),
    "groups with too few": (
        *(mixture(n_group=4, topk_group=2), MIXED, shares("experts", removed=0.5), OUT_OF_REACH),
        "1 in each of 4 groups",
    ),
    "experts that no number counts": (
        *(mixture(n_routed_experts=None), MIXED, shares("experts"), NOT_CONFIGURABLE),
        "how many experts",
    ),
    "no experts at all": (llama(), DENSE, shares("experts"), WIRING, "has experts"),
    # sizes, and what becomes of the result
    "a target beyond": (
        *(llama(), DENSE, shares("width") | TARGET, "structure_target_out_of_reach"),
        "can leave no less",
    ),
    "weights that are cut in loading": (
        llama(architectures=["Dinov2Model"], model_type="dinov2"),
        DENSE,
        shares("depth") | {"quantization": "int8"},
        "quantization_not_applicable",
        "Dinov2Model: transformers cuts",
    ),
}


@pytest.fixture
def model(checkpoint):
    def write(config, blocks):
        shapes = {"model.embed_tokens.weight": [100, 64]}
        for number, block in enumerate(blocks):
            named = {f"model.layers.{number}.{name}.weight": size for name, size in block.items()}
            shapes |= named
        write_header(checkpoint, shapes)
        (checkpoint.parent / "config.json").write_text(json.dumps(config))
        return checkpoint.parent

    return write


def assert_refused(client, body, code, words):
    for path in ("/v1/plans", "/v1/jobs"):
        answer = client.post(path, json={"model": "tiny"} | body)
        assert_problem(answer, 422, code)
        assert words in answer.json()["detail"], answer.text
    assert client.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(("config", "blocks", "body", "code", "words"), CASES.values(), ids=CASES)
def test_what_cannot_be_taken_out(client, model, config, blocks, body, code, words):
    model(config, blocks)
    assert_refused(client, body, code, words)


@pytest.mark.parametrize("method", ["width", "depth"])
def test_a_model_beside_which_its_router_lies(client, model, method):
    directory = model(llama(), DENSE)
    write_header(directory / ROUTER_FILE, {"router.weight": [4, 64]})
    assert_refused(client, shares(method), "structure_not_applicable", "train a router")


@pytest.mark.parametrize(
    "body",
    [
        heads(0.5),
        shares("width"),
        shares("depth", removed=0.5),
        shares("depth", keep=[0, 1, 3]),
        shares("depth", keep={"language": [5]}),
    ],
)
def test_what_can_be_is_planned(client, model, body):
    model(llama(), DENSE)
    answer = client.post("/v1/plans", json={"model": "tiny"} | body)
    assert answer.status_code == 200, answer.text
    told = answer.json()["structure"]
    assert told["parameters_kept"] < told["parameters"]
    if body["method"] == "depth":
        (tower,) = told["towers"]
        kept = body["parameters"].get("keep", [0, 1, 2])
        assert tower["blocks_kept"] == len(kept["language"] if isinstance(kept, dict) else kept)
