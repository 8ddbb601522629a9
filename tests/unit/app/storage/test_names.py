"""Names of what the service stores; everything else found beside it is foreign."""

import os

import pytest

from app.domain.errors import StorageUnavailableError
from app.storage.names import Found, attempt_name, listed, parse_attempt, parse_job, remove, some

JOB = "job_" + "0a" * 16


def test_names_of_attempts_are_read_back():
    for attempt in (1, 9, 10, 999_999_999):
        assert parse_attempt(attempt_name(JOB, attempt)) == (JOB, attempt)
    assert parse_job(JOB) == JOB


@pytest.mark.parametrize(
    "name",
    [
        JOB,
        f"{JOB}-0",
        f"{JOB}-01",
        f"{JOB}-1000000000",
        f"{JOB}-1x",
        f"{JOB}-\u0661",
        f"x{JOB}-1",
        f"{JOB[:-1]}-1",
        f"{JOB}0-1",
        f"{JOB[:-1]}A-1",
        "",
    ],
)
def test_names_that_are_no_attempts(name):
    assert parse_attempt(name) is None


@pytest.mark.parametrize("name", ["", "job_", JOB + "0", JOB[:-1], f"{JOB}-1", JOB.upper()])
def test_names_that_are_no_jobs(name):
    assert parse_job(name) is None


def test_a_directory_is_sorted_out(tmp_path):
    (tmp_path / JOB).mkdir()
    (tmp_path / "lost+found").mkdir()
    file = f"job_{'1b' * 16}"
    (tmp_path / file).write_text("no directory")
    link = f"job_{'2c' * 16}"
    (tmp_path / link).symlink_to(tmp_path / JOB)
    assert listed(tmp_path, parse_job) == Found(
        frozenset({JOB}), frozenset({"lost+found", file, link})
    )


def test_a_directory_that_is_not_there_is_empty_and_one_that_is_none_an_error(tmp_path):
    assert listed(tmp_path / "none", parse_job) == Found(frozenset(), frozenset())
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailableError, match="Not a directory"):
        listed(tmp_path / "file", parse_job)


def test_some_names_to_be_read_by_people():
    assert some([]) == ""
    assert some(["b", "a"]) == "'a', 'b'"
    assert some("edcba") == "'a', 'b', 'c', 'd', 'e'"
    assert some("gfedcba") == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert some("ba", 1) == "'a' and 1 more"
    assert some(["x" * 200, "\n"]) == "'\\n', '" + "x" * 99


def test_removing_what_is_not_there_is_no_error(tmp_path):
    remove(tmp_path / "none")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("")
    remove(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_else_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for name in "bcd":
        (tmp_path / "a" / name).write_text("")
    unlink = os.unlink

    def twice(*arguments, **options):
        unlink(*arguments, **options)
        unlink(*arguments, **options)

    monkeypatch.setattr(os, "unlink", twice)
    remove(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_cannot_be_removed_is_told(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("")

    def refuse(path, *_, **__):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StorageUnavailableError, match="Operation not permitted"):
        remove(tmp_path / "a")
