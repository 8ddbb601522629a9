"""All that is said about the result of a job, in one order."""

from collections.abc import Iterator
from typing import TypeVar

from app.domain.job_result import JobResult
from app.domain.jobs import Job, JobUnreadableError
from app.recipes.performance import NotMeasured, PerformanceReport
from app.recipes.pruning_report import PruningReport
from app.recipes.quantization import QuantizationReport
from app.recipes.routing_report import RoutingFigures, RoutingReport
from app.recipes.search import SearchReport
from app.recipes.structure_report import StructureReport
from app.reports import changes, pruning, quality, routing, running
from app.reports.document import Section, Text, Tone

T = TypeVar("T")


def result_of(job: Job) -> JobResult | None:
    """What its worker reported; None where there is nothing yet, or nothing that can be read."""
    try:
        return job.result
    except JobUnreadableError:
        return None


def known(found: object, kind: type[T]) -> T | None:
    """Figures in the form of this version; None where there are none, or those of an earlier."""
    return found if isinstance(found, kind) else None


def sections(
    result: JobResult, report: PruningReport | RoutingReport | None = None
) -> list[Section]:
    """The sections that there is something to say in.

    Args:
        result: what the job came to.
        report: of its files, which knows blocks and matrices; None where there is none.
    """
    pruned = known(report, PruningReport)
    zeroed = pruned if pruned is not None and pruned.matrices else None
    return [
        *((pruning.sparsity(zeroed),) if zeroed else ()),
        *_judged(result),
        *_changed(result, known(report, RoutingReport)),
        *(_zeroed(zeroed) if zeroed else ()),
        *((changes.recovery(pruned.recovery),) if pruned and pruned.recovery else ()),
        *_running(result, zeroed=zeroed is not None),
        *((pruning.matrices(zeroed),) if zeroed else ()),
    ]


def _judged(result: JobResult) -> Iterator[Section]:
    if result.evaluation is not None:
        yield quality.quality(result.evaluation)
        if result.evaluation.answers:
            yield quality.answers(result.evaluation)
    if result.tasks:
        yield quality.tasks(result.tasks)
    if result.warnings:
        texts = [Text(text, Tone.WARN) for text in result.warnings]
        yield Section("warnings", "Warnings", texts)


def _changed(result: JobResult, routed: RoutingReport | None) -> Iterator[Section]:
    if (searched := known(result.search, SearchReport)) is not None:
        yield changes.search(searched)
    if (smaller := known(result.structure, StructureReport)) is not None:
        yield changes.structure(smaller)
    router = routed or known(result.routing, RoutingFigures)
    yield from routing.routing(router) if router is not None else ()


def _zeroed(report: PruningReport) -> Iterator[Section]:
    yield pruning.zeros(report)
    if (scores := pruning.scores(report)) is not None:
        yield scores


def _running(result: JobResult, *, zeroed: bool) -> Iterator[Section]:
    if (eighths := known(result.quantization, QuantizationReport)) is not None:
        yield changes.quantization(eighths)
    if result.sizes is not None:
        yield running.sizes(result.sizes, zeroed=zeroed)
    if result.runtime_support:
        yield running.runtimes(result.runtime_support)
    measured = known(result.performance, PerformanceReport)
    if (found := measured or known(result.performance, NotMeasured)) is not None:
        yield running.performance(found)
