"""Writes the reference pages from the code, so that nothing there can be missing or out of date."""

import ast
import enum
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from app.api.document.openapi import METHODS as VERBS
from app.api.document.openapi import error_classes
from app.api.http.problems import HTTP_CODES, VALIDATION_CODES
from app.cli.lazy_group import LazyGroup
from app.cli.main import app as command_line
from app.domain.jobs import EVENT_TYPES
from app.domain.webhooks import WebhookEvent
from app.errors import SecateurError, SystemFaultError, UserError
from app.main import create_app
from app.recipes.methods import METHODS
from app.settings import Settings
from app.settings.section import Section
from app.telemetry.metrics import api, maintenance, state, worker
from docs._ext import measured

ROOT = Path(__file__).parents[2]
FIELD_CODES = set(VALIDATION_CODES.values())
# Codes that no class of errors stands behind.
OTHER_CODES = {
    "device_failed": "The GPU failed, in several attempts.",
    "internal": "Something unexpected; the log of the API or of the worker has it under the id.",
    "max_pending_exceeded": "The job did not start within its `max_pending_seconds`.",
    "max_runtime_exceeded": "The job did not end within its `max_runtime_seconds`.",
    "no_progress": "The last attempt made no progress and was ended.",
    "overloaded": "The API has as many requests in work as it takes; try again.",
    "out_of_memory": "The worker ran out of memory.",
    "request_invalid": "Several things are wrong; `errors` lists them.",
    "storage_failed": "The store of artifacts, or a disk, failed.",
    "worker_lost": "The last worker of the job stopped responding.",
    **dict.fromkeys(sorted(FIELD_CODES), "The request does not fit its schema."),
    **dict.fromkeys(sorted(HTTP_CODES.values()), "HTTP has a status for it."),
}
PROCESSES = {"API": api, "Worker": worker, "Maintenance": maintenance}


def write(directory: Path) -> None:
    """Write every page to `directory`; a page that says the same already is left alone."""
    directory.mkdir(exist_ok=True)
    for name, text in pages().items():
        file = directory / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of each page, by its name."""
    return {
        "settings": settings(),
        "api": http(),
        "errors": errors(),
        "events": events(),
        "metrics": metrics(),
        "methods": methods(),
        "command-line": commands(),
    }


def settings() -> str:
    """Every variable of the environment."""
    text = [
        "# Settings",
        (
            "Environment variables. What is not set has the default; a misspelt name is refused. "
            "Relative paths are under `SECATEUR_DATA_DIR`."
        ),
    ]
    plain = ("data_dir", "umask")
    rows = [_setting(f"SECATEUR_{name}".upper(), Settings.model_fields[name]) for name in plain]
    text += [_table(("variable", "default", "meaning"), rows)]
    for section, field in _sections().items():
        rows = [
            _setting(f"SECATEUR_{section}__{name}".upper(), inner)
            for name, inner in field.annotation.model_fields.items()
        ]
        text += [f"## {section.capitalize()}", field.description or ""]
        text += [_table(("variable", "default", "meaning"), rows)]
    return _page(text)


def _sections() -> dict[str, Any]:
    return {
        section: field
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def limits() -> str:
    """Every setting that is a number, for the page on security; a port bounds nothing."""
    rows = [
        _setting(f"SECATEUR_{section}__{name}".upper(), inner)
        for section, field in _sections().items()
        for name, inner in field.annotation.model_fields.items()
        if inner.annotation in {int, float} and not name.endswith("port")
    ]
    return _table(("variable", "default", "meaning"), rows)


def http() -> str:
    """Every operation."""
    document = create_app(Settings()).openapi()
    text = [
        "# HTTP API",
        (
            "`GET /openapi.json` has the schemas, `/docs` lets you try them. Every answer carries "
            "`X-Request-Id`; every refusal is a [problem](errors.md)."
        ),
    ]
    by_tag: dict[str, list[tuple[str, ...]]] = {}
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if verb in VERBS:
                summary = operation.get("description") or operation["summary"]
                row = (f"`{verb.upper()} {path}`", _first_paragraph(summary))
                by_tag.setdefault(operation["tags"][0], []).append(row)
    for tag, rows in sorted(by_tag.items()):
        text += [f"## {tag.capitalize()}", _table(("operation", "what it does"), rows)]
    return _page(text)


def errors() -> str:
    """Every code."""
    kinds = sorted(
        {kind.code: kind for kind in error_classes() if kind is not SecateurError}.items()
    )
    text = [
        "# Errors",
        (
            "Refusals are `application/problem+json` (RFC 9457) with a stable `code`. The same codes "
            "stand in the `error` of a failed job, whose `kind` says whether the same request would "
            "fail again (`user_error`) or may pass (`system_error`)."
        ),
    ]
    for base, title in ((UserError, "The request, the model or the data"), (None, "The service")):
        chosen = base or SystemFaultError
        rows = [
            (f"`{code}`", str(kind.status.value), _first_paragraph(kind.__doc__))
            for code, kind in kinds
            if issubclass(kind, chosen)
        ]
        text += [f"## {title}", _table(("code", "status", "meaning"), rows)]
    text += ["## Others", _table(("code", "meaning"), _rows(OTHER_CODES))]
    text += [
        "## In the `errors` of `request_invalid`",
        _table(("code", "detail"), _rows(refusals())),
    ]
    return _page(text)


def refusals() -> dict[str, str]:
    """What the request's own rules refuse with codes of their own, read from the calls that do."""
    found = {}
    for name, (code, message, *_) in _calls({"PydanticCustomError"}):
        if name and isinstance(code, ast.Constant) and isinstance(message, ast.Constant):
            found[code.value] = message.value
    return {code: found[code] for code in sorted(found) if code not in FIELD_CODES}


