"""The OpenAPI document is complete, and the API answers as it says."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from app.api import openapi
from app.db import projects
from app.domain.access import DEFAULT_PROJECT, Limits
from app.main import create_app
from app.settings import Settings

schemathesis.checks.load_all_checks()
ROOT = Path(__file__).parents[3]


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
