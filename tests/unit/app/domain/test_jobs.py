from hypothesis import given
from hypothesis import strategies as st

from app.domain.jobs import TRANSITIONS, JobStatus, sources

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
