"""What else became of a model: a search, its structure, training, weights in 8 bits."""

from app.recipes.pruning_report import ModelRecovery
from app.recipes.quantization import QuantizationReport
from app.recipes.search import SearchReport, Tried
from app.recipes.structure_report import StructureReport, TowerStructure
from app.reports.document import Block, Cell, Section, Table, Text
from app.reports.figures import NONE, figure, number, percent, signed, size


def search(report: SearchReport) -> Section:
    """The shares that were tried, and the largest that is good enough."""
    metric = report.metric.value.replace("_", " ")
    chosen = ", ".join(f"{axis} {percent(share, 2)}" for axis, share in report.chosen.items())
    if report.found is None:
        found = "No share that was tried is within the gate"
    elif len(report.chosen) > 1:
        found = f"The largest shares within the gate: {chosen}"
    else:
        found = f"The largest share within the gate: {chosen}"
    parts = len(report.axes)
    divided = f" One was looked for after the other; the first had 1/{parts} of it to use up."
    text = (
        f"{found}; {metric} may get {figure(report.max_drop)} worse. The upper end of its 95 % "
        f"interval, paired by record, decides.{divided if parts > 1 else ''}"
    )
    head = ("Tried", "Parameters", metric, "Drop", "Drop at worst", "Within the gate")
    rows = [_tried(report, each) for each in report.tried]
    return Section(
        "search", "Search", [Text(text), Table.of(head, rows, words={"Within the gate"})]
    )


def _tried(report: SearchReport, each: Tried) -> list[str]:
    taken = ", taken" if report.chosen.get(each.axis) == each.share else ""
    return [
        f"{each.axis} {percent(each.share, 2)}",
        number(each.parameters),
        figure(each.value),
        signed(each.drop),
        signed(each.at_worst),
        ("yes" if each.qualifies else "no") + taken,
    ]


_AS_MANY = 0.99  # of the operations: rows of a router are a few


def structure(report: StructureReport) -> Section:
    """The towers before and after, and the blocks that went."""
    left = report.parameters_kept / report.parameters if report.parameters else 1.0
    # Where experts went, a token is still routed to as many.
    faster = " and with fewer operations" if report.flops_ratio < _AS_MANY else ""
    text = (
        f"{number(report.parameters_kept)} of {number(report.parameters)} parameters are left "
        f"({percent(left)}), {size(report.bytes_kept)} of {size(report.bytes)}, "
        f"{percent(report.ratio)} of the parameters in its towers, and "
        f"{percent(report.flops_ratio)} of the operations for one image and 512 tokens of text. "
        "Its configuration says so, so whatever loads the original loads it, in less "
        f"memory{faster}."
    )
    head = (
        *("Part", "Blocks", "Width of MLPs", "Experts", "Parameters", "Bytes"),
        *("Operations for a token", "Operations left"),
    )
    blocks: list[Block] = [Text(text), Table.of(head, map(_tower, report.towers))]
    if report.removed:
        blocks.append(Text(f"Blocks left out: {', '.join(report.removed)}."))
    return Section("structure", "Smaller model", blocks)


def _tower(each: TowerStructure) -> list[str | Cell]:
    return [
        Cell(each.name, each.modality.value),
        _kept(each.blocks, each.blocks_kept),
        _kept(each.width, each.width_kept),
        _kept(each.experts, each.experts_kept),
        _kept(each.parameters, each.parameters_kept),
        Cell(size(each.bytes_kept), f"of {size(each.bytes)}"),
        _kept(each.flops, each.flops_kept),
        percent(each.flops_kept / each.flops if each.flops else None),
    ]


def _kept(before: int | None, after: int | None) -> Cell:
    if before is None or after is None:
        return Cell(NONE)
    return Cell(number(after), f"of {number(before)}")


def recovery(report: ModelRecovery) -> Section:
    """What training the whole model came to."""
    text = "Training towards the dense model's predictions made no weights better."
    if report.rate is not None:
        text = (
            "What is left of the weights was trained towards the dense model's predictions: the "
            f"distance fell from {figure(report.before)} to {figure(report.after)} on batches held "
            "out."
        )
    return Section("recovery", "Training", [Text(text)])


_KINDS = {"int8": "int8", "fp8": "FP8 (e4m3)"}


def quantization(report: QuantizationReport) -> Section:
    """Which weights are stored in 8 bits, and what that takes."""
    share = report.bytes / report.bytes_before if report.bytes_before else 1.0
    text = (
        f"The weights of {number(report.matrices)} linear layers are stored as "
        f"{_KINDS[report.kind]} with a scale for each output channel, in the compressed-tensors "
        f"format: {size(report.bytes_before)} became {size(report.bytes)} ({percent(share)}), "
        f"scales included. What was pruned is zero in 8 bits too; "
        f"{number(report.rounded_to_zero or 0)} weights beside are too small for them and became "
        "zero. Quality is that of this model, not of the one before it was quantised."
    )
    loading = (
        "Loading it takes `pip install compressed-tensors`. transformers makes the weights what "
        "they were while it loads them, or in the first forward: the files and the download are "
        "smaller, memory and time in use are not."
    )
    return Section("quantization", "Weights in 8 bits", [Text(text), Text(loading)])
