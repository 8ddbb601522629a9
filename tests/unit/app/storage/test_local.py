from app.domain.jobs import Artifact
from app.storage.local import LocalStore


def artifact(path):
    return Artifact("job_1", 2, path, 2, "", "text/plain")


def test_publish_moves_everything_at_once(tmp_path):
    store = LocalStore(tmp_path)
    staged = store.stage("job_1", 2)
    (staged / "deep").mkdir()
    (staged / "deep" / "file.txt").write_text("hi")
    assert not store.locate(artifact("deep/file.txt")).exists()
    store.publish("job_1", 2)
    assert store.locate(artifact("deep/file.txt")).read_text() == "hi"
    assert not staged.exists()


def test_staging_again_starts_empty(tmp_path):
    store = LocalStore(tmp_path)
    (store.stage("job_1", 2) / "left").write_text("over")
    assert list(store.stage("job_1", 2).iterdir()) == []


def test_discard_leaves_other_attempts_alone(tmp_path):
    store = LocalStore(tmp_path)
    (store.stage("job_1", 1) / "a").write_text("1")
    (store.stage("job_1", 2) / "a").write_text("2")
    store.publish("job_1", 2)
    store.discard("job_1", 1)
    assert store.locate(artifact("a")).read_text() == "2"
    assert [path.name for path in (tmp_path / "staging").iterdir()] == []
