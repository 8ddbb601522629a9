from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from app.domain.projects import (
    INCLUDED,
    Limits,
    LimitsChange,
    Project,
    QueueQuotaError,
    Scope,
)


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("other", Scope)
def test_each_scope_includes_those_before_it(scope, other):
    order = [Scope.READ, Scope.SUBMIT, Scope.ADMIN]
    assert (other in INCLUDED[scope]) is (order.index(scope) >= order.index(other))


@pytest.mark.parametrize("kind", [Limits, LimitsChange])
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("queued_jobs", 0),
        ("running_jobs", 1),
        ("artifact_bytes", 0),
        ("upload_bytes", 0),
        ("requests_per_minute", 1),
    ],
)
def test_limits_have_a_least_value(kind, name, least):
    assert getattr(kind(**{name: least}), name) == least
    with pytest.raises(ValidationError):
        kind(**{name: least - 1})


def test_a_new_project_has_the_limits_that_the_reference_tells():
    assert Limits() == Limits(
        queued_jobs=10_000,
        running_jobs=100,
        artifact_bytes=2**40,
        upload_bytes=256 * 2**20,
        requests_per_minute=6000,
    )
    assert not LimitsChange().model_dump(exclude_none=True)


def test_a_projects_tag_changes_with_its_limits_alone():
    def tag(name="a", used=0, **limits):
        return Project("prj_1", name, Limits(**limits), used, datetime.now(UTC)).etag

    assert tag() == tag("b", 9)
    assert tag() != tag(queued_jobs=1)
    assert len(tag()) == 18
    assert tag()[0] == tag()[-1] == '"'


def test_a_full_queue_is_tried_again_in_half_a_minute():
    assert QueueQuotaError.retry_after == 30
