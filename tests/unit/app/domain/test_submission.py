import json

import pytest
from pydantic import TypeAdapter, ValidationError

from app.domain.submission import AnySparsity, JobRequest, JobSpec, resolve
from app.errors import MethodParameterError, RecipeError, UnknownMethodError
from app.recipes.allocation import Pooled
from app.recipes.data import CalibrationSpec
from app.recipes.evaluation import EvaluationSpec, MetricName, MetricNotApplicableError, QualityGate
from app.recipes.modality import Modality
from app.recipes.pattern import NM, Unstructured
from app.recipes.reconstruction import LeastSquares
from app.recipes.recovery import Recovery
from app.recipes.structure import Width


def request(**fields):
    return JobRequest(**{"model": "m", "method": "magnitude", "sparsity": 0.5} | fields)


def codes(error):
    return [issue["type"] for issue in error.value.errors()]


@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"vision": s}])
def test_sparsity_outside_its_range_is_refused(sparsity, wrap):
    with pytest.raises(ValidationError) as error:
        request(sparsity=wrap(sparsity))
    assert codes(error) == ["sparsity_out_of_range"]


def test_sparsity_may_differ_per_modality():
    recipe = resolve(request(sparsity={"vision": 0.3, "language": 0.6})).recipe
    assert recipe.sparsity == {Modality.VISION: 0.3, Modality.LANGUAGE: 0.6}


def test_sparsity_is_needed_without_a_pattern():
    with pytest.raises(ValidationError) as error:
        request(sparsity=None)
    assert codes(error) == ["sparsity_missing"]


JUDGED = {
    "evaluation": {"set": "sentences"},
    "quality_gate": {"metric": "similarity", "max_drop": 0.02},
}


def test_a_sparsity_may_be_looked_for_within_a_gate():
    spec = resolve(request(sparsity="auto", **JUDGED))
    assert spec.search is not None
    assert spec.search.first == {"sparsity": spec.recipe.sparsity} == {"sparsity": 0.5}
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec
    assert resolve(request(**JUDGED)).search is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "sparsity_auto_without_gate"),
        ({"evaluation": {"set": "sentences"}}, "sparsity_auto_without_gate"),
        ({"pattern": "2:4", **JUDGED}, "sparsity_contradicts_pattern"),
        ({"method": "depth", **JUDGED}, "weights_stay_dense"),
        ({"sparsity": {"vision": "auto", "text": 0.5}}, "sparsity_auto_without_gate"),
        (
            {"sparsity": {"vision": "auto"}, "pattern": "2:4", **JUDGED},
            "sparsity_contradicts_pattern",
        ),
        ({"sparsity": {"vision": "none"}, **JUDGED}, "float_parsing"),
        (
            {"sparsity": None, "method": "depth", "target_parameters": "auto"},
            "sparsity_auto_without_gate",
        ),
        ({"target_parameters": "auto", **JUDGED}, "structure_target_without_structure"),
        (
            {
                "sparsity": None,
                "method": "depth",
                "target_parameters": "auto",
                "target_flops_ratio": 0.5,
                **JUDGED,
            },
            "structure_target_given_twice",
        ),
    ],
)
def test_what_cannot_be_looked_for_is_refused(fields, code):
    with pytest.raises(ValidationError) as error:
        request(**{"sparsity": "auto"} | fields)
    assert codes(error) == [code]


def test_modalities_are_searched_in_an_order_of_ours():
    asked = {"language": "auto", "text": 0.3, "vision": "auto"}
    spec = resolve(request(sparsity=asked, **JUDGED))
    assert spec.search.axes == ("vision", "language")
    assert spec.recipe.sparsity == {"language": 0.5, "text": 0.3, "vision": 0.5}
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("word", ["Auto", "automatic", ""])
def test_other_words_are_no_sparsity(word):
    with pytest.raises(ValidationError):
        request(sparsity=word)


