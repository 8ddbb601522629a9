from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.jobs import (
    DEFAULT_CLASS,
    TRANSITIONS,
    Event,
    EventLevel,
    EventType,
    Job,
    JobFilter,
    JobStatus,
    JobUnreadableError,
    NewEvent,
    sources,
    status_event,
)
from app.domain.submission import JobRequest, resolve

statuses = st.sampled_from(JobStatus)


def test_every_status_has_its_row():
    assert set(TRANSITIONS) == set(JobStatus)


def test_terminal_statuses_are_the_three_ends():
    ends = {status for status in JobStatus if status.terminal}
    assert ends == {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


@given(statuses, statuses)
def test_sources_is_the_inverse_of_transitions(start, end):
    assert (start in sources(end)) == (end in TRANSITIONS[start])


@given(statuses)
def test_every_status_can_reach_an_end(start):
    seen, frontier = set(), {start}
    while frontier:
        seen |= frontier
        frontier = {end for status in frontier for end in TRANSITIONS[status]} - seen
    assert any(status.terminal for status in seen)


def test_nothing_but_a_claim_starts_a_job():
    assert sources(JobStatus.RUNNING) == (JobStatus.QUEUED,)


def test_the_transitions_are_those_of_the_drawing():
    drawn = {
        ("queued", "running"),
        ("queued", "cancelled"),
        ("queued", "failed"),  # its time to wait is over
        ("running", "queued"),
        ("running", "cancelling"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("cancelling", "cancelled"),
    }
    assert {(start, end) for start, ends in TRANSITIONS.items() for end in ends} == drawn
    assert sources(JobStatus.FAILED) == (JobStatus.QUEUED, JobStatus.RUNNING)
    assert sources(JobStatus.CANCELLED) == (JobStatus.QUEUED, JobStatus.CANCELLING)


def test_a_status_event_says_the_status_in_words_and_in_data():
    assert status_event(JobStatus.QUEUED) == NewEvent(
        EventType.STATUS, "queued", EventLevel.INFO, {"status": "queued"}
    )
    told = status_event(JobStatus.FAILED, "no disk", EventLevel.ERROR, code="storage_failed")
    assert (told.message, told.level) == ("no disk", EventLevel.ERROR)
    assert told.data == {"status": "failed", "code": "storage_failed"}


@pytest.mark.parametrize("status", JobStatus)
def test_the_log_ends_with_a_status_that_nothing_follows(status):
    def event(kind, data):
        return Event(1, 1, datetime.now(UTC), EventLevel.INFO, kind, "", data)

    assert event(EventType.STATUS, {"status": status}).last is status.terminal
    assert not event(EventType.MEMBER, {"status": status}).last
    assert not event(EventType.STATUS, {}).last


def test_a_job_begins_unclaimed():
    job = Job(
        id="job_1",
        created_at=datetime.now(UTC),
        max_attempts=3,
        model="tiny",
        method="magnitude",
        stored_request={},
        stored_spec={},
    )
    assert (job.status, job.attempt, job.fruitless) == (JobStatus.QUEUED, 0, 0)
    assert (job.progress, job.priority, job.worker_class) == (0, 0, DEFAULT_CLASS)
    assert job.etag == '"1"'
    assert not JobFilter().oldest_first


REQUEST = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


def stored(**parts):
    return Job(
        id="job_1",
        created_at=datetime.now(UTC),
        max_attempts=3,
        model="tiny",
        method="magnitude",
        **({"stored_request": REQUEST, "stored_spec": {}} | parts),
    )


def test_what_is_stored_is_read_when_it_is_asked_for():
    spec = resolve(JobRequest.model_validate(REQUEST))
    job = stored(stored_spec=spec.model_dump(mode="json"))
    assert job.request == JobRequest.model_validate(REQUEST)
    assert job.spec == spec
    assert job.result is None


@pytest.mark.parametrize(
    ("part", "words"),
    [("request", "request"), ("spec", "specification"), ("result", "result")],
)
def test_what_another_version_has_stored_is_said_to_be(part, words):
    job = stored(**{f"stored_{part}": {"sparsity": "much"}})
    with pytest.raises(JobUnreadableError, match=f"'job_1' .* cannot read its {words}: "):
        getattr(job, part)
