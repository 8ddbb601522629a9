"""The plots of a PAR report as SVG: what the router is worth, its rounds, the layers' influence."""

from collections.abc import Sequence

from app.recipes.routing_report import RoutingReport
from workers.pipeline.reports.bars import COLOURS, ROW, bar, chart, interval


def plots(report: RoutingReport) -> dict[str, str]:
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
    told = [
        (f"after round {number}", each.held_out_kl) for number, each in enumerate(report.rounds, 1)
    ]
    return _bars("Held-out KL after every round, on the records that choose", told)


def _influence(report: RoutingReport) -> str:
    told = [(f"layer {number}", value) for number, value in enumerate(report.influence)]
    return _bars("Block influence of every decoder layer", told)


def _bars(label: str, told: Sequence[tuple[str, float]]) -> str:
    reach = max(value for _, value in told) or 1
    rows = [
        line
        for number, (name, value) in enumerate(told)
        for line in bar(number * ROW, name, max(value, 0) / reach, COLOURS[0], f"{value:.4g}")
    ]
    return chart(label, len(told), rows)