def test_a_pattern_implies_its_sparsity():
    recipe = resolve(request(sparsity=None, pattern="1:4")).recipe
    assert recipe.pattern == NM(n=1, m=4)
    assert recipe.sparsity == 0.75


def test_a_pattern_and_another_sparsity_contradict_each_other():
    with pytest.raises(ValidationError) as error:
        request(sparsity=0.6, pattern="2:4")
    assert codes(error) == ["sparsity_contradicts_pattern"]


@pytest.mark.parametrize("sparsity", [0, 0.0, {}, {"vision": 0}, {"vision": 0, "language": 0.0}])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_pruning_nothing_is_refused_in_words(sparsity, pattern):
    with pytest.raises(ValidationError, match="nothing would be pruned") as error:
        request(sparsity=sparsity, pattern=pattern)
    assert codes(error) == ["sparsity_zero"]


def test_a_pattern_may_leave_a_modality_dense():
    recipe = resolve(request(sparsity={"vision": 0, "language": 0.5}, pattern="2:4")).recipe
    assert recipe.sparsity_of(Modality.VISION) == 0


@pytest.mark.parametrize("pattern", ["4:4", "5:4", "2:99"])
def test_impossible_patterns_are_refused(pattern):
    with pytest.raises(ValidationError) as error:
        request(sparsity=None, pattern=pattern)
    assert codes(error) == ["pattern_invalid"]


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError) as error:
        request(sparsty=0.5)
    assert codes(error) == ["extra_forbidden"]


def test_unknown_method_suggests_the_near_one():
    with pytest.raises(UnknownMethodError, match="did you mean 'wanda'"):
        resolve(request(method="wandda"))


@pytest.mark.parametrize("parameters", [{"scope": "galaxy"}, {"skope": "row"}])
def test_wrong_parameters_are_refused_by_name(parameters):
    with pytest.raises(MethodParameterError, match=next(iter(parameters))):
        resolve(request(parameters=parameters))


def test_scope_decides_allocation_and_group():
    assert resolve(request(parameters={"scope": "row"})).recipe.pattern == Unstructured(group="row")
    assert resolve(request(parameters={"scope": "global"})).recipe.allocation == Pooled()


def test_calibration_is_kept_only_where_the_method_reads_data():
    assert resolve(request()).calibration is None
    assert resolve(request(method="wanda")).calibration is not None


def test_the_stored_form_reads_back():
    spec = resolve(request(method="wanda", sparsity={"vision": 0.3}))
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


NUMBERS = [
    (CalibrationSpec, {}, "samples", 1, 4096),
    (CalibrationSpec, {}, "max_length", 4, 8192),
    (CalibrationSpec, {}, "batch_size", 1, 256),
    (EvaluationSpec, {"set": "sentences"}, "samples", 1, 10_000),
    (EvaluationSpec, {"set": "sentences"}, "max_length", 4, 8192),
    (EvaluationSpec, {"set": "sentences"}, "max_new_tokens", 1, 1024),
    (EvaluationSpec, {"set": "sentences"}, "batch_size", 1, 256),
    (EvaluationSpec, {"set": "sentences"}, "seed", 0, 2**32 - 1),
    (JobRequest, {"model": "m", "method": "magnitude", "sparsity": 0.5}, "seed", 0, 2**32 - 1),
]


