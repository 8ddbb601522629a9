"""Rounds: kept, continued to the same bits, the best one chosen."""

import pytest
import torch

from app.errors import RecipeError
from app.recipes.routing import Routing, TokensAndLayers
from workers.pruning.resume import NoCheckpoints
from workers.pruning.routing.judging import averaged, contestants, judge
from workers.pruning.routing.learning import learn
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import Profile, anatomy, layer_candidates

ROUTING = Routing(
    budget=TokensAndLayers(tokens=0.5, layers=5),
    rounds=2,
    candidates=2,
    epochs=2,
    learning_rate=3e-3,
)


class Kept(NoCheckpoints):
    def __init__(self):
        self.entries = {}

    def get(self, name):
        return self.entries.get(name)

    def put(self, name, entry):
        tensors = {key: value.clone() for key, value in entry.tensors.items()}
        self.entries[name] = type(entry)(entry.values, tensors)


class LostError(Exception):
    pass


def run(adapter, answered, rules, directory, **options):
    with torch.no_grad():
        return learn(
            adapter,
            options.pop("routing", ROUTING),
            rules,
            training=answered[:3],
            choosing=answered[-1:],
            scratch=directory,
            **options,
        )


def test_a_run_that_continues_comes_to_the_same_bits(adapter, answered, rules, tmp_path):
    whole = run(adapter, answered, rules, tmp_path)
    for stage in ("mining", "training"):
        kept = Kept()

        def lose(step, stage=stage):
            if (step.round, step.stage, step.done) == (1, stage, 2):
                raise LostError

        with pytest.raises(LostError):
            run(adapter, answered, rules, tmp_path, checkpoints=kept, listener=lose)
        assert set(kept.entries) == {"influence", "round-0"}
        steps = []
        again = run(adapter, answered, rules, tmp_path, checkpoints=kept, listener=steps.append)
        assert {step.round for step in steps if step.report is None} == {1}
        assert again.rounds == whole.rounds
        assert again.chosen == whole.chosen
        state = again.router.state_dict()
        for name, value in whole.router.state_dict().items():
            assert torch.equal(value, state[name]), name


def test_the_round_of_the_least_held_out_divergence_is_chosen(adapter, answered, rules, tmp_path):
    found = run(adapter, answered, rules, tmp_path)
    figures = [each.held_out_kl for each in found.rounds]
    assert figures[found.chosen] == min(figures)
    with torch.no_grad():
        contest = contestants(found.router, rules)
        judged = judge(adapter, answered[-1:], {"router": contest["router"]})
    assert float(judged["router"].kl.mean()) == pytest.approx(min(figures))


def test_the_model_is_left_as_it_was(adapter, answered, rules, tmp_path):
    before = {name: value.clone() for name, value in adapter.model.state_dict().items()}
    own = [set(vars(layer)) for layer in anatomy(adapter.model).layers]
    run(adapter, answered, rules, tmp_path)
    assert [set(vars(layer)) for layer in anatomy(adapter.model).layers] == own
    after = adapter.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(parameter.grad is not None for parameter in adapter.model.parameters())


def test_a_full_router_is_trained_as_well(adapter, answered, rules, tmp_path):
    routing = ROUTING.model_copy(update={"router": "full", "rounds": 1})
    found = run(adapter, answered, rules, tmp_path, routing=routing)
    assert found.router.shape() == {"kind": "full", "depth": 2}


def test_a_budget_that_changes_nothing_teaches_nothing(adapter, answered, tmp_path):
    rules = Rules(Profile(0.999, 6, 2), layer_candidates(6, 2), 0.1)
    with pytest.raises(RecipeError, match="nothing to learn"):
        run(adapter, answered, rules, tmp_path)


def test_random_figures_are_means_over_seeds(adapter, answered, rules, tmp_path):
    routing = ROUTING.model_copy(update={"rounds": 1})
    router = run(adapter, answered, rules, tmp_path, routing=routing).router
    with torch.no_grad():
        found = judge(adapter, answered[:1], contestants(router, rules))
    means = averaged(found)
    assert set(means) == {"router", "random", "uniform", "prior"}
    drawn = torch.stack([found[f"random-{seed}"].kl for seed in range(5)])
    assert drawn.std(0).max() > 0
    assert torch.allclose(means["random"].kl, drawn.mean(0))
