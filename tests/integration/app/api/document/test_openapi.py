"""The OpenAPI document is complete, and the API answers as it says."""

import ast
import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from app.api.document import openapi
from app.db import projects
from app.domain.projects import DEFAULT_PROJECT, Limits, PageError
from app.main import create_app
from app.settings import Settings

schemathesis.checks.load_all_checks()
ROOT = Path(__file__).parents[5]


def test_the_committed_document_is_what_the_code_says():
    committed = (ROOT / "openapi.json").read_text()
    assert committed == openapi.text(create_app(Settings())), "run `make openapi`"


def operations():
    document = create_app(Settings()).openapi()
    shared = document["components"]["responses"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            answers = {
                status: shared.get(answer.get("$ref", "").rpartition("/")[2], answer)
                for status, answer in operation["responses"].items()
            }
            yield pytest.param(operation, answers, id=f"{method} {path}")


@pytest.mark.parametrize(("operation", "answers"), list(operations()))
def test_every_operation_says_what_it_is_for_and_how_it_refuses(operation, answers):
    assert operation["summary"]
    assert operation["description"]
    for status, answer in answers.items():
        assert answer["description"]
        if status[0] in "45" and operation.get("security"):
            assert list(answer["content"]) == ["application/problem+json"]


@pytest.mark.parametrize(("operation", "answers"), list(operations()))
def test_every_parameter_and_body_is_described_with_an_example(operation, answers):
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter["name"]
    bodies = [operation.get("requestBody", {}), *answers.values()]
    for body in bodies:
        for media_type, content in body.get("content", {}).items():
            if "json" in media_type or media_type == "text/event-stream":
                assert content.get("example") or content["examples"]
    for answer in answers.values():
        for told in answer.get("headers", {}).values():
            assert told.get("$ref") or told["description"]


def test_operations_are_called_by_verb_and_noun():
    document = create_app(Settings()).openapi()
    found = [each["operationId"] for item in document["paths"].values() for each in item.values()]
    assert len(found) == len(set(found))
    assert {"create_job", "list_jobs", "upload_dataset", "create_sweep"} <= set(found)
    assert not [name for name in found if not re.fullmatch("[a-z]+(_[a-z]+)+", name)]


def own_codes():
    """Codes of the domain's errors, and those that validators of the domain raise."""
    found = {kind.code for kind in openapi.error_classes()}
    for file in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found |= {
                    line.value.value
                    for line in node.body
                    if isinstance(line, ast.Assign) and line.targets[0].id == "code"
                }
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == CUSTOM:
                found |= {each.value for each in node.args[:1] if isinstance(each, ast.Constant)}
    return found


CUSTOM = "PydanticCustomError"
# Raised inside a method's parameters, told as `method_parameter_invalid`.
WRAPPED = {"budget_ambiguous", "share_or_count_invalid"}


def test_every_code_has_an_example_that_is_a_problem():
    shared = create_app(Settings()).openapi()["components"]["responses"]
    shown = {}
    for answer in shared.values():
        shown |= answer["content"]["application/problem+json"]["examples"]
    of_pages = {kind.code for kind in openapi.error_classes(PageError)}
    expected = own_codes() - WRAPPED - of_pages
    assert expected <= set(shown), expected - set(shown)
    assert not of_pages & set(shown)
    for code, example in shown.items():
        problem = openapi.Problem.model_validate(example["value"])
        assert problem.code == code
        assert problem.detail


@schemathesis.serializer("application/jsonl", "application/zip")
def as_it_is(_, value):
    return value if isinstance(value, bytes) else str(value).encode()


CHECKED = (
    schemathesis.checks.not_a_server_error,
    schemathesis.specs.openapi.checks.status_code_conformance,
    schemathesis.specs.openapi.checks.content_type_conformance,
    schemathesis.specs.openapi.checks.response_schema_conformance,
)


def test_whatever_is_sent_the_answer_is_a_documented_one(server, remote, engine):
    with engine.begin() as connection:
        many = Limits(requests_per_minute=10**9)
        projects.set_limits(connection, DEFAULT_PROJECT, many)
    headers = {"Authorization": remote.headers["Authorization"]}
    schema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
    failures = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(operation.as_strategy())
        @settings(
            max_examples=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def answers(case):
            case.call_and_validate(base_url=server, headers=headers, checks=CHECKED)

        try:
            answers()
        except Exception as error:  # noqa: BLE001 - all operations are tried before any is judged
            failures.append(f"{operation.label}: {error}")
    assert not failures, "\n\n".join(failures)