@pytest.mark.parametrize(("kind", "given", "name", "least", "most"), NUMBERS)
def test_numbers_are_bounded(kind, given, name, least, most):
    for value in (least, most):
        assert getattr(kind(**given | {name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError):
            kind(**given | {name: value})


def test_what_is_taken_where_nothing_is_said():
    asked = request()
    assert asked.calibration == CalibrationSpec(samples=64, max_length=128, batch_size=8)
    assert (asked.seed, asked.targets, asked.ignore) == (0, ("*",), ())
    assert (asked.allow_unmatched, asked.split_qkv, asked.include_bridge) == (False,) * 3
    assert EvaluationSpec(set="sentences") == EvaluationSpec(
        set="sentences", samples=256, max_length=128, max_new_tokens=48, batch_size=16, seed=0
    )
    assert QualityGate(metric="kl", max_drop=0).keep_artifacts is False


@pytest.mark.parametrize(
    ("pattern", "implied"),
    [("unstructured", None), ("1:2", 0.5), ("63:64", 1 / 64), ("1:64", 63 / 64), ("2:4", 0.5)],
)
def test_what_a_pattern_implies(pattern, implied):
    assert request(sparsity=None if implied else 0.5, pattern=pattern).implied_sparsity() == implied


@pytest.mark.parametrize("pattern", ["64:65", "64:64", "2:1"])
def test_patterns_beyond_the_largest_group(pattern):
    with pytest.raises(ValidationError) as error:
        request(sparsity=None, pattern=pattern)
    assert codes(error) == ["pattern_invalid"]


@pytest.mark.parametrize("pattern", ["0:4", "4:0", "100:4", "2:4 ", "x", "2-4", ""])
def test_what_is_no_pattern(pattern):
    with pytest.raises(ValidationError) as error:
        request(sparsity=None, pattern=pattern)
    assert codes(error) == ["string_pattern_mismatch"]


def test_the_ends_of_the_range_of_sparsities():
    assert request(sparsity={"vision": 0, "language": 0.999}).sparsity["language"] == 0.999
    for sparsity in (-1e-9, 1.0):
        with pytest.raises(ValidationError):
            request(sparsity={"vision": 0.5, "language": sparsity})


def test_a_pattern_and_the_sparsity_it_means_agree():
    assert request(sparsity=0.5, pattern="2:4").sparsity == 0.5
    assert request(sparsity={"vision": 0.5, "language": 0}, pattern="2:4")
    with pytest.raises(ValidationError) as error:
        request(sparsity={"vision": 0.5, "language": 0.6}, pattern="2:4")
    assert codes(error) == ["sparsity_contradicts_pattern"]


@pytest.mark.parametrize(("name", "most"), [("model", 512), ("method", 64)])
def test_names_are_bounded(name, most):
    assert getattr(request(**{name: "x" * most}), name) == "x" * most
    with pytest.raises(ValidationError):
        request(**{name: "x" * (most + 1)})


def test_a_model_has_a_name():
    with pytest.raises(ValidationError):
        request(model="")


def routed(**fields):
    calibration = {"set": "scenes"}
    return JobRequest(**{"model": "m", "method": "par", "calibration": calibration} | fields)


@pytest.mark.parametrize(
    "field",
    [
        {"sparsity": 0.5},
        {"pattern": "2:4"},
        {"targets": ["a"]},
        {"ignore": ["a"]},
        {"allow_unmatched": True},
        {"split_qkv": True},
        {"include_bridge": True},
        {"expert_tokens": 5},
    ],
)
def test_a_method_that_prunes_routes_is_asked_nothing_of_weights(field):
    assert routed().sparsity is None
    with pytest.raises(ValidationError, match=f"leave out {next(iter(field))}") as error:
        routed(**field)
    assert codes(error) == ["weights_stay_dense"]


def test_a_method_that_prunes_routes_takes_a_seed_and_needs_images():
    assert resolve(routed(seed=3)).recipe.kind == "routing"
    with pytest.raises(
        ValidationError, match=r"par learns .* and sentences has texts only"
    ) as error:
        routed(calibration={"set": "sentences"})
    assert codes(error) == ["calibration_set_has_no_images"]


def test_what_a_router_makes_is_judged_by_accuracy():
    evaluation = {"set": "scenes"}
    gate = {"metric": "accuracy", "max_drop": 0.1}
    assert resolve(routed()).evaluation is None
    for metrics in ((), ("accuracy",)):
        asked = routed(evaluation=evaluation | {"metrics": metrics}, quality_gate=gate)
        assert resolve(asked).evaluation.metrics == ("accuracy",)
    for metrics, gated in ((("perplexity",), None), ((), gate | {"metric": "kl"})):
        asked = routed(evaluation=evaluation | {"metrics": metrics}, quality_gate=gated)
        with pytest.raises(MetricNotApplicableError):
            resolve(asked)


def test_a_calibration_set_that_fits_the_model_is_taken_where_none_is_named():
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    asked = request(method="wanda")
    assert resolve(asked).calibration.set is None
    assert resolve(asked, config).calibration.set == "sentences"
    named = request(method="wanda", calibration={"set": "shapes", "samples": 3})
    assert resolve(named, config).calibration == named.calibration
    assert resolve(request(), config).calibration is None


def test_a_gate_is_measured():
    gate = {"metric": "kl", "max_drop": 0.1}
    with pytest.raises(ValidationError) as error:
        request(quality_gate=gate)
    assert codes(error) == ["quality_gate_without_evaluation"]
    with pytest.raises(ValidationError) as error:
        request(quality_gate=gate, evaluation={"set": "sentences", "metrics": ["perplexity"]})
    assert codes(error) == ["quality_gate_not_measured"]
    for metrics in ((), ("kl", "perplexity")):
        evaluation = {"set": "sentences", "metrics": metrics}
        assert request(quality_gate=gate, evaluation=evaluation).quality_gate.metric == "kl"


@pytest.mark.parametrize("drop", [-0.1, float("inf"), float("nan")])
def test_a_gate_allows_a_drop_that_is_a_number(drop):
    with pytest.raises(ValidationError):
        QualityGate(metric="kl", max_drop=drop)


@pytest.mark.parametrize("metric", MetricName)
def test_which_metrics_are_better_when_lower(metric):
    assert metric.lower_is_better is (metric in {"perplexity", "kl"})


def test_recipes_stored_before_there_were_routes_are_of_weights():
    stored = resolve(request()).model_dump(mode="json")
    stored["recipe"].pop("kind")
    assert JobSpec.model_validate(stored) == resolve(request())
    routes = resolve(routed()).model_dump(mode="json")
    assert JobSpec.model_validate(routes).recipe.kind == "routing"


def test_what_is_reproduced_is_what_decides_the_result():
    asked = {"seed": 3, "calibration": {"samples": 8}, "device": "cpu"}
    others = {"priority": 3, "labels": {"a": "b"}, "publish_as": "captioner"}
    found = request(**asked, **others).reproduced()
    assert found == {"model": "m", "method": "magnitude", "sparsity": 0.5} | asked
    assert JobRequest.model_validate(found).reproduced() == found


def test_reconstruction_makes_any_method_read_data():
    asked = request(method="magnitude", reconstruction={"kind": "least-squares", "damping": 0.1})
    spec = resolve(asked)
    assert spec.recipe.reconstruction == LeastSquares(damping=0.1)
    assert spec.calibration is not None
    assert resolve(request(method="magnitude")).calibration is None


def test_a_recipe_has_a_reconstruction_of_its_own():
    parts = {"reconstruction": {"kind": "least-squares"}}
    asked = {"model": "m", "sparsity": 0.5, "recipe": parts}
    assert resolve(JobRequest(**asked)).recipe.solves
    with pytest.raises(ValidationError, match="reconstruction of its own"):
        JobRequest(**asked, reconstruction={"kind": "least-squares"})


WIDTH = {"kind": "width", "mlp_removed": 0.5}


def test_a_method_that_takes_structure_out_zeroes_nothing():
    spec = resolve(JobRequest(model="m", method="width", parameters={"mlp_removed": 0.25}))
    assert spec.recipe.structure == (Width(mlp_removed=0.25),)
    assert spec.calibration is not None
    assert not spec.recipe.zeroes
    with pytest.raises(ValidationError, match="width zeroes no weights; leave out sparsity"):
        JobRequest(model="m", method="width", sparsity=0.5)
    with pytest.raises(MethodParameterError, match=r"'mlp_removed\.all' of 'width': must be below"):
        resolve(JobRequest(model="m", method="width", parameters={"mlp_removed": 1}))


@pytest.mark.parametrize("method", ["width", "depth", "experts"])
def test_what_is_left_of_a_smaller_model_may_be_trained_as_a_whole(method):
    for settings in ({"steps": 3}, {"steps": 3, "scope": "model"}):
        recipe = resolve(JobRequest(model="m", method=method, recovery=settings)).recipe
        assert recipe.recovery_of("model").steps == 3
        assert recipe.recovery_of("block") is None
    zeroed = resolve(request(structure=[WIDTH], recovery={"steps": 3})).recipe
    assert zeroed.recovery_of("block").steps == 3
    assert zeroed.recovery_of("model") is None


def test_blocks_are_not_trained_where_no_weights_become_zero():
    asked = {"recovery": {"scope": "block"}}
    for choice in ({"method": "width"}, {"recipe": {"structure": [WIDTH]} | asked}):
        wanted = choice if "recipe" in choice else choice | asked
        with pytest.raises(RecipeError, match="give it the scope model"):
            resolve(JobRequest(model="m", **wanted))


def test_structure_goes_before_any_method_or_alone():
    spec = resolve(request(method="magnitude", structure=[WIDTH]))
    assert spec.recipe.zeroes
    assert spec.calibration is not None, "magnitude reads none, width does"
    alone = resolve(JobRequest(model="m", recipe={"structure": [WIDTH]}))
    assert (alone.recipe.sparsity, alone.recipe.zeroes) == (0, False)
    with pytest.raises(ValidationError, match="sparsity is needed"):
        JobRequest(model="m", method="magnitude", structure=[WIDTH])
    with pytest.raises(ValidationError, match="structure of its own"):
        JobRequest(model="m", recipe={"structure": [WIDTH]}, structure=[WIDTH])


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        ([WIDTH, WIDTH], "structure_repeated"),
        ([{"kind": "width", "mlp_removed": 0}], "structure_zero"),
        ([{"kind": "depth", "removed": {"vision": 0.0}}], "structure_zero"),
        ([{"kind": "depth", "removed": None}], "structure_zero"),
        ([{"kind": "depth", "keep": {}}], "structure_zero"),
        ([{"kind": "depth", "keep": [0, 2, 2]}], "structure_keep_not_rising"),
        ([{"kind": "depth", "keep": {"vision": [1, 0]}}], "structure_keep_not_rising"),
        ([{"kind": "depth", "keep": [0], "removed": 0.25}], "structure_keep_contradicted"),
        ([{"kind": "depth", "keep": [0], "score": "output"}], "structure_keep_contradicted"),
        ([{"kind": "depth", "keep": [0], "ends": True}], "structure_keep_contradicted"),
        ([{"kind": "height"}], "union_tag_invalid"),
        ([{"kind": "depth", "removed": 1.0}], "less_than"),
        ([{"kind": "width", "colour": 1}], "extra_forbidden"),
    ],
)
def test_what_is_wrong_with_a_structure_has_a_code(structure, code):
    with pytest.raises(ValidationError) as refused:
        request(structure=structure)
    assert [error["type"] for error in refused.value.errors()] == [code]


