"""The reference is written from the code; what the code does not describe fails here."""

import typer

from app.api.document.openapi import METHODS as VERBS
from app.api.document.openapi import error_classes
from app.cli.main import app as command_line
from app.domain.jobs import EVENT_TYPES, EventType
from app.main import create_app
from app.recipes.methods import METHODS
from app.settings import Settings
from app.settings.section import Section
from docs._ext import reference


def test_every_setting_is_described():
    page = reference.settings()
    sections = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    assert Settings.model_fields.keys() - sections.keys() == {"data_dir", "umask"}
    for section, model in sections.items():
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description, (section, name)
            assert f"`SECATEUR_{section}__{name}`".upper() in page.upper()


def test_every_limit_stands_on_the_page_on_security():
    page = (reference.ROOT / "docs/explanation/security.md").read_text()
    assert "{security_limits}" in page
    limits = reference.limits()
    for section, field in reference._sections().items():
        for name in field.annotation.model_fields:
            if name.startswith("max_") or name.endswith("_seconds"):
                assert f"`SECATEUR_{section}__{name}`".upper() in limits.upper(), name


def test_every_error_code_is_described():
    page = reference.errors()
    for kind in error_classes():
        assert kind.__doc__, kind
        assert f"| `{kind.code}` |" in page
    assert reference.raised() <= {*reference.OTHER_CODES, *(kind.code for kind in error_classes())}
    assert len(reference.refusals()) > 5


def test_every_event_type_is_described():
    assert set(EVENT_TYPES) == set(EventType)
    assert all(f"| `{kind}` |" in reference.events() for kind in EventType)


def test_every_metric_is_described():
    page = reference.metrics()
    for module in reference.PROCESSES.values():
        for metric in reference._counted(module):
            assert metric._documentation.endswith("."), metric
            assert f"`{metric._name}" in page


def test_every_endpoint_is_described():
    page = reference.http()
    for path, item in create_app(Settings()).openapi()["paths"].items():
        for verb, operation in item.items():
            if verb in VERBS:
                assert operation.get("description"), (verb, path)
                assert f"| `{verb.upper()} {path}` |" in page


def test_every_method_and_parameter_is_described():
    page = reference.methods()
    for name, method in METHODS.items():
        assert f"## {name}\n" in page
        for parameter, field in method.model_fields.items():
            assert field.description, (name, parameter)


def test_every_command_is_described():
    page = reference.commands()
    for name, command in reference._walk(typer.main.get_command(command_line), "secateur"):
        assert command.help, name
        assert f"## {name}\n" in page
