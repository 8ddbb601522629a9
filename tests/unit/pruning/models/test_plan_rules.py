"""The plan's rules on names, held against what each family's adapter really prunes."""

import pytest

from app.domain.plans import prunable
from app.domain.recipe import Recipe
from tests.families import FAMILIES
from workers.pruning.models.loading import load_model
from workers.pruning.models.registry import adapt


@pytest.mark.parametrize("name", sorted(family.name for family in FAMILIES))
def test_the_plan_names_what_the_adapter_prunes(name, family_directory):
    directory = family_directory(name)
    loaded = load_model(directory)
    adapter = adapt(loaded)
    real = {matrix.file_key: matrix.modality for matrix in adapter.matrices}
    tensors = loaded.checkpoint.tensors
    planned = {m.file_key: m.modality for m in prunable(tensors, Recipe(sparsity=0.5))}
    assert planned == real