def test_scores_of_another_job_are_of_another_model():
    scores = {"kind": "reused", "job": "job_1"}
    recipe = {"allocation": {"kind": "ecoflap", "scores": scores}, "structure": [WIDTH]}
    with pytest.raises(RecipeError, match="before its structure changed"):
        resolve(JobRequest(model="m", recipe=recipe, sparsity=0.5))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"pattern": "2:4"}, "pattern_given_twice"),
        ({"reconstruction": {"kind": "least-squares"}}, "reconstruction_given_twice"),
        ({"recovery": {"steps": 5}}, "recovery_given_twice"),
    ],
)
def test_a_part_is_given_in_the_recipe_or_beside_it(more, code):
    request = {"model": "tiny", "recipe": {}, "sparsity": 0.5} | more
    with pytest.raises(ValidationError) as error:
        JobRequest.model_validate(request)
    assert [issue["type"] for issue in error.value.errors()] == [code]


@pytest.mark.parametrize("method", ["magnitude", "recommended"])
def test_recovery_goes_with_a_method_and_needs_data(method):
    request = {"model": "tiny", "method": method, "sparsity": 0.5, "recovery": {"steps": 5}}
    spec = resolve(JobRequest.model_validate(request))
    assert spec.recipe.recovery == Recovery(steps=5)
    assert spec.calibration is not None
    plain = resolve(JobRequest.model_validate(request | {"recovery": None}))
    assert plain.recipe.recovery is None
    assert (plain.calibration is None) == (method == "magnitude")


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({}, ["field_missing"]),
        ({"method": "recipe"}, ["field_missing"]),
        ({"method": "wanda", "recipe": {}}, ["method_and_recipe"]),
        ({"recipe": {}, "parameters": {"scope": "row"}}, ["parameters_without_method"]),
        ({"recipe": {"colour": 1}}, ["extra_forbidden"]),  # and no word of a method that is missing
    ],
)
def test_a_method_is_named_or_a_recipe_given(asked, wrong):
    with pytest.raises(ValidationError) as error:
        JobRequest.model_validate({"model": "m", "sparsity": 0.5} | asked)
    assert codes(error) == wrong


