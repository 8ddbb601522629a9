import pytest
from pydantic import ValidationError

from app.domain.submission import JobRequest, JobSpec, resolve
from app.errors import MethodParameterError, UnknownMethodError
from app.recipes.allocation import Pooled
from app.recipes.modality import Modality
from app.recipes.pattern import NM, Unstructured


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
