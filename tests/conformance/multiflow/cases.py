"""Recorded cases as the engine's own matrices."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.recipes.modality import Modality
from workers.pruning.models.layout.structure import Matrix

CASES = Path(__file__).parents[3] / "../shared/conformance/multiflow"
needs_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason="recorded results of the official code are not in this checkout"
)


def arrays(name):
    return np.load(CASES / f"{name}.npz")


def description(name):
    return json.loads((CASES / f"{name}.json").read_text())


def matrix(name, weight, modality=Modality.LANGUAGE):
    parameter = nn.Parameter(torch.tensor(weight))
    return Matrix(name, name, modality, parameter, callers=())


def baseline(name):
    """Dense matrices of the shared model in the recorded order, and the recorded arrays."""
    dense = arrays("base_model_and_data")
    order = description(name)["layer_order"]
    return [matrix(each, dense[f"w0/{each}"]) for each in order], arrays(name)