@pytest.mark.parametrize(
    ("method", "asked", "counted"),
    [
        *(("wanda", None, None), ("wanda", "all", "all"), ("wanda", "atv", "atv")),
        *(("wanda", "amia", "amia"), ("atv", None, "atv"), ("atv", "all", "all")),
        *(("tamp", None, "amia"), ("snip", None, None), ("snip", "all", "all")),
        *(("recommended", None, None), ("recommended", "atv", "atv")),
    ],
)
def test_which_tokens_count_is_chosen_or_what_the_method_says(method, asked, counted):
    spec = resolve(request(method=method, calibration={"tokens": asked}))
    assert spec.calibration.tokens == counted


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"method": "snip"}, "snip takes no statistics of inputs"),
        ({"structure": [WIDTH]}, "magnitude takes no statistics of inputs"),
        ({"method": "depth", "sparsity": None}, "depth takes no statistics of inputs"),
        ({"method": "recommended"}, "with the objective pruned-inputs alone"),
    ],
)
def test_tokens_are_chosen_where_inputs_of_the_pruned_model_are_read(fields, says):
    with pytest.raises(RecipeError, match=says):
        resolve(request(**fields, calibration={"tokens": "amia"}))


def test_a_router_s_tokens_are_not_chosen():
    with pytest.raises(RecipeError, match="par takes no statistics of inputs"):
        resolve(routed(calibration={"set": "scenes", "tokens": "atv"}))


