"""What became zero: targets, modalities, blocks, matrices, and what was left dense."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from app.recipes.coverage import Coverage
from app.recipes.modality import Modality
from app.recipes.pruning_report import MatrixReport, PruningReport, Tally
from app.reports.document import (
    Bar,
    Bars,
    Block,
    Cell,
    Details,
    Key,
    Section,
    Square,
    Strip,
    Table,
    Text,
    Tone,
    legend,
)
from app.reports.figures import difference, figure, number, percent

MOST_MATRICES = 2000  # of a page that is still opened at once
MOST_BARS = 256  # of a picture that is still read
OTHER = "other"  # blocks of no modality
_COUNTS = ("Weights", "Asked", "Zero", "Sparsity")


def zeros(report: PruningReport) -> Section:
    """How many weights went, by target and by modality, and how much of the model these are."""
    model = report.model
    off = f", {difference(report.difference)} to them" if report.difference else ""
    text = (
        f"{number(model.zeros)} of {number(model.weights)} weights in the pruned matrices are zero "
        f"({percent(model.sparsity, 2)}); {number(report.target)} were asked for{off}. The files "
        "are dense: zeros take as much room as other values, and unstructured zeros alone make "
        "nothing faster."
    )
    named = [(modality.value, tally) for modality, tally in report.modalities.items()]
    table = Table.of(
        ("Part", *_COUNTS),
        ((name, *_counts(tally)) for name, tally in [*named, ("all pruned", model)]),
    )
    blocks: list[Block] = [Text(text), table]
    if report.coverage is not None and report.model_sparsity is not None:
        blocks += _reached(report.coverage, report.model_sparsity)
    if report.targets:
        blocks.append(Details(f"Targets ({len(report.targets)})", [_targets(report)]))
    return Section("zeros", "Zeros", blocks)


def _counts(tally: Tally) -> Sequence[str]:
    counted = (number(each) for each in (tally.weights, tally.asked, tally.zeros))
    return *counted, percent(tally.sparsity, 2)


def _targets(report: PruningReport) -> Table:
    return Table.of(
        ("Target of", "Weights", "Sparsity asked", "Target", "Zero", "Difference"),
        (
            (
                each.scope,
                number(each.weights),
                percent(each.sparsity, 4),
                number(each.target),
                number(each.zeros),
                difference(each.difference),
            )
            for each in report.targets
        ),
    )


def _reached(coverage: Coverage, sparsity: float) -> Iterable[Block]:
    yield Text(
        f"The pruned matrices hold {percent(coverage.share)} of the model's "
        f"{number(coverage.weights)} weights ({percent(coverage.block_share)} of those in blocks): "
        f"{percent(sparsity, 2)} of the whole model is zero by pruning."
    )
    if coverage.dense:
        table = Table.of(
            ("Left dense", "Tensors", "Weights", "Share of the model", "Because it is"),
            (
                (
                    each.name,
                    number(each.tensors),
                    number(each.weights),
                    percent(each.weights / coverage.weights),
                    each.reason,
                )
                for each in coverage.dense
            ),
            words={"Because it is"},
        )
        yield Details(f"Left dense ({len(coverage.dense)})", [table])


def sparsity(report: PruningReport) -> Section:
    """Every block: by depth, against its budget, and in figures."""
    modalities = _modalities(report)
    strip: dict[str, list[Square]] = {}
    for name, tally in report.blocks.items():
        square = Square(name, tally.sparsity, f"{name}: {percent(tally.sparsity, 2)} zero")
        strip.setdefault(modalities.get(name, OTHER), []).append(square)
    bars = [
        Bar(
            name,
            percent(tally.sparsity, 2),
            modalities.get(name, OTHER),
            tally.sparsity,
            mark=tally.asked / max(tally.weights, 1),
        )
        for name, tally in report.blocks.items()
    ]
    label = "Zeros of every block, % of its weights"
    keys = legend(*_parts(report), ("mark", "asked for"))
    note = (
        "One cell is one block, from the first to the last; the stronger its colour, the more of "
        "its weights are zero (pale: 0 %, full: 100 %)."
    )
    every = [*_cut("sparsity", label, bars, keys), _blocks(report)]
    return Section(
        "sparsity",
        "Sparsity by part and depth",
        [Strip(strip, note), Details(f"Every block ({len(bars)})", every)],
    )


def _modalities(report: PruningReport) -> dict[str, str]:
    return {matrix.block: matrix.modality.value for matrix in report.matrices}


def _parts(report: PruningReport) -> list[tuple[str, str]]:
    """The legend of modalities."""
    return [(each.value, each.value) for each in Modality if each in report.modalities]


def _cut(name: str, label: str, bars: Sequence[Bar], keys: Sequence[Key] = ()) -> list[Block]:
    """The picture of as many bars as people read, and how many there are."""
    found: list[Block] = [Bars(name, label, bars[:MOST_BARS], keys)]
    if len(bars) > MOST_BARS:
        text = f"The first {MOST_BARS} of {number(len(bars))} are drawn."
        found.append(Text(text, Tone.NOTE))
    return found


_ERRORS = {
    "relative_error": "Output error, share",
    "lost_score": "Scores lost, share",
}


def errors_of(report: PruningReport) -> list[str]:
    """Which errors the matrices of a report have."""
    return [
        name
        for name in _ERRORS
        if any(getattr(matrix, name) is not None for matrix in report.matrices)
    ]


def _blocks(report: PruningReport) -> Table:
    names = errors_of(report)
    members: dict[str, list[MatrixReport]] = {}
    for matrix in report.matrices:
        members.setdefault(matrix.block, []).append(matrix)
    modalities = _modalities(report)
    return Table.of(
        ("Block", "Part", *_COUNTS, *(_ERRORS[name] for name in names)),
        (
            (
                block,
                modalities.get(block, OTHER),
                *_counts(tally),
                *(figure(_mean(members.get(block, []), name)) for name in names),
            )
            for block, tally in report.blocks.items()
        ),
        words={"Part"},
    )


def _mean(matrices: Iterable[MatrixReport], name: str) -> float | None:
    known = [each for matrix in matrices if (each := getattr(matrix, name)) is not None]
    return fmean(known) if known else None


def scores(report: PruningReport) -> Section | None:
    """How important the allocation found the groups; else the share of the scores that went."""
    if report.allocation is not None:
        groups = report.allocation.groups
        top = max((group.score for group in groups), default=0) or 1
        bars = [
            Bar(each.name, figure(each.score), "score", max(each.score, 0) / top) for each in groups
        ]
        label = "Score of every group, by which the budget was shared out"
        return Section("scores", "Scores", _cut("scores", label, bars))
    lost: dict[str, list[float]] = {}
    for matrix in report.matrices:
        if matrix.lost_score is not None:
            lost.setdefault(matrix.block, []).append(matrix.lost_score)
    if not lost:
        return None
    means = {block: fmean(values) for block, values in lost.items()}
    modalities = _modalities(report)
    bars = [Bar(name, percent(mean, 2), modalities[name], mean) for name, mean in means.items()]
    label = "Share of the scores that went, % (mean of the block's matrices)"
    return Section("scores", "Scores", _cut("scores", label, bars, legend(*_parts(report))))


def matrices(report: PruningReport) -> Section:
    """Every matrix, as far as a page can be long."""
    shown, names = report.matrices[:MOST_MATRICES], errors_of(report)
    table = Table.of(
        ("Matrix", "Part", "Shape", *_COUNTS, *(_ERRORS[name] for name in names)),
        (
            (
                each.module,
                each.modality.value,
                " \u00d7 ".join(map(str, each.shape)),
                *_counts(each),
                *(Cell(figure(getattr(each, name))) for name in names),
            )
            for each in shown
        ),
        words={"Part"},
    )
    blocks: list[Block] = [table]
    if len(shown) < len(report.matrices):
        text = f"The first {len(shown)} are shown; `pruning_report.json` has all."
        blocks.append(Text(text, Tone.NOTE))
    summary = f"Every matrix ({number(len(report.matrices))})"
    return Section("matrices", "Matrices", [Details(summary, blocks)])
