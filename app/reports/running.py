"""What a result takes: where it runs, in how much memory and time, how many bytes it has."""

from collections.abc import Iterator, Sequence

from app.domain.job_result import Sizes
from app.recipes.performance import NotMeasured, PerformanceReport, Shapes
from app.recipes.runtime_support import RuntimeSupport
from app.reports.document import Cell, Section, Table, Text, Tone
from app.reports.figures import figure, interval, number, percent, size

_ANSWERS = {True: "yes", False: "no", None: "not checked"}


def runtimes(found: Sequence[RuntimeSupport]) -> Section:
    """What every runtime makes of the result."""
    head = ("Runtime", "Checked with", "Loads", "Smaller in memory", "Faster")
    rows = (
        (
            each.runtime,
            each.version or "not checked",
            *(_ANSWERS[answer] for answer in (each.loads, each.smaller, each.faster)),
        )
        for each in found
    )
    blocks = [Table.of(head, rows, words=head), Text("Beside the dense model.", Tone.NOTE)]
    return Section("runtimes", "Where it runs", blocks)


_WORDS = {
    "prefill": "To the first token",
    "decode": "Each further token",
    "encode": "A forward",
}


def performance(report: PerformanceReport | NotMeasured) -> Section:
    """Memory and time beside the dense model's; or why they were not measured."""
    title = "Beside the dense model"
    if isinstance(report, NotMeasured):
        text = f"The result was not measured: {report.reason} (`{report.code}`)."
        return Section("performance", title, [Text(text, Tone.WARN)])
    table = Table.of(("Measured", "Dense", "Result", "Result / dense"), _measured(report))
    how = "both in memory" if report.together else "each loaded anew for every round"
    note = (
        f"Measured by transformers on {report.device} with {report.threads} threads, in "
        f"{report.dtype}: {_inputs(report.shapes)}; {report.rounds} rounds in turns, {how}. Times "
        "are medians; an interval holds the median of the rounds' ratios with a probability of "
        f"{percent(report.confidence)}."
    )
    return Section("performance", title, [table, Text(note, Tone.NOTE)])


def _measured(report: PerformanceReport) -> Iterator[list[str | Cell]]:
    for name, amount in (("Weights in use", report.bytes), ("Memory at most", report.peak_bytes)):
        yield [
            name,
            *(Cell(size(each), f"{number(each)} B") for each in (amount.dense, amount.result)),
            figure(amount.ratio),
        ]
    for kind, timing in report.seconds.items():
        yield [
            _WORDS[kind],
            *(f"{figure(1000 * seconds)} ms" for seconds in (timing.dense, timing.result)),
            Cell(figure(timing.ratio.value), interval(timing.ratio)),
        ]


def _inputs(shapes: Shapes) -> str:
    found = [f"{number(shapes.tokens)} tokens"] if shapes.tokens else []
    if shapes.image is not None:
        width, height = shapes.image
        places = f" ({number(shapes.image_tokens)} of the tokens)" if shapes.image_tokens else ""
        found.append(f"an image of {width} \u00d7 {height} pixels{places}")
    answer = f", {number(shapes.answer)} tokens written" if shapes.answer else ""
    return f"a batch of {shapes.batch} with {' and '.join(found)}{answer}"


def sizes(found: Sizes, *, zeroed: bool) -> Section:
    """What the files weigh, and what a packed download sends.

    Args:
        found: what they weigh.
        zeroed: whether weights became zero.
    """
    share = found.packed / found.dense if found.dense else 1.0
    text = (
        f"The checkpoint has {number(found.dense)} bytes; a packed download sends "
        f"{number(found.packed)} ({percent(share, 0)}) and restores it bit for bit."
    )
    if zeroed:
        text += " Zeros make packed downloads and compressing disks smaller, and no model faster."
    return Section("sizes", "Size", [Text(text)])