def test_the_parts_of_a_recipe_say_nothing_of_tokens():
    parts = {"importance": {"kind": "wanda"}}
    asked = {"model": "m", "sparsity": 0.5, "recipe": parts}
    assert resolve(JobRequest(**asked)).calibration == CalibrationSpec()
    asked["calibration"] = {"tokens": "atv"}
    assert resolve(JobRequest(**asked)).calibration.tokens == "atv"


def test_the_range_of_a_sparsity_is_in_the_schema():
    schema = json.dumps(JobRequest.model_json_schema()["properties"]["sparsity"])
    assert schema.count('{"exclusiveMaximum": 1, "minimum": 0, "type": "number"}') == 2


@pytest.mark.parametrize("sparsity", [0.5, {Modality.VISION: 0.3}])
def test_a_resolved_sparsity_is_one_number_or_one_of_each_modality(sparsity):
    kind = TypeAdapter(AnySparsity)
    assert kind.validate_python(sparsity) == sparsity
    with pytest.raises(ValidationError):
        kind.validate_python("auto")


def test_the_pattern_of_a_recipe_implies_its_sparsity_too():
    asked = {"model": "m", "recipe": {"pattern": {"kind": "n:m", "n": 1, "m": 4}}}
    assert JobRequest(**asked).implied_sparsity() == 0.75
    assert resolve(JobRequest(**asked)).recipe.sparsity == 0.75
    with pytest.raises(ValidationError) as error:
        JobRequest(**asked, sparsity=0.5)
    assert codes(error) == ["sparsity_contradicts_pattern"]
    assert JobRequest(model="m", recipe={}, sparsity=0.5).implied_sparsity() is None


