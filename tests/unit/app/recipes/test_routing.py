"""PAR jobs: what may be asked, and of which models."""

import pytest
from pydantic import ValidationError

from app.domain.submission import JobRequest, JobSpec, resolve
from app.errors import MethodParameterError
from app.planning.routable import (
    LayerBudgetError,
    NoDecoderError,
    RoutingFamilyError,
    TextOnlyModelError,
    TokenBudgetError,
    candidates,
    check_routable,
    plan_routing,
    protected,
    running_layers,
)
from app.recipes.evaluation import MetricNotApplicableError
from app.recipes.recipe import Recipe
from app.recipes.routing import PROFILES, FlopsRatio, TokensAndLayers
from workers.pruning.routing.runtime import layer_candidates

LLAVA = {
    "architectures": ["LlavaForConditionalGeneration"],
    "vision_config": {},
    "text_config": {"num_hidden_layers": 32},
}


def request(**fields):
    job = {"model": "m", "method": "par", "calibration": {"set": "scenes"}}
    return JobRequest(**job | fields)


def routing(**parameters):
    return resolve(request(parameters=parameters)).recipe


@pytest.mark.parametrize(
    ("parameters", "budget"),
    [
        ({}, PROFILES["balanced"]),
        ({"profile": "turbo"}, PROFILES["turbo"]),
        ({"tokens": 176, "layers": 28}, TokensAndLayers(tokens=176, layers=28)),
        ({"layers": 0.5}, TokensAndLayers(tokens=1, layers=0.5)),
        ({"target_flops_ratio": 0.4}, FlopsRatio(ratio=0.4)),
    ],
)
def test_a_budget_is_named_in_one_of_three_ways(parameters, budget):
    assert routing(**parameters).budget == budget


@pytest.mark.parametrize(
    "parameters",
    [
        {"profile": "fast", "tokens": 0.5},
        {"target_flops_ratio": 0.5, "layers": 3},
        {"profile": "slow"},
        {"tokens": 2.5},
        {"target_flops_ratio": 1.0},
        {"rounds": 0},
        {"roundz": 1},
    ],
)
def test_wrong_parameters_are_refused(parameters):
    with pytest.raises(MethodParameterError, match="par"):
        routing(**parameters)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sparsity": 0.5}, "weights_stay_dense"),
        ({"pattern": "2:4"}, "weights_stay_dense"),
        ({"ignore": ("x",)}, "weights_stay_dense"),
        ({"calibration": {"set": "sentences"}}, "calibration_set_has_no_images"),
    ],
)
def test_what_has_no_meaning_for_routes_is_refused(fields, code):
    with pytest.raises(ValidationError) as error:
        request(**fields)
    assert [issue["type"] for issue in error.value.errors()] == [code]


def test_a_routed_model_is_measured_on_what_it_generates():
    asked = request(evaluation={"set": "scenes"})
    assert resolve(asked).evaluation.metrics == ("accuracy",)
    with pytest.raises(MetricNotApplicableError, match="accuracy"):
        resolve(request(evaluation={"set": "scenes", "metrics": ["kl"]}))
    gate = {"metric": "kl", "max_drop": 1}
    with pytest.raises(MetricNotApplicableError, match="accuracy"):
        resolve(request(evaluation={"set": "scenes"}, quality_gate=gate))


def test_the_stored_form_reads_back_also_from_before_there_were_routes():
    spec = resolve(request(parameters={"profile": "fast"}, seed=3))
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
    old = resolve(JobRequest(model="m", method="magnitude", sparsity=0.5)).model_dump(mode="json")
    del old["recipe"]["kind"]
    assert isinstance(JobSpec.model_validate(old).recipe, Recipe)


@pytest.mark.parametrize(
    ("config", "parameters", "error", "words"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, {}, TextOnlyModelError, "no images"),
        ({}, {}, TextOnlyModelError, "no images"),
        (LLAVA | {"architectures": ["CLIPModel"]}, {}, NoDecoderError, "no decoder"),
        (
            LLAVA | {"architectures": ["BlipForImageTextRetrieval"]},
            {},
            NoDecoderError,
            "side by side",
        ),
        (
            LLAVA | {"architectures": ["MllamaForConditionalGeneration"]},
            {},
            RoutingFamilyError,
            "supported: .*Llava",
        ),
        (
            LLAVA | {"architectures": ["InstructBlipForConditionalGeneration"]},
            {},
            TokenBudgetError,
            "layer-only",
        ),
        (LLAVA, {"layers": 12}, LayerBudgetError, "17 to 32"),
    ],
)
def test_models_that_cannot_be_routed_are_told_why(config, parameters, error, words):
    with pytest.raises(error, match=words):
        check_routable(config, routing(**parameters))


def test_models_that_can_be_routed_pass():
    check_routable(LLAVA, routing(tokens=176, layers=28))
    blip = LLAVA | {"architectures": ["InstructBlipForConditionalGeneration"]}
    check_routable(blip, routing(profile="layer-only"))
    check_routable({"architectures": LLAVA["architectures"]}, routing(layers=12))  # depth unknown


@pytest.mark.parametrize("layers", [2, 4, 6, 16, 32])
@pytest.mark.parametrize("drop_layer", [0, 1, 2, 5])
def test_the_plan_skips_what_the_runtime_does(layers, drop_layer):
    assert candidates(layers, drop_layer) == layer_candidates(layers, drop_layer)
    assert not set(candidates(layers, drop_layer)) & set(protected(layers, drop_layer))


def test_shares_are_met_as_nearly_as_can_be_and_counts_exactly():
    assert running_layers(28 / 32, 32, 15) == 28
    assert running_layers(28, 32, 15) == 28
    assert running_layers(24 / 32, 4, 0) == 4
    assert running_layers(28 / 32, 8, 3) == 7


def test_a_plan_reads_the_configuration():
    plan = plan_routing(LLAVA, routing(profile="fast"))
    assert (plan.layers, plan.protected, plan.run) == (32, (0, 1, 2, 31), 24)
    assert plan.may_skip == tuple(range(16, 31))
    assert plan_routing(LLAVA, routing(target_flops_ratio=0.4)).run is None
    assert plan_routing({}, routing()).layers is None


def test_the_former_name_of_allow_no_improvement_is_understood():
    assert routing(take_anyway=True).allow_no_improvement is True
    assert routing(allow_no_improvement=True).allow_no_improvement is True
    assert routing().allow_no_improvement is False
    with pytest.raises(MethodParameterError, match="former name"):
        routing(take_anyway=True, allow_no_improvement=True)


def test_a_job_stored_under_the_former_name_reads_back():
    stored = resolve(request()).model_dump(mode="json")
    stored["recipe"]["take_anyway"] = stored["recipe"].pop("allow_no_improvement")
    assert JobSpec.model_validate(stored) == resolve(request())
