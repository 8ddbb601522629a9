"""What a PAR job found: the report, the job's result, and why it fails nonetheless."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from app.domain.errors import QualityGateError
from app.domain.evaluation import EvaluationReport
from app.domain.routing import Routing
from app.domain.routing_report import PolicyReport, ProfileReport, RoutingGate, RoutingReport
from workers.pipeline.evaluation.interval import Scores, compare
from workers.pruning.par.answers import Closeness
from workers.pruning.par.flops import Costs
from workers.pruning.par.judging import ROUTER
from workers.pruning.par.learning import Learned
from workers.pruning.par.runtime import Profile


def build(
    routing: Routing,
    costs: Costs,
    learned: Learned,
    *,
    profiles: Mapping[str, Profile],
    records: Mapping[str, int],
    found: Mapping[str, Closeness],
    evaluation: EvaluationReport | None,
) -> RoutingReport:
    """The whole report.

    Args:
        routing: what was asked for.
        costs: of the typical prompt.
        learned: the router and its rounds.
        profiles: of the artifact; the first is the budget asked for.
        records: how many of them trained, chose and judged.
        found: per record, of the router and of its baselines.
        evaluation: where one was asked for.
    """
    told = {name: _profile(costs, profile) for name, profile in profiles.items()}
    asked = next(iter(told.values()))
    policies = {name: _policy(found[ROUTER], near, routing.seed) for name, near in found.items()}
    return RoutingReport(
        routing=routing,
        tokens=asked.tokens,
        layers=asked.layers,
        of_layers=costs.layers,
        flops_ratio=asked.flops_ratio,
        typical_prompt=asdict(costs.prompt),
        records=dict(records),
        influence=tuple(learned.influence.tolist()),
        rounds=learned.rounds,
        chosen=learned.chosen,
        profiles=told,
        policies={
            name: policy.model_copy(update={"kl_over_router": None}) if name == ROUTER else policy
            for name, policy in policies.items()
        },
        gate=_gate(found, taken_anyway=routing.take_anyway),
        evaluation=evaluation,
    )


def _profile(costs: Costs, profile: Profile) -> ProfileReport:
    budget = (costs.tokens(profile.tokens), profile.layers, profile.drop_layer)
    return ProfileReport(
        **asdict(profile), flops_ratio=costs.ratio(*budget), cached_ratio=costs.cached(*budget)
    )


def _policy(router: Closeness, near: Closeness, seed: int) -> PolicyReport:
    kl = compare(_scores(router.kl), _scores(near.kl), seed)
    agreement = compare(_scores(router.agreement), _scores(near.agreement), seed)
    exact = compare(_scores(router.exact), _scores(near.exact), seed)
    return PolicyReport(
        kl=kl.after, agreement=agreement.after, exact=exact.after, kl_over_router=kl.change
    )


def _scores(values: Tensor) -> Scores:
    array = values.numpy().astype(np.float64)
    return Scores(array, np.ones_like(array))


def _gate(found: Mapping[str, Closeness], *, taken_anyway: bool) -> RoutingGate:
    means = {name: float(near.kl.mean()) for name, near in found.items()}
    baselines = [name for name in means if name != ROUTER]
    return RoutingGate(
        beaten=tuple(name for name in baselines if means[name] > means[ROUTER]),
        unbeaten=tuple(name for name in baselines if means[name] <= means[ROUTER]),
        taken_anyway=taken_anyway,
    )


def result(report: RoutingReport) -> dict[str, Any]:
    """The part of a job's result that says what came out."""
    found: dict[str, Any] = {
        "routing": report.model_dump(mode="json", exclude={"routing", "evaluation", "influence"}),
        "warnings": [],
    }
    if report.evaluation is not None:
        found["evaluation"] = report.evaluation.model_dump(mode="json")
    return found


def refusal(report: RoutingReport) -> QualityGateError | None:
    """Why the job fails; None where it does not."""
    gate = report.gate
    if not (gate.passed or gate.taken_anyway):
        means = ", ".join(f"{name} {each.kl.value:.4g}" for name, each in report.policies.items())
        return QualityGateError(
            f"the router does not beat {' and '.join(gate.unbeaten)} on held-out records (KL: "
            f"{means}); give it more records or rounds, or a smaller budget; `take_anyway` takes "
            "it as it is"
        )
    asked = report.evaluation.gate if report.evaluation else None
    if asked is None or asked.passed:
        return None
    return QualityGateError(
        f"{asked.metric} got {asked.drop:.4g} worse and may get {asked.max_drop:g} worse"
    )


def wanted(report: RoutingReport) -> bool:
    """Whether the router's files are made."""
    asked = report.evaluation.gate if report.evaluation else None
    good = asked is None or asked.passed or asked.keep_artifacts
    return good and (report.gate.passed or report.gate.taken_anyway)
