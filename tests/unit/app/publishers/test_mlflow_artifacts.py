"""An MLflow server says where its artifacts lie; who runs the service says what it believes."""

import pytest

from app.domain.publications import PublishingError
from app.publishers.mlflow_artifacts import artifact_store


@pytest.fixture
def shared(tmp_path):
    root = tmp_path / "shared"
    root.mkdir()
    return root


def test_files_go_where_both_say(shared):
    folder = shared / "1" / "run" / "artifacts"
    for named in (str(folder), f"file://{folder}"):
        put = artifact_store((named,), (str(shared),))
        put(f"{named}/plots/a%20b.svg" if named.startswith("file") else f"{named}/x", b"drawn")
    assert (folder / "plots" / "a b.svg").read_bytes() == b"drawn"


@pytest.mark.parametrize(
    "named",
    [
        "{shared}/../elsewhere/1/run/artifacts",
        "file://{shared}/%2e%2e/elsewhere",
        "{shared}-too/1",
        "/etc",
        "file://other.example{shared}/1",
        "s3://shared/1",
        "s3://bucket/mlflow-too/1",
        "s3://other/mlflow/1",
        "s3://bucket/mlflow/../keys",
        "https://files.example/1",
        "dbfs:/1",
        "",
    ],
)
def test_no_other_place_is_written_to(shared, named):
    allowed = (str(shared), "s3://bucket/mlflow")
    with pytest.raises(PublishingError, match="does not allow"):
        artifact_store((f"{shared}/1", named.format(shared=shared)), allowed)


def test_none_is_written_to_where_nothing_was_said(shared):
    with pytest.raises(PublishingError, match=r"--artifacts-destination"):
        artifact_store((str(shared / "1"),), ())


def test_a_run_with_its_files_in_two_places_is_refused(shared):
    with pytest.raises(PublishingError, match="several places"):
        artifact_store((str(shared / "1"), "s3://bucket/1"), (str(shared), "s3://bucket"))


def test_a_link_leads_nowhere(shared, tmp_path):
    (tmp_path / "private").mkdir()
    (shared / "1").symlink_to(tmp_path / "private")
    put = artifact_store((str(shared / "1"),), (str(shared),))
    with pytest.raises(PublishingError, match="is not in"):
        put(f"{shared}/1/config.json", b"{}")
    assert not list((tmp_path / "private").iterdir())


def test_a_directory_that_is_not_here_is_not_made(tmp_path):
    gone = tmp_path / "gone"
    with pytest.raises(PublishingError, match="this machine does not have"):
        artifact_store((str(gone / "1"),), (str(gone),))
