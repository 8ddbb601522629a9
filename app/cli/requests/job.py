"""Options that say how to prune, and the request they make."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from app.cli.client import Json
from app.cli.console import Exit, fail
from app.cli.lazy_group import MethodName
from app.cli.requests.values import parse, parse_word, with_value

Model = Annotated[
    str | None,
    typer.Argument(
        help="Path under an allowed root, or hf:organisation/name@revision; may stand in the file.",
        show_default=False,
    ),
]
RequestFile = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="The request as the API takes it, in YAML or JSON; - reads standard input. Other "
        "options override what it says.",
        show_default=False,
    ),
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
Pattern = Annotated[
    str | None,
    typer.Option(help="unstructured (the default) or N:M, e.g. 2:4.", show_default=False),
]
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
        help="Any field of the request, name=value in YAML; name.part=value inside one, "
        "name.0=value in a list; repeatable. Overrides the file and the other options.",
    ),
]


class Asked(NamedTuple):
    """A request, and what messages call the file it is from; None where it is from none."""

    body: Json
    file: str | None


def job_request(
    model: Model = None,
    *,
    file: RequestFile = None,
    method: MethodName = None,
    sparsity: Sparsity = None,
    pattern: Pattern = None,
    param: Parameters = None,
    target: Targets = None,
    ignore: Ignore = None,
    allow_unmatched: AllowUnmatched = False,
    seed: Seed = None,
    calibration: Calibration = None,
    samples: Samples = None,
    measure: Measure = False,
    fields: Fields = None,
) -> Asked:
    """What is asked of a job; what is not given is left to the service."""
    request = with_options(
        read_request(file),
        model=model,
        method=method,
        sparsity=None if sparsity is None else parse_word(sparsity),
        pattern=pattern,
        targets=target,
        ignore=ignore,
        allow_unmatched=allow_unmatched or None,
        seed=seed,
        calibration={"set": calibration, "samples": samples},
        measure=measure or None,
    )
    for name, value in assignments(param, "--param"):
        try:
            request = with_value(request, ["parameters", name], value)
        except ValueError as error:
            raise typer.BadParameter(f"parameters: {error}", param_hint="--param") from error
    return asked(with_fields(request, fields), file)


def asked(body: Json, file: str | None) -> Asked:
    """A request that is complete as far as the command line can tell: it names a model."""
    if not body.get("model"):
        raise typer.BadParameter("name one, or give a file that does (-f)", param_hint="MODEL")
    try:
        json.dumps(body, allow_nan=False)
    except ValueError as error:  # typer takes nan and inf for numbers
        raise typer.BadParameter("a number of the request is not finite") from error
    return Asked(body, file and source_of(file))


def read_request(file: str | None) -> Json:
    """The request in a file, or an empty one; what is wrong with the file ends the command."""
    if file is None:
        return {}
    name = source_of(file)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        found = parse(content.decode("utf-8-sig"))
    except OSError as error:
        fail(f"file_unreadable: {name}: {error.strerror or error}", Exit.USAGE)
    except ValueError as error:
        fail(f"file_invalid: {name}: {error}", Exit.USAGE)
    if not isinstance(found, dict):
        fail(f"file_invalid: {name}: a request has names with values", Exit.USAGE)
    return found


def source_of(file: str) -> str:
    """What messages call the file of a request."""
    return "standard input" if file == "-" else file


def with_options(request: Json, **options: Any) -> Json:
    """The request with what options say; None says nothing, nor does it inside an option."""
    for name, value in options.items():
        if isinstance(value, dict):
            known = request.get(name)
            inner = with_options(known if isinstance(known, dict) else {}, **value)
            request = request | ({name: inner} if inner else {})
        elif value is not None:
            request = request | {name: value}
    return request


def with_fields(request: Json, texts: list[str] | None) -> Json:
    """The request with fields set as `--set` has them."""
    for path, value in assignments(texts, "--set"):
        try:
            request = with_value(request, path.split("."), value)
        except ValueError as error:
            raise typer.BadParameter(f"{path}: {error}", param_hint="--set") from error
    return request


def given(**values: Any) -> Json:
    """What was given; the rest is left to the service."""
    return with_options({}, **values)


def assignments(texts: list[str] | None, option: str) -> Iterator[tuple[str, Any]]:
    """`name=value` each; a value is YAML where it can be, else a text."""
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not separator or not all(name.split(".")):
            raise typer.BadParameter(f"{text!r} is not name=value", param_hint=option)
        yield name, parse_word(value)