def raised() -> set[str]:
    """The codes of problems and failures that have no class of their own."""
    calls = _calls({"JobError", "problem"})
    constants = [each.value for _, each in calls for each in each if isinstance(each, ast.Constant)]
    return {value for value in constants if re.fullmatch("[a-z_]+", str(value))}


def _calls(names: set[str]) -> Iterator[tuple[str, list[ast.expr]]]:
    for folder in ("app", "workers"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
                    yield node.func.id, node.args


def _rows(meanings: dict[str, str]) -> list[tuple[str, str]]:
    return [(f"`{code}`", meaning) for code, meaning in meanings.items()]


def events() -> str:
    """Every type of event, and what webhooks can be told."""
    rows = [(f"`{kind}`", meaning) for kind, meaning in EVENT_TYPES.items()]
    hooks = [(f"`{event}`", _sent_when(event)) for event in WebhookEvent]
    return _page(
        [
            "# Events",
            (
                "`GET /v1/jobs/{id}/events` lists a job's log, or streams it with `Accept: "
                "text/event-stream`. An entry has `id`, `attempt`, `at`, `level`, `type`, `message` "
                "and `data`."
            ),
            _table(("type", "what it tells"), rows),
            "## Webhooks",
            _table(("event", "sent when"), hooks),
        ]
    )


def _sent_when(event: WebhookEvent) -> str:
    if event is WebhookEvent.DISABLED:
        return "another webhook of the project was disabled since its receiver failed or is gone"
    subject, status = event.split(".")
    return f"a {subject} reached `{status}`"


def metrics() -> str:
    """Every Prometheus metric, by process."""
    text = [
        "# Metrics",
        (
            "The API answers Prometheus at `/metrics`; workers and maintenance at "
            "`SECATEUR_TELEMETRY__METRICS_PORT`. Under `secateur up` the worker has that port and "
            "maintenance the next. Counters end in `_total`, histograms in `_bucket`, `_sum`, "
            "`_count`."
        ),
    ]
    head = ("metric", "kind", "labels", "what it counts")
    for process, module in PROCESSES.items():
        text += [f"## {process}", _table(head, map(_metric, _counted(module)))]
    rows = [
        (f"`{family.name}`", family.type, _code(family._labelnames), family.documentation)
        for family in state.State({}, {}).collect()
    ]
    text += ["## Read from the database by the API", _table(head, rows)]
    return _page(text)


def methods() -> str:
    """Every method with its parameters and what we measured."""
    known = measured.at_half("scenes-llava", measured.figures())
    text = [
        "# Methods",
        (
            "[Each has a page](../methods/index.md). Measured: exact answers of `scenes-llava` after "
            "pruning half of its weights (mean over seeds; dense "
            f"{known['dense']}), from `docs/quality/rows.json`."
        ),
    ]
    head = ("method", "summary", "data", "gradient", "measured at 50 %")
    text += [
        _table(
            head,
            [
                (
                    f"[`{name}`](#{name.replace('+', '')})",
                    method.summary,
                    "yes" if method.needs_data else "no",
                    "yes" if method.needs_gradient else "no",
                    known.get(name, ""),
                )
                for name, method in sorted(METHODS.items())
            ],
        )
    ]
    for name, method in sorted(METHODS.items()):
        rows = [
            (f"`{field}`", _default(info), _line(info.description or ""))
            for field, info in method.model_fields.items()
        ]
        text += [f"## {name}", f"{method.summary} {method.paper}"]
        text += [_table(("parameter", "default", "meaning"), rows) if rows else "No parameters."]
    return _page(text)


def commands() -> str:
    """Every command with its options."""
    group = typer.main.get_command(command_line)
    text = [
        "# Command line",
        (
            "Exit codes: 0 well, 1 the job or the check failed, 2 wrong usage, 3 the service refused, "
            "4 it did not answer, 130 Ctrl-C. `secateur --install-completion` teaches your shell."
        ),
    ]
    for name, command in _walk(group, "secateur"):
        rows = [
            (
                _code(parameter.opts)
                if parameter.param_type_name == "option"
                else f"`{(parameter.name or '').upper()}`",
                _line(getattr(parameter, "help", "") or ""),
            )
            for parameter in command.params
            if parameter.name != "help"
        ]
        text += [f"## {name}", _line(command.help or ""), _table(("option", "meaning"), rows)]
    return _page(text)


def _walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for part, each in inner.items():
        whole = command.load(part) if isinstance(command, LazyGroup) else each
        yield from _walk(whole, f"{name} {part}")


def _setting(variable: str, field: Any) -> tuple[str, str, str]:
    return f"`{variable}`", _default(field), _line(field.description or "")


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required" if field.default_factory is None else ""
    if isinstance(value, BaseModel):
        return f"`{value.model_dump_json()}`"
    if isinstance(value, enum.Enum):
        return f"`{value.value}`"
    if isinstance(value, tuple):
        separator = ":" if all(isinstance(each, Path) for each in value) else ","
        value = separator.join(map(str, value))
    if isinstance(value, dict):
        value = json.dumps(value)
    return f"`{value}`" if str(value) else "none"


def _counted(module: Any) -> list[MetricWrapperBase]:
    return [each for each in vars(module).values() if isinstance(each, MetricWrapperBase)]


def _metric(metric: MetricWrapperBase) -> tuple[str, ...]:
    family = metric.describe()[0]
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return f"`{name}`", family.type, _code(metric._labelnames), family.documentation


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split())


def _first_paragraph(text: str | None) -> str:
    return _line((text or "").partition("\n\n")[0])


def _code(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
