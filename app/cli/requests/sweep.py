"""Options that say what a sweep tries, and the request they make."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from app.cli.client import Json
from app.cli.requests.job import (
    Asked,
    Calibration,
    Fields,
    Measure,
    Model,
    RequestFile,
    Samples,
    asked,
    read_request,
    with_fields,
    with_options,
)
from app.cli.requests.values import parse, with_value

# The list of the request that a field's values belong to; what is not here is of recipes.
_LISTS = {
    "method": "methods",
    "parameters": "methods",
    "recipe": "methods",
    "sparsity": "sparsities",
}

Axes = Annotated[
    list[str] | None,
    typer.Option(
        help="Values to try of a field, name=value,value in YAML: method, sparsity, "
        "parameters.NAME of methods, or any other field of a recipe such as pattern; repeatable.",
    ),
]


def sweep_request(
    model: Model = None,
    *,
    file: RequestFile = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Pruning method; repeatable.", show_default=False)
    ] = None,
    sparsity: Annotated[
        list[float] | None, typer.Option(help="Share of weights set to zero; repeatable.")
    ] = None,
    pattern: Annotated[
        list[str] | None, typer.Option(help="unstructured or N:M; repeatable.")
    ] = None,
    param: Axes = None,
    evaluate: Annotated[
        str | None, typer.Option(help="Data set to measure on, before and after.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What the best is best at; needs --evaluate.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Best is the sparsest that loses no more than this in the metric."),
    ] = None,
    calibration: Calibration = None,
    samples: Samples = None,
    measure: Measure = False,
    fields: Fields = None,
) -> Asked:
    """What is asked of a sweep; what is not given is left to the service."""
    request = with_options(
        read_request(file),
        model=model,
        evaluation={"set": evaluate},
        objective={"metric": metric, "max_drop": max_drop},
        calibration={"set": calibration, "samples": samples},
        measure=measure or None,
    )
    named = {"method": method, "sparsity": sparsity, "pattern": pattern}
    axes = [(name, values) for name, values in named.items() if values]
    for name, values in [*axes, *map(_axis, param or [])]:
        try:
            request = with_axis(request, name, values)
        except ValueError as error:
            raise typer.BadParameter(f"{name}: {error}", param_hint="--param") from error
    return asked(with_fields(request, fields), file)


def with_axis(request: Json, name: str, values: Sequence[Any]) -> Json:
    """The request with each of the values tried, beside whatever else it tries.

    Args:
        request: of a sweep.
        name: path of a field as a job has it.
        values: of the field.
    """
    first, *inside = name.split(".")
    field = _LISTS.get(first, "recipes")
    path = inside if field == "sparsities" else [first, *inside]
    before = request.get(field)
    tried: list[Any] = []
    for each in before if before and isinstance(before, list) else [{}]:
        made = [with_value(each, path, value) for value in values]
        tried += [one for one in made if one not in tried]
    return request | {field: tried}


def _axis(text: str) -> tuple[str, list[Any]]:
    name, separator, values = text.partition("=")
    if not separator or not all(name.split(".")) or not values.strip():
        raise typer.BadParameter(f"{text!r} is not name=value,value", param_hint="--param")
    try:
        return name, parse(f"[{values}]")
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}", param_hint="--param") from error
