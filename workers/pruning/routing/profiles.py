"""The budgets one router is trained for and shipped with."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from app.planning.routable import LayerBudgetError, TokenBudgetError, check_layers, running_layers
from app.recipes.routing import PROFILES, FlopsRatio, Routing, TokensAndLayers
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.flops import Costs, Prompt, solve
from workers.pruning.routing.runtime import Anatomy, ParError, Profile, layer_candidates


def standard_profiles(subject: Anatomy, drop_layer: int) -> dict[str, Profile]:
    """The paper's budgets for a model of N layers, layers as a share rounded to whole ones.

    A model whose image tokens stay gets the layer budgets only. "early" is "balanced" with the
    tokens dropped before the first layer, as serving stacks without hooks between layers can do.
    """
    made: dict[str, Profile] = {
        name: _profile(budget, subject, drop_layer) for name, budget in PROFILES.items()
    }
    if subject.prunes_tokens:
        return made | {"early": replace(made["balanced"], drop_layer=0)}
    del made["token-only"]
    return {name: replace(profile, tokens=1.0) for name, profile in made.items()}


def typical_prompt(subject: Anatomy, answered: Sequence[Answered]) -> Prompt:
    """Mean lengths of the prompts, rounded.

    Raises:
        TokenBudgetError: they hold no image tokens.
    """
    ids = torch.tensor(subject.vision_ids)
    rows, vision, whole = 0, 0, 0
    for batch in answered:
        prompts = batch.inputs["input_ids"][:, : batch.length]
        rows += len(prompts)
        whole += prompts.numel()
        vision += int(torch.isin(prompts, ids.to(prompts.device)).sum())
    if not vision:
        raise TokenBudgetError("the prompts hold no image tokens")
    images = max(1, round(vision / rows))
    return Prompt(text=round(whole / rows) - images, vision=images)


def budget_of(routing: Routing, subject: Anatomy, costs: Costs) -> Profile:
    """The budget a job asks for, on this model.

    A count of tokens is taken as its share of the typical prompt's image tokens.

    Raises:
        LayerBudgetError: more layers were to be skipped than may be, or no budget is that cheap.
    """
    budget = routing.budget
    if isinstance(budget, FlopsRatio):
        try:
            return solve(
                costs,
                budget.ratio,
                prunes_tokens=subject.prunes_tokens,
                drop_layer=routing.drop_layer,
            )
        except ParError as error:
            raise LayerBudgetError(str(error)) from error
    check_layers(len(subject.layers), routing)
    found = _profile(budget, subject, routing.drop_layer)
    if budget.tokens > 1:
        return replace(found, tokens=min(1.0, budget.tokens / costs.prompt.vision))
    return found


def _profile(budget: TokensAndLayers, subject: Anatomy, drop_layer: int) -> Profile:
    total = len(subject.layers)
    able = len(layer_candidates(total, drop_layer))
    layers = running_layers(budget.layers, total, able)
    return Profile(tokens=min(1.0, budget.tokens), layers=layers, drop_layer=drop_layer)
