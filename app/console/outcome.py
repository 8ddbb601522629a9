"""What a job is to reach and what came of it, as far as this version reads what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.figures import percent
from app.domain.job_result import JobResult
from app.domain.jobs import Job, JobUnreadableError
from app.recipes.evaluation import Measured, MetricName
from app.recipes.methods import METHODS
from app.recipes.performance import NotMeasured, PerformanceReport
from app.recipes.quantization import QuantizationReport
from app.recipes.routing_report import RoutingFigures
from app.recipes.runtime_support import RuntimeSupport
from app.recipes.search import AUTO, SearchReport
from app.recipes.structure_report import StructureReport

# Parameters that say how much is taken out, and of what.
_TAKEN = {"removed": "", "mlp_removed": " of MLP channels", "heads_removed": " of heads"}


@dataclass(frozen=True, slots=True)
class Quality:
    """One metric before and after.

    Attributes:
        drop: how much worse it got; negative where it got better.
        gated: whether the quality gate is on this metric.
    """

    metric: MetricName
    measured: Measured
    drop: float
    gated: bool

    @property
    def name(self) -> str:
        """For people: text recall@1."""
        return self.metric.value.replace("_", " ")

    @property
    def verdict(self) -> str:
        """What the interval of the change says: it does not tell where it holds zero."""
        change = self.measured.change
        if change.low <= 0 <= change.high:
            return "within noise"
        return "worse" if self.drop > 0 else "better"


def target_of(request: Mapping[str, Any]) -> str:
    """What a request asks for: 60 %, 2:4, or a share for each modality."""
    sparsity, pattern = request.get("sparsity"), request.get("pattern", "unstructured")
    if isinstance(sparsity, Mapping):
        return ", ".join(f"{name} {percent(share)}" for name, share in sparsity.items())
    if isinstance(pattern, str) and ":" in pattern:
        return pattern
    if sparsity == AUTO:
        return "as sparse as the gate allows"
    if isinstance(sparsity, int | float):
        return percent(sparsity)
    method = METHODS.get(str(request.get("method")))
    parameters = request.get("parameters") or {}
    taken = [
        f"{share}{of}" for name, of in _TAKEN.items() if (share := _share(parameters.get(name)))
    ]
    if taken:
        return f"{' and '.join(taken)} taken out"
    kinds = {"routes": "a router", "structure": "a smaller model"}
    return kinds.get(method.prunes, "own recipe") if method else "own recipe"


def _share(asked: Any) -> str:
    """One share, or those of modalities; empty for nothing, and for what a form has half of."""
    if isinstance(asked, Mapping):
        each = {name: _share(share) for name, share in asked.items()}
        return ", ".join(f"{name} {share}" for name, share in each.items() if share)
    return percent(asked) if isinstance(asked, int | float) and asked else ""


def result_of(job: Job) -> JobResult | None:
    """What its worker reported; None where there is nothing yet, or nothing that can be read."""
    try:
        return job.result
    except JobUnreadableError:
        return None


def qualities(result: JobResult | None) -> Sequence[Quality]:
    """Every metric that was measured, that of the gate first."""
    report = result.evaluation if result else None
    if report is None:
        return ()
    gate = report.gate.metric if report.gate else None
    found = [
        Quality(
            metric,
            each,
            each.change.value if metric.lower_is_better else -each.change.value,
            metric == gate,
        )
        for metric, each in report.metrics.items()
    ]
    return sorted(found, key=lambda each: not each.gated)


@dataclass(frozen=True, slots=True)
class Special:
    """Figures of jobs that do more than zero weights; None where there are none to read."""

    search: SearchReport | None = None
    routing: RoutingFigures | None = None
    structure: StructureReport | None = None
    quantization: QuantizationReport | None = None
    runtimes: Sequence[RuntimeSupport] = ()
    performance: PerformanceReport | None = None
    unmeasured: NotMeasured | None = None

    @classmethod
    def of(cls, result: JobResult | None) -> "Special":
        """Those of a result; figures of an earlier version are left out."""
        if result is None:
            return cls()
        return cls(
            result.search if isinstance(result.search, SearchReport) else None,
            result.routing if isinstance(result.routing, RoutingFigures) else None,
            result.structure if isinstance(result.structure, StructureReport) else None,
            result.quantization if isinstance(result.quantization, QuantizationReport) else None,
            result.runtime_support or (),
            result.performance if isinstance(result.performance, PerformanceReport) else None,
            result.performance if isinstance(result.performance, NotMeasured) else None,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One job in a list."""

    job: Job
    target: str
    quality: Quality | None
    result: JobResult | None

    @classmethod
    def of(cls, job: Job) -> "Row":
        """A job with its first figure of quality."""
        result = result_of(job)
        measured = qualities(result)
        return cls(job, target_of(job.stored_request), measured[0] if measured else None, result)
