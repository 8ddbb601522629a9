"""The model card of a router: `README.md` with the metadata the hub reads."""

from pathlib import Path

from app.domain.evaluation import Estimate
from app.domain.routing_report import RoutingReport

CARD = "README.md"
_INTRODUCTION = (
    "For every prompt it picks the image tokens that stay and the decoder layers that run (Pruning "
    "All-Rounder, arXiv 2412.06458). The base model is not part of these files and is not changed. "
    "They need torch, transformers and safetensors; `example.py` is complete."
)
_JUDGED = (
    "Judged on {} records it was not trained on, whose images it had not seen, against the answers "
    "of the dense model; 95 % bootstrap intervals in brackets."
)


def write_card(directory: Path, base: str, report: RoutingReport) -> None:
    """Write the card.

    Args:
        directory: the staged files.
        base: the model the router was trained for.
        report: what was done and measured.
    """
    head = ["---", "library_name: transformers", f"base_model: {base}", "tags:"]
    body = [
        f"# A PAR router for {base}",
        _INTRODUCTION,
        _budget(report),
        _JUDGED.format(report.records["judge"]),
        "\n".join(_table(report)),
        _verdict(report),
        "Other profiles (`par_config.json`) use the same router; they were not judged.",
    ]
    text = "\n".join([*head, "- pruned", "- par", "---", "\n\n".join(body), ""])
    (directory / CARD).write_text(text, encoding="utf-8")


def _estimate(found: Estimate) -> str:
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"


def _budget(report: RoutingReport) -> str:
    prompt = report.typical_prompt
    return (
        f"At the budget it was trained for (profile `asked`) {report.tokens:.1%} of the image "
        f"tokens stay and {report.layers} of {report.of_layers} layers run: the decoder layers and "
        f"the router take {report.flops_ratio:.1%} of the dense operations on a prompt of "
        f"{prompt['text']} text and {prompt['vision']} image tokens."
    )


def _table(report: RoutingReport) -> list[str]:
    head = ["| chosen by | KL (nats) | same token | same answer |", "|---|---|---|---|"]
    return head + [
        f"| {name} | {_estimate(each.kl)} | {_estimate(each.agreement)} | {_estimate(each.exact)} |"
        for name, each in report.policies.items()
    ]


def _verdict(report: RoutingReport) -> str:
    if report.gate.passed:
        return "The router beats every baseline."
    unbeaten = ", ".join(report.gate.unbeaten)
    return f"**The router does not beat {unbeaten}; it was taken anyway.**"
