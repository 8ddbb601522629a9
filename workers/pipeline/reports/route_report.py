"""What a PAR job found: the report, the job's result, and why it fails nonetheless."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from torch import Tensor

from app.domain.job_result import JobResult
from app.recipes.evaluation import EvaluationReport, QualityGateError
from app.recipes.routing import Routing
from app.recipes.routing_report import PolicyReport, ProfileReport, RoutingGate, RoutingReport
from app.reports.routing import shortcoming
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pruning.routing.answers import Closeness
from workers.pruning.routing.flops import Costs
from workers.pruning.routing.judging import ROUTER
from workers.pruning.routing.learning import Learned
from workers.pruning.routing.runtime import Profile


def build(
    routing: Routing,
    costs: Costs,
    learned: Learned,
    *,
    profiles: Mapping[str, Profile],
    records: Mapping[str, int],
    closeness: Mapping[str, Closeness],
    evaluation: EvaluationReport | None,
) -> RoutingReport:
    """The whole report.

    Args:
        routing: what was asked for.
        costs: of the typical prompt.
        learned: the router and its rounds.
        profiles: of the artifact; the first is the budget asked for.
        records: how many of them trained, chose and judged.
        closeness: per record, of the router and of its baselines.
        evaluation: where one was asked for.
    """
    told = {name: _profile(costs, profile) for name, profile in profiles.items()}
    asked = next(iter(told.values()))
    policies = {
        name: _policy(closeness[ROUTER], near, routing.seed) for name, near in closeness.items()
    }
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
        gate=_gate(policies, len(closeness[ROUTER].kl), allowed=routing.allow_no_improvement),
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


def _scores(values: Tensor) -> RecordScores:
    array = values.numpy().astype(np.float64)
    return RecordScores(array, np.ones_like(array))


def _gate(policies: Mapping[str, PolicyReport], records: int, *, allowed: bool) -> RoutingGate:
    beaten = {
        name: each.kl_over_router is not None and each.kl_over_router.low > 0
        for name, each in policies.items()
        if name != ROUTER
    }
    return RoutingGate(
        beaten=tuple(name for name, better in beaten.items() if better),
        unbeaten=tuple(name for name, better in beaten.items() if not better),
        records=records,
        allow_no_improvement=allowed,
    )


def warnings(report: RoutingReport) -> list[str]:
    """What whoever takes the router should know."""
    gate, found = report.gate, []
    if not gate.passed:
        found.append(shortcoming(report))
    found += [
        f"profile {name} takes {each.flops_ratio:.0%} of the dense operations on the typical "
        "prompt: it saves none"
        for name, each in report.profiles.items()
        if each.flops_ratio >= 1
    ]
    return found


def result(report: RoutingReport) -> JobResult:
    """The part of a job's result that says what came out."""
    found = JobResult(routing=report.figures, warnings=tuple(warnings(report)))
    if report.evaluation is None:
        return found
    return found.model_copy(update={"evaluation": report.evaluation})


def refusal(report: RoutingReport) -> QualityGateError | None:
    """Why the job fails; None where it does not."""
    gate = report.gate
    if not (gate.passed or gate.allow_no_improvement):
        return QualityGateError(
            f"{shortcoming(report)}. Give it more records or rounds, or a smaller budget; "
            "`allow_no_improvement` takes it as it is"
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
    return good and (report.gate.passed or report.gate.allow_no_improvement)
