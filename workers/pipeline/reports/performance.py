"""What readers are told of the result's memory and time beside the dense model's."""

from collections.abc import Iterator

from app.recipes.performance import NotMeasured, PerformanceReport

HEAD = ("measured", "dense", "result", "result / dense")
_WORDS = {
    "prefill": "seconds to the first token",
    "decode": "seconds of each further token",
    "encode": "seconds of a forward",
}


def summary(report: PerformanceReport | NotMeasured) -> str:
    """What it was measured on, and how sure it is; or why it was not measured."""
    if isinstance(report, NotMeasured):
        return f"The result was not measured: {report.reason} ({report.code})."
    shapes = report.shapes
    inputs = [f"{shapes.tokens:,} tokens"] if shapes.tokens else []
    if shapes.image is not None:
        places = f" ({shapes.image_tokens:,} of the tokens)" if shapes.image_tokens else ""
        inputs.append(f"an image of {shapes.image[0]} x {shapes.image[1]} pixels{places}")
    answer = f", {shapes.answer:,} tokens written" if shapes.answer else ""
    how = "both in memory" if report.together else "each loaded anew for every round"
    return (
        f"Measured by transformers on {report.device} with {report.threads} threads, in "
        f"{report.dtype}: a batch of {shapes.batch} with {' and '.join(inputs)}{answer}; "
        f"{report.rounds} rounds in turns, {how}. Times are medians; brackets hold the median of "
        f"the rounds' ratios with a probability of {report.confidence:.1%}."
    )


def rows(report: PerformanceReport | NotMeasured) -> Iterator[tuple[str, ...]]:
    """Rows of the table; none where nothing was measured."""
    if isinstance(report, NotMeasured):
        return
    for name, amount in (
        ("bytes of the weights in use", report.bytes),
        ("bytes of memory at most", report.peak_bytes),
    ):
        yield name, f"{amount.dense:,}", f"{amount.result:,}", f"{amount.ratio:.3f}"
    for kind, timing in report.seconds.items():
        ratio = timing.ratio
        told = f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        yield _WORDS[kind], f"{timing.dense:.4g}", f"{timing.result:.4g}", told


def as_markdown(report: PerformanceReport | NotMeasured) -> list[str]:
    """Lines for a model card."""
    body = list(rows(report))
    lines = [HEAD, tuple("---" for _ in HEAD), *body] if body else []
    return [summary(report), "", *(f"| {' | '.join(line)} |" for line in lines)]