@pytest.mark.parametrize("method", ["depth", "width"])
def test_structure_may_be_chosen_by_texts(method):
    spec = resolve(JobRequest(model="m", method=method, calibration={"set": "sentences"}))
    assert spec.calibration.set == "sentences"


def test_a_recipe_reads_data_where_its_parts_do():
    for parts, reads in (({}, False), ({"importance": {"kind": "wanda"}}, True)):
        spec = resolve(JobRequest(model="m", recipe=parts, sparsity=0.5))
        assert (spec.calibration is not None) is reads
        assert spec.method == "recipe"


def test_structure_in_a_recipe_may_be_all_that_is_pruned():
    parts = {"structure": [WIDTH], "pattern": {"kind": "n:m", "n": 2, "m": 4}}
    for sparsity in (None, 0.5):
        assert resolve(JobRequest(model="m", recipe=parts, sparsity=sparsity)).recipe.zeroes
    parts = {"structure": [WIDTH]}
    for sparsity in (None, 0):
        assert not resolve(JobRequest(model="m", recipe=parts, sparsity=sparsity)).recipe.zeroes


@pytest.mark.parametrize(
    "pattern", [{"pattern": "1:4"}, {"recipe": {"pattern": {"kind": "n:m", "n": 1, "m": 4}}}]
)
def test_a_contradiction_is_told_with_the_pattern_and_what_it_means(pattern):
    method = {} if "recipe" in pattern else {"method": "magnitude"}
    with pytest.raises(ValidationError, match=r"1:4 means sparsity 0\.75; leave sparsity out"):
        JobRequest(model="m", sparsity=0.6, **method, **pattern)


@pytest.mark.parametrize(
    ("sparsity", "code"), [(None, "sparsity_missing"), (0, "sparsity_zero"), (0.5, None)]
)
def test_a_recipe_without_structure_prunes_something(sparsity, code):
    if code is None:
        assert JobRequest(model="m", recipe={}, sparsity=sparsity).sparsity == sparsity
        return
    with pytest.raises(ValidationError) as error:
        JobRequest(model="m", recipe={}, sparsity=sparsity)
    assert codes(error) == [code]


def test_what_loses_structure_may_be_quantised_and_what_loses_routes_may_not():
    given = {"quantization": "int8"}
    spec = resolve(JobRequest(model="m", method="width", **given))
    assert spec.recipe.quantization == "int8"
    with pytest.raises(ValidationError, match="leave out quantization"):
        routed(**given)


@pytest.mark.parametrize(
    ("name", "example"),
    [
        (name, example)
        for name, field in JobRequest.model_fields.items()
        for example in field.examples or []
    ],
)
def test_the_examples_of_a_field_are_accepted(name, example):
    assert name in request(**{name: example}).model_fields_set


@pytest.mark.parametrize(
    ("name", "given", "made"),
    [
        ("pattern", {"kind": "n:m", "n": 2, "m": 4}, NM(n=2, m=4)),
        ("reconstruction", {"kind": "least-squares"}, LeastSquares()),
        ("structure", [WIDTH], (Width(mlp_removed=0.5),)),
        ("recovery", {"steps": 5}, Recovery(steps=5)),
    ],
)
def test_a_part_of_a_recipe_is_kept_as_it_was_given(name, given, made):
    spec = resolve(JobRequest(model="m", sparsity=0.5, recipe={name: given}))
    assert getattr(spec.recipe, name) == made
