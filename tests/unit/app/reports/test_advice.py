"""Every failure comes with a next step."""

from datetime import UTC, datetime

import pytest

from app.domain.jobs import FailureKind, Job, JobError, JobStatus
from app.reports.advice import BY_CODE, advice, meaning
from docs._ext.reference import OTHER_CODES


def job(status, error=None):
    return Job(
        model="tiny",
        method="magnitude",
        stored_request={},
        stored_spec={},
        max_attempts=3,
        id="job_1",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        status=status,
        error=error,
    )


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("code", [*BY_CODE, "model_load_failed"])
def test_a_failed_job_has_a_next_step_that_names_it(kind, code):
    told = advice(job(JobStatus.FAILED, JobError(kind, code, "why")))
    assert "job_1" in told[-1]
    assert len(told) == (2 if code in BY_CODE else 1)


def test_only_what_did_not_succeed_has_advice():
    assert advice(job(JobStatus.CANCELLED))
    assert not advice(job(JobStatus.SUCCEEDED))
    assert not advice(job(JobStatus.RUNNING))


@pytest.mark.parametrize("code", BY_CODE)
def test_advice_is_for_codes_that_exist(code):
    assert meaning(code) or code in OTHER_CODES


def test_a_code_is_explained_by_its_class():
    assert meaning("model_load_failed").startswith("The checkpoint does not load")
    assert meaning("nothing") is None
