"""What readers are told of weights in 8 bits."""

from app.recipes.quantization import QuantizationReport

_NAMES = {"int8": "int8", "fp8": "FP8 (e4m3)"}


def summary(report: QuantizationReport) -> str:
    """In three sentences."""
    share = report.bytes / report.bytes_before if report.bytes_before else 1.0
    return (
        f"The weights of {report.matrices:,} linear layers are stored as {_NAMES[report.kind]} "
        "with a scale for each output channel, in the compressed-tensors format: "
        f"{report.bytes:,} bytes in place of {report.bytes_before:,} ({share:.1%}). What was "
        f"pruned is zero in 8 bits too; {report.rounded_to_zero or 0:,} weights beside are too "
        "small for them and became zero. Quality is that of this model, not of the one before it "
        "was quantised."
    )


def loading() -> str:
    """How it is loaded, for a model card."""
    return (
        "Loading it takes `pip install compressed-tensors`. transformers makes the weights what "
        "they were while it loads them, or in the first forward: the files and the download are "
        "smaller, memory and time in use are not."
    )
