"""What readers are told of a model that became smaller."""

from collections.abc import Iterator

from app.recipes.structure_report import StructureReport

HEAD = (
    *("tower", "blocks", "MLP channels", "experts", "parameters", "bytes"),
    "operations a token",
)


def summary(report: StructureReport) -> str:
    """In two sentences."""
    left = report.parameters_kept / report.parameters if report.parameters else 1.0
    return (
        f"The model is smaller: {report.parameters_kept:,} of {report.parameters:,} parameters are "
        f"left ({left:.1%}), and {report.ratio:.1%} of those in its towers, and "
        f"{report.flops_ratio:.1%} of the operations for one image and 512 tokens of text. Its "
        "configuration says so, so whatever loads the original loads it, in less "
        f"memory{_faster(report)}."
    )


def _faster(report: StructureReport) -> str:
    """Where experts went, a token is still routed to as many."""
    return " and with fewer operations" if report.flops_ratio < _AS_MANY else ""


_AS_MANY = 0.99  # of the operations: rows of a router are a few


def rows(report: StructureReport) -> Iterator[tuple[str, ...]]:
    """A row of the table for each tower."""
    for each in report.towers:
        yield (
            each.name,
            _change(each.blocks, each.blocks_kept),
            _change(each.width, each.width_kept),
            _change(each.experts, each.experts_kept),
            _change(each.parameters, each.parameters_kept),
            _change(each.bytes, each.bytes_kept),
            _change(each.flops, each.flops_kept),
        )


def _change(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return ""
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def as_markdown(report: StructureReport) -> list[str]:
    """Lines for a model card."""
    lines = [HEAD, tuple("---" for _ in HEAD), *rows(report)]
    table = [f"| {' | '.join(line)} |" for line in lines]
    gone = ["", f"Blocks left out: {', '.join(report.removed)}."] if report.removed else []
    return [summary(report), "", *table, *gone]
