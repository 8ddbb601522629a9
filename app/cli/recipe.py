"""Options that say how to prune, and the request they make."""

import json
from typing import Annotated, Any

import typer

from app.cli.client import Json

Model = Annotated[
    str, typer.Argument(help="Path under an allowed root, or hf:organisation/name@revision.")
]
Sparsity = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE|auto",
        help="Share of weights set to zero; `auto` looks for the largest within the quality gate. "
        "By modality: --set sparsity.vision=0.3.",
        show_default=False,
    ),
]
Pattern = Annotated[str, typer.Option(help="unstructured or N:M, e.g. 2:4.")]
Parameters = Annotated[
    list[str] | None, typer.Option(help="Parameter of the method, name=value; repeatable.")
]
Targets = Annotated[list[str] | None, typer.Option(help="Pattern of modules to prune; repeatable.")]
Ignore = Annotated[
    list[str] | None, typer.Option(help="Pattern of modules to leave alone; repeatable.")
]
AllowUnmatched = Annotated[
    bool, typer.Option("--allow-unmatched", help="Accept patterns of --ignore that match nothing.")
]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="Measure memory and time of the result beside the dense model."),
]
Seed = Annotated[int | None, typer.Option(show_default=False)]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="Name of the calibration set; by default one that the model takes.", show_default=False
    ),
]
Samples = Annotated[
    int | None, typer.Option(help="Rows of the calibration set used.", show_default=False)
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other field of the request, name=value; name.part=value inside one; repeatable.",
    ),
]


def given(**values: Any) -> Json:
    """What was given; the rest is left to the service."""
    return {name: value for name, value in values.items() if value is not None}


def job_request(
    *,
    sparsity: str | None,
    param: list[str] | None,
    calibration: str | None,
    samples: int | None,
    allow_unmatched: bool,
    measure: bool,
    fields: list[str] | None,
    **named: Any,
) -> Json:
    """What is asked of a job; `named` are the request's own fields, `fields` those of `--set`."""
    request = given(
        **named,
        sparsity=None if sparsity is None else _value(sparsity),
        parameters=assignments(param),
        calibration=given(set=calibration, samples=samples) or None,
        allow_unmatched=allow_unmatched or None,
        measure=measure or None,
    )
    return with_fields(request, fields)


def with_fields(request: Json, texts: list[str] | None) -> Json:
    """The request with fields set as `--set` has them: `name=value`, or `name.part=value`."""
    made = dict(request)
    for path, value in assignments(texts, "--set").items():
        *outer, last = path.split(".")
        inside = made
        for name in outer:
            known = inside.get(name)
            inside[name] = dict(known) if isinstance(known, dict) else {}
            inside = inside[name]
        inside[last] = value
    return made


def assignments(texts: list[str] | None, option: str = "--param") -> Json:
    """`name=value` each; a value is JSON where it can be, else a string."""
    return dict(_assignment(text, option) for text in texts or [])


def _assignment(text: str, option: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"{text!r} is not name=value", param_hint=option)
    return name, _value(value)


def _value(text: str) -> Any:
    """JSON where it can be, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
