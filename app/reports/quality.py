"""How good a model is, dense and pruned: metrics, answers, tasks of harnesses."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.recipes.evaluation import EvaluationReport, Measured, MetricName
from app.recipes.tasks import TaskFailure, TaskReport, TaskScore
from app.reports.document import (
    Axes,
    Axis,
    Block,
    Cell,
    Section,
    Table,
    Text,
    Tone,
    Whisker,
    code,
    legend,
)
from app.reports.figures import NONE, figure, interval, number, signed


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


def qualities(report: EvaluationReport | None) -> Sequence[Quality]:
    """Every metric that was measured, that of the gate first."""
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


def quality(report: EvaluationReport) -> Section:
    """Every metric with its intervals, as a picture and as a table, and the gate."""
    found = qualities(report)
    drawn = [axis for each in found if (axis := _axis(each)) is not None]
    keys = legend(("dense", "dense"), ("pruned", "pruned"), ("interval", "95 % interval"))
    label = "Quality of the dense and of the pruned model"
    blocks: list[Block] = [Axes("quality", label, drawn, keys)] if drawn else []
    blocks += [
        Table.of(
            ("Metric", "Records", "Dense", "Pruned", "Difference", "Verdict"),
            map(_row, found),
            words={"Verdict"},
        ),
        Text(
            f"On {number(report.samples)} records of {code(report.set)}, none of them seen "
            "before. Intervals are of 95 % (bootstrap); differences are paired by record.",
            Tone.NOTE,
        ),
    ]
    if gate := report.gate:
        verdict, tone = ("passed", Tone.GOOD) if gate.passed else ("failed", Tone.BAD)
        text = (
            f"Quality gate {verdict}: {gate.metric.value.replace('_', ' ')} may get "
            f"{figure(gate.max_drop)} worse and got {figure(gate.drop)} worse."
        )
        blocks.append(Text(text, tone))
    blocks += [Text(f"{text}.", Tone.WARN) for text in report.warnings]
    return Section("quality", "Quality, dense and pruned", blocks)


def _row(each: Quality) -> list[str | Cell]:
    found = each.measured
    change = f"{signed(found.change.low)} to {signed(found.change.high)}"
    return [
        each.name,
        number(found.samples),
        *(Cell(figure(one.value), interval(one)) for one in (found.before, found.after)),
        Cell(signed(found.change.value), change),
        each.verdict,
    ]


_TINY, _HUGE = 1e-200, 1e200


def _axis(each: Quality) -> Axis | None:
    """The axis reaches over both intervals; None where these are not finite. Ticks are round."""
    measured = each.measured
    pair = {"dense": measured.before, "pruned": measured.after}
    low = min(found.low for found in pair.values())
    high = max(found.high for found in pair.values())
    room = 0.08 * ((high - low) or abs(high) or 1.0)
    low, high = low - room, high + room
    if not _TINY < high - low < _HUGE:
        return None

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    whiskers = [
        Whisker(
            name,
            place(found.value),
            place(found.low),
            place(found.high),
            f"{name}: {figure(found.value)} [{figure(found.low)}, {figure(found.high)}]",
        )
        for name, found in pair.items()
    ]
    better = "lower is better" if each.metric.lower_is_better else "higher is better"
    ticks = [(place(value), figure(value)) for value in _round_numbers(low, high)]
    return Axis(each.name, f"{better}, {number(measured.samples)} records", whiskers, ticks)


_ROUNDING = 1 + 1e-9  # of logarithms


def _round_numbers(low: float, high: float, about: int = 4) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(
        each for each in (1, 2, 5, 10) if (high - low) / (step * each) <= about * _ROUNDING
    )
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def answers(report: EvaluationReport) -> Section:
    """What both models said to the first records."""
    table = Table.of(
        ("Record", "Prompt", "Expected", "Dense", "Pruned"),
        (
            (
                str(each.record),
                each.prompt,
                each.expected,
                each.dense or NONE,
                Cell(
                    each.pruned or NONE, "as the dense model" if each.dense == each.pruned else ""
                ),
            )
            for each in report.answers
        ),
        words={"Prompt", "Expected", "Dense", "Pruned"},
        long=True,
    )
    note = (
        f"To the first {len(report.answers)} of {number(report.samples)} records, which nobody has "
        "picked; long texts are cut."
    )
    return Section("answers", "Answers, dense beside pruned", [table, Text(note, Tone.NOTE)])


def tasks(reports: Sequence[TaskReport | TaskFailure]) -> Section:
    """What evaluation harnesses say, and which tasks have no figures."""
    ran = [each for each in reports if isinstance(each, TaskReport)]
    blocks: list[Block] = []
    if ran:
        names = sorted({f"{each.harness} {each.harness_version}" for each in ran})
        head = ("Task", "Version", "Metric", "Records", "Dense", "Pruned", "Better")
        rows = (row for each in ran for row in _scores(each))
        blocks = [
            Table.of(head, rows, words={"Version", "Metric", "Better"}),
            Text(f"Run by {' and '.join(names)}; \u00b1 is its standard error.", Tone.NOTE),
        ]
    blocks += [
        Text(
            f"{each.harness}/{each.task} has no figures: {each.reason} (`{each.code}`).", Tone.WARN
        )
        for each in reports
        if isinstance(each, TaskFailure)
    ]
    return Section("tasks", "Tasks of evaluation harnesses", blocks)


_BETTER = {True: "higher", False: "lower", None: "not told"}


def _scores(report: TaskReport) -> Iterator[list[str | Cell]]:
    for name, metric in report.metrics.items():
        yield [
            f"{report.harness}/{report.task}",
            report.task_version or "not told",
            name,
            number(report.samples),
            *(_score(each) for each in (metric.before, metric.after)),
            _BETTER[metric.higher_is_better],
        ]


def _score(score: TaskScore) -> Cell:
    if score.value is None:
        return Cell("no finite number")
    return Cell(figure(score.value), "" if score.stderr is None else f"\u00b1 {score.stderr:.2g}")
