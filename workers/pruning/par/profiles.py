"""The budgets one router is shipped with."""

from workers.pruning.par.runtime import Anatomy, Profile, layer_candidates

_BUDGETS = {
    "quality": (0.444, 28),
    "balanced": (0.306, 28),  # the paper trains for these: 176 of 576 tokens, 28 of 32 layers
    "fast": (0.25, 24),
    "turbo": (0.222, 24),
    "token-only": (0.306, 32),
    "layer-only": (1.0, 28),
}
_PAPER_LAYERS = 32


def standard_profiles(subject: Anatomy, drop_layer: int) -> dict[str, Profile]:
    """The paper's budgets for a model of N layers, layers as a share rounded to whole ones.

    A model whose image tokens stay gets the layer budgets only. "early" is "balanced" with the
    tokens dropped before the first layer, as serving stacks without hooks between layers can do.
    """
    total = len(subject.layers)
    least = total - len(layer_candidates(total, drop_layer))
    made = {
        name: Profile(tokens, max(least, round(total * layers / _PAPER_LAYERS)), drop_layer)
        for name, (tokens, layers) in _BUDGETS.items()
    }
    made["early"] = Profile(made["balanced"].tokens, made["balanced"].layers, 0)
    if subject.prunes_tokens:
        return made
    return {
        name: Profile(1.0, budget.layers, drop_layer)
        for name, budget in made.items()
        if name not in {"token-only", "early"}
    }
