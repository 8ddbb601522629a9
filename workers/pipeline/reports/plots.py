"""The plots of a report as SVG: of weights (scores, sparsity, quality) and of a router."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from app.recipes.evaluation import EvaluationReport
from app.recipes.modality import Modality
from app.recipes.pruning_report import PruningReport
from app.recipes.routing_report import RoutingReport

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
ROW, LABEL, LENGTH = 18, 330, 500  # pixels
_END = 90


def bar(top: int, label: str, share: float, colour: str, text: str) -> Sequence[str]:
    """A bar of `share` of the full length with its label before and its value behind it."""
    box = f'x="{LABEL}" y="{top + 3}" width="{share * LENGTH:.1f}" height="{ROW - 6}"'
    return (
        f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(label)}</text>',
        f'<rect {box} fill="{colour}"/>',
        f'<text x="{LABEL + LENGTH + 8}" y="{top + 13}">{escape(text)}</text>',
    )


def interval(top: int, low: float, high: float) -> str:
    """A line over a bar, from share to share."""
    start, end = (LABEL + LENGTH * edge for edge in (low, high))
    return f'<path d="M{start:.1f} {top + 9}H{end:.1f}" stroke="#000"/>'


def chart(label: str, rows: int, parts: Iterable[str]) -> str:
    """The picture around its bars."""
    size = f"0 0 {LABEL + LENGTH + _END} {max(rows, 1) * ROW}"
    font = 'font-family="system-ui, sans-serif" font-size="11"'
    shape = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {font} role="img"'
    return "\n".join([f'{shape} aria-label="{escape(label)}">', *parts, "</svg>"])


FOLDER = "plots"


def plots(report: PruningReport) -> dict[str, str]:
    """The plots that the report has data for, by name."""
    found = {"sparsity": _sparsity(report), "scores": _scores(report)} if report.matrices else {}
    if report.evaluation is not None:
        found["quality"] = _quality(report.evaluation)
    return {name: svg for name, svg in found.items() if svg}


def write_plots(directory: Path, drawn: dict[str, str]) -> None:
    """Write each as a file of its own."""
    (directory / FOLDER).mkdir()
    for name, svg in drawn.items():
        (directory / FOLDER / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")


def colours(report: PruningReport) -> dict[Modality, str]:
    """One for each modality."""
    return dict(zip(report.modalities, COLOURS, strict=False))


def _colour_of_blocks(report: PruningReport) -> dict[str, str]:
    by_modality = colours(report)
    return {matrix.block: by_modality[matrix.modality] for matrix in report.matrices}


def _sparsity(report: PruningReport) -> str:
    colour = _colour_of_blocks(report)
    rows = []
    for number, (block, tally) in enumerate(report.blocks.items()):
        top = number * ROW
        asked = LABEL + LENGTH * tally.asked / max(tally.weights, 1)
        rows += [
            *bar(top, block, tally.sparsity, colour[block], f"{tally.sparsity:.2%}"),
            f'<path d="M{asked:.1f} {top + 1}v{ROW - 2}" stroke="#000"/>',
        ]
    return chart("Sparsity of every block, and its budget", len(report.blocks), rows)


def _scores(report: PruningReport) -> str:
    """How important the allocation found the groups; else the share of the scores that went."""
    if report.allocation is not None:
        groups = report.allocation.groups
        top = max((group.score for group in groups), default=0) or 1
        values = [(group.name, group.score / top, f"{group.score:.3g}") for group in groups]
        bars = [
            line
            for number, (name, share, text) in enumerate(values)
            for line in bar(number * ROW, name, share, COLOURS[0], text)
        ]
        return chart("Score of every group, by which the budget was shared out", len(values), bars)
    colour = _colour_of_blocks(report)
    lost: dict[str, list[float]] = {}
    for matrix in report.matrices:
        if matrix.lost_score is not None:
            lost.setdefault(matrix.block, []).append(matrix.lost_score)
    means = {block: sum(values) / len(values) for block, values in lost.items()}
    bars = [
        line
        for number, (block, share) in enumerate(means.items())
        for line in bar(number * ROW, block, share, colour[block], f"{share:.2%}")
    ]
    return chart("Share of the scores that went, by block", len(means), bars) if means else ""


def _quality(report: EvaluationReport) -> str:
    """Two bars a metric, dense and pruned, each with its interval, to the metric's own scale."""
    rows: list[str] = []
    for number, (name, measured) in enumerate(report.metrics.items()):
        pair = (("dense", measured.before), ("pruned", measured.after))
        reach = max(max(abs(each.low), abs(each.high)) for _, each in pair) or 1
        for place, (which, each) in enumerate(pair):
            top = (2 * number + place) * ROW
            text = f"{each.value:.4g}"
            rows += bar(
                top, f"{name.value}, {which}", abs(each.value) / reach, COLOURS[place], text
            )
            rows.append(interval(top, abs(each.low) / reach, abs(each.high) / reach))
    return chart("Quality before and after", 2 * len(report.metrics), rows)


def routing_plots(report: RoutingReport) -> dict[str, str]:
    """All of them, by name."""
    return {
        "divergence": _divergence(report),
        "rounds": _rounds(report),
        "influence": _influence(report),
    }


def _divergence(report: RoutingReport) -> str:
    reach = max(each.kl.high for each in report.policies.values()) or 1
    rows: list[str] = []
    for number, (name, each) in enumerate(report.policies.items()):
        top = number * ROW
        colour = COLOURS[0] if number == 0 else COLOURS[1]
        rows += bar(top, name, each.kl.value / reach, colour, f"{each.kl.value:.4g}")
        rows.append(interval(top, each.kl.low / reach, each.kl.high / reach))
    label = "KL to the dense answers on records not trained on, by who chooses"
    return chart(label, len(report.policies), rows)


def _rounds(report: RoutingReport) -> str:
    values = [
        (f"after round {number}", each.held_out_kl) for number, each in enumerate(report.rounds, 1)
    ]
    return _bars("Held-out KL after every round, on the records that choose", values)


def _influence(report: RoutingReport) -> str:
    values = [(f"layer {number}", value) for number, value in enumerate(report.influence)]
    return _bars("Block influence of every decoder layer", values)


def _bars(label: str, values: Sequence[tuple[str, float]]) -> str:
    reach = max(value for _, value in values) or 1
    rows = [
        line
        for number, (name, value) in enumerate(values)
        for line in bar(number * ROW, name, max(value, 0) / reach, COLOURS[0], f"{value:.4g}")
    ]
    return chart(label, len(values), rows)
