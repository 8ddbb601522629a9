"""`secateur submit`: queue a pruning job."""

import json
from typing import Annotated, Any

import typer

from app.cli.client import AsJson, Json, Key, Url, connected
from app.cli.completion import MethodName
from app.cli.console import out
from app.cli.watch import report, watch_to_end


def submit(
    model: Annotated[
        str, typer.Argument(help="Path under an allowed root, or hf:organisation/name@revision.")
    ],
    *,
    method: MethodName,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of weights set to zero.", show_default=False)
    ] = None,
    pattern: Annotated[str, typer.Option(help="unstructured or N:M, e.g. 2:4.")] = "unstructured",
    param: Annotated[
        list[str] | None, typer.Option(help="Parameter of the method, name=value; repeatable.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Pattern of modules to prune; repeatable.")
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Pattern of modules to leave alone; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(show_default=False)] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Name of the calibration set.", show_default=False)
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Rows of the calibration set used.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Queue a pruning job and print its id.

    What is not given is left to the service.
    """
    request: Json = _given(
        model=model,
        method=method,
        sparsity=sparsity,
        pattern=pattern,
        parameters=dict(map(_parameter, param or [])),
        targets=target,
        ignore=ignore,
        seed=seed,
        calibration=_given(set=calibration, samples=samples) or None,
    )
    with connected(url, key) as client:
        job = client.submit(request)
        if watch:
            report(watch_to_end(client, job["id"]), as_json=as_json)
        elif as_json:
            out.print_json(data=job)
        else:
            out.print(job["id"])


def _given(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _parameter(text: str) -> tuple[str, Any]:
    """`name=value`; the value is JSON where it can be, else a string."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"{text!r} is not name=value", param_hint="--param")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
