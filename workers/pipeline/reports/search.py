"""What readers are told of a search for the smallest model within a quality gate."""

from collections.abc import Iterator

from app.recipes.search import SearchReport, in_words

HEAD = ("share of", "tried", "parameters", "metric", "worse by", "at worst", "within the gate")


def summary(report: SearchReport) -> str:
    """In two or three sentences."""
    if report.found is None:
        found = "None of the shares that were tried is good enough"
    elif len(report.chosen) > 1:
        found = f"{in_words(report.chosen)} are the largest shares found to be good enough"
    else:
        axis = "sparsity" if report.axes == {"sparsity"} else f"share of {report.tried[0].axis}"
        found = f"{report.found:g} is the largest {axis} found to be good enough"
    parts = len(report.axes)
    divided = f" One was looked for after the other; the first had 1/{parts} of it to use up."
    return (
        f"{found}: {report.metric} may get {report.max_drop:g} worse. The upper end of its 95 % "
        f"interval, paired by record, decides.{divided if parts > 1 else ''}"
    )


def rows(report: SearchReport) -> Iterator[tuple[str, ...]]:
    """A row of the table for each share."""
    for each in report.tried:
        yield (
            each.axis,
            f"{each.share:g}",
            "" if each.parameters is None else f"{each.parameters:,}",
            f"{each.value:.4g}",
            f"{each.drop:.4g}",
            f"{each.at_worst:.4g}",
            "yes" if each.qualifies else "no",
        )


def as_markdown(report: SearchReport) -> list[str]:
    """Lines for a model card."""
    lines = [HEAD, tuple("---" for _ in HEAD), *rows(report)]
    return [summary(report), "", *(f"| {' | '.join(line)} |" for line in lines)]
