"""Which settings of solving for weights go together."""

import pytest

from app.errors import MethodParameterError
from app.recipes.recipe import build_recipe


def recipe_of(**parameters):
    return build_recipe("admm", parameters, "unstructured", sparsity=0.5)


@pytest.mark.parametrize("objective", ["pruned-inputs", "dense-inputs"])
def test_dampings_are_tried_where_batches_are_held_out(objective):
    with pytest.raises(MethodParameterError, match="target_dampings"):
        recipe_of(objective=objective, target_dampings=[0.1])
    assert recipe_of(objective="mixed", target_dampings=[0.1]).importance.target_dampings == (0.1,)


@pytest.mark.parametrize("damping", [0, -1, 101, float("nan")])
def test_a_damping_is_above_zero(damping):
    with pytest.raises(MethodParameterError, match="target_dampings"):
        recipe_of(objective="mixed", target_dampings=[damping])
