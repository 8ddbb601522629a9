"""MULTIFLOW against the official code: statistics, scores, budgets and masks."""

import numpy as np
import pytest
import torch

from app.recipes.modality import Modality
from app.recipes.recipe import build_recipe
from tests.conformance.multiflow.cases import arrays, description, matrix, needs_cases
from workers.pruning.allocation import allocate
from workers.pruning.calibration.statistics import SquareSum
from workers.pruning.importance import find_criterion
from workers.pruning.selection.selection import Selection

pytestmark = needs_cases
CASES = ["hand_dino", "chain_dino", "xvlm_general", "blip_combined"]
TOKENS = 6  # texts of the recorded runs have six positions, images five


def layers(case):
    """Each matrix with the statistic of its recorded inputs."""
    data, told = arrays(case), description(case)
    kinds = ["gen", "reg"] if any(key.startswith("reg/") for key in data.files) else ["gen"]
    masks = [f"{kind}/{i}/2" for i in range(told["num_batches"]) for kind in kinds]
    for layer in told["layers"]:
        name = layer["name"]
        statistic = SquareSum(layer["shape"][1], torch.device("cpu"))
        for call, mask in enumerate(masks):
            seen = torch.tensor(data[f"act/{name}/{call}"])
            real = torch.ones(seen.shape[:2], dtype=torch.bool)
            if seen.shape[1] == TOKENS:
                real = torch.tensor(data[mask]).bool()
            statistic.add(seen[real], len(seen))
        yield matrix(name, data[f"w0/{name}"], Modality(layer["modality"])), statistic, data


def recipe(sparsity):
    return build_recipe("multiflow", {}, "unstructured", sparsity=sparsity)


@pytest.mark.parametrize("case", CASES)
def test_statistics_and_scores(case):
    criterion = find_criterion(recipe(0.5))
    for each, statistic, data in layers(case):
        expected = data[f"sq/{each.name}"]
        assert np.abs(statistic.mean.numpy() - expected).max() <= 1e-5 * expected.max()
        scores = criterion.scores(each.weight, criterion.digest(statistic)).double().numpy()
        wanted = data[f"score/{each.name}"].astype(np.float64)
        # Ours are relative: the same up to one factor per matrix.
        factor = wanted.sum() / scores.sum()
        assert np.abs(scores * factor - wanted).max() <= 1e-5 * wanted.max(), each.name


@pytest.mark.parametrize("case", CASES)
def test_budgets_and_masks(case):
    for text, result in description(case)["results"].items():
        asked = recipe(float(text))
        criterion = find_criterion(asked)
        found = {each: (statistic, data) for each, statistic, data in layers(case)}
        ranks = {each: each.weight.float().abs for each in found}
        counts = allocate(asked, ranks)
        for modality in {each.modality for each in found}:
            pool = [each for each in found if each.modality is modality]
            total = sum(each.numel for each in pool)
            assert (
                sum(counts[each] for each in pool) == int(total * round(float(text) * 100)) // 100
            )
        for each, (statistic, data) in found.items():
            recorded = result["layers"][each.name]
            assert counts[each] == recorded["mag_pruned"]
            scores = criterion.scores(each.weight, criterion.digest(statistic))
            gone = Selection(asked.pattern, counts[each]).mask(scores).numpy()
            theirs = data[f"mask/{text}/{each.name}"] == 0
            short = counts[each] - recorded["pruned"]  # their float ratio loses a weight at times
            assert short in {0, 1}
            assert (theirs & ~gone).sum() == 0
            assert (gone & ~theirs).sum() == short, each.name
