"""Reports to show: one of pruned weights whose names are hostile, and others by hypothesis."""

from hypothesis import strategies as st

from app.domain.job_result import JobResult, Sizes
from app.recipes.coverage import Coverage, Covered
from app.recipes.evaluation import (
    Estimate,
    EvaluationReport,
    GateReport,
    Measured,
    MetricName,
    SampleAnswer,
)
from app.recipes.modality import Modality
from app.recipes.performance import NotMeasured
from app.recipes.pruning_report import PAGE_FILE, MatrixReport, PruningReport, Target, tally
from app.recipes.quantization import QuantizationReport
from app.recipes.recipe import build_recipe
from app.recipes.runtime_support import RuntimeSupport
from app.recipes.search import SearchReport, Tried
from app.recipes.structure_report import StructureReport, TowerStructure
from app.recipes.tasks import TaskFailure, TaskMetric, TaskReport, TaskScore
from app.reports import html
from app.reports.sections import sections
from tests.unit.app.domain.test_job_result import ROUTING
from tests.unit.app.recipes.test_performance import PERFORMANCE

EVIL = "<script>alert(1)</script>"


def matrix(block, modality, zeros):
    return MatrixReport(
        module=f"{block}.fc",
        file_key=f"{block}.fc.weight",
        block=block,
        modality=modality,
        shape=(10, 10),
        weights=100,
        asked=50,
        zeros=zeros,
        lost_score=0.125,
    )


COVERAGE = Coverage.of(
    [
        Covered("layers.0.fc.weight", 200, 200, in_block=True, reason=""),
        Covered(f"{EVIL}.weight", 600, 0, in_block=False, reason=EVIL),
    ]
)


def reported():
    """A report whose names are hostile."""
    matrices = (
        matrix("vision.0", Modality.VISION, 50),
        matrix(EVIL, Modality.LANGUAGE, 75),
    )
    once = Estimate(value=0.5, low=0.25, high=0.75)
    measured = Measured(samples=8, before=once, after=once, change=once)
    return PruningReport(
        recipe=build_recipe("magnitude", {}, "unstructured", sparsity=0.5),
        targets=(
            Target(scope="model", weights=200, sparsity=0.5, target=100, zeros=125, difference=25),
        ),
        matrices=matrices,
        blocks={m.block: tally([m]) for m in matrices},
        modalities={m.modality: tally([m]) for m in matrices},
        model=tally(list(matrices)),
        coverage=COVERAGE,
        warnings=(EVIL,),
        evaluation=EvaluationReport(
            set="scenes",
            sha256="0",
            samples=8,
            metrics={MetricName.ACCURACY: measured},
            answers=(SampleAnswer.of(1, prompt=EVIL, expected="red", dense="red", pruned="mauve"),),
        ),
    )


SIZES = Sizes(dense=1000, packed=600)


def result_of(report):
    """What a job with this report came to."""
    return JobResult.of(report).model_copy(update={"sizes": SIZES})


def said(report):
    """All sections about it."""
    return sections(result_of(report), report)


def written(directory):
    """The page of the report with hostile names, among the files of a job."""
    page = html.page(f"model {EVIL}", said(reported()))
    (directory / PAGE_FILE).write_text(page)
    return page


# What somebody may call a tensor, a data set, a task.
names = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        (
            EVIL,
            "a`b",
            "a|b\nc",
            "]](http://x)",
            "{{ 7 * 7 }}",
            "\x00\x1b[0m",
            "x" * 200,
            "&amp;",
            "\ud800",
        )
    ),
)
counts = st.integers(0, 10**12)
shares = st.floats(0, 1)
figures = st.one_of(st.floats(), st.floats(-10, 10), st.just(0.0))
estimates = st.builds(Estimate, value=figures, low=figures, high=figures)
measures = st.builds(Measured, samples=counts, before=estimates, after=estimates, change=estimates)
evaluations = st.builds(
    EvaluationReport,
    set=names,
    sha256=st.just("0"),
    samples=counts,
    metrics=st.dictionaries(st.sampled_from(MetricName), measures, max_size=3),
    gate=st.none()
    | st.builds(
        GateReport,
        metric=st.sampled_from(MetricName),
        max_drop=shares,
        keep_artifacts=st.just(False),
        drop=figures,
        passed=st.booleans(),
    ),
    warnings=st.tuples(names),
    answers=st.tuples(
        st.builds(
            SampleAnswer, record=counts, prompt=names, expected=names, dense=names, pruned=names
        )
    )
    | st.just(()),
)
tries = st.builds(
    Tried,
    axis=st.sampled_from(("structure", "sparsity", Modality.VISION)),
    sparsity=shares,
    parameters=st.none() | counts,
    value=figures,
    drop=figures,
    at_worst=figures,
    qualifies=st.booleans(),
)
searches = st.builds(
    SearchReport,
    metric=st.sampled_from(MetricName),
    max_drop=shares,
    tried=st.tuples(tries, tries),
    found=st.none() | shares,
    chosen=st.dictionaries(st.sampled_from(("structure", "sparsity")), shares),
)
maybe = st.none() | st.integers(1, 10**6)
towers = st.builds(
    TowerStructure,
    name=names,
    modality=st.sampled_from(Modality),
    width=maybe,
    width_kept=maybe,
    experts=maybe,
    experts_kept=maybe,
    **dict.fromkeys(
        ("blocks", "blocks_kept", "parameters", "parameters_kept", "bytes", "bytes_kept",
         "flops", "flops_kept", "tokens"),
        counts,
    ),
)  # fmt: skip
structures = st.builds(
    StructureReport,
    towers=st.tuples(towers) | st.just(()),
    blocks=st.just(()),
    removed=st.tuples(names) | st.just(()),
    **dict.fromkeys(("parameters", "parameters_kept", "bytes", "bytes_kept"), counts),
)
scores = st.builds(TaskScore, value=st.none() | figures, stderr=st.none() | figures)
tasks = st.builds(
    TaskReport,
    harness=st.just("lm-eval"),
    task=names,
    harness_version=names,
    task_version=st.none() | names,
    samples=counts,
    metrics=st.dictionaries(
        names,
        st.builds(
            TaskMetric, before=scores, after=scores, higher_is_better=st.none() | st.booleans()
        ),
        max_size=2,
    ),
) | st.builds(
    TaskFailure,
    harness=st.just("lm-eval"),
    task=names,
    code=st.just("task_failed"),
    reason=names,
)
results = st.builds(
    JobResult,
    warnings=st.lists(names, max_size=2).map(tuple),
    evaluation=st.none() | evaluations,
    search=st.none() | searches,
    structure=st.none() | structures,
    quantization=st.none()
    | st.builds(
        QuantizationReport,
        kind=st.sampled_from(("int8", "fp8")),
        rounded_to_zero=st.none() | counts,
        rounded=st.just({}),
        zeros=st.none(),
        block_share=st.none(),
        left=st.none(),
        **dict.fromkeys(("matrices", "weights", "bytes", "bytes_before"), counts),
    ),
    runtime_support=st.none()
    | st.tuples(st.builds(RuntimeSupport, runtime=names, version=st.none() | names)),
    performance=st.sampled_from((None, PERFORMANCE))
    | st.builds(NotMeasured, code=st.just("measuring_failed"), reason=names),
    tasks=st.none() | st.tuples(tasks, tasks),
    sizes=st.none() | st.builds(Sizes, dense=counts, packed=counts),
    routing=st.none() | st.just(ROUTING.routing),
)
