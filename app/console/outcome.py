"""What a job is to reach and what came of it, as far as this version reads what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.job_result import JobResult
from app.domain.jobs import Job
from app.recipes.methods import METHODS
from app.recipes.quantization import QuantizationReport
from app.recipes.routing_report import RoutingFigures
from app.recipes.search import AUTO
from app.reports.figures import percent
from app.reports.quality import Quality, qualities
from app.reports.sections import known, result_of

# Parameters that say how much is taken out, and of what.
_TAKEN = {"removed": "", "mlp_removed": " of MLP channels", "heads_removed": " of heads"}


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
        measured = qualities(result.evaluation if result else None)
        return cls(job, target_of(job.stored_request), measured[0] if measured else None, result)


@dataclass(frozen=True, slots=True)
class Use:
    """What decides how the files of a result are used.

    Attributes:
        router: they are those of a router.
        quantized: some weights are stored in 8 bits.
        runtimes: names of those in which such a result was loaded.
    """

    router: bool
    quantized: bool
    runtimes: frozenset[str]

    @classmethod
    def of(cls, result: JobResult | None) -> "Use":
        """Figures of an earlier version count for none."""
        found = result or JobResult()
        return cls(
            known(found.routing, RoutingFigures) is not None,
            known(found.quantization, QuantizationReport) is not None,
            frozenset(each.runtime for each in found.runtime_support or () if each.loads),
        )
