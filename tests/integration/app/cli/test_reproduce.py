"""reproduce: a manifest's job is run again and compared."""

import json
import threading

import pytest

REQUEST = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


def manifest(files, **versions):
    told = {"request": REQUEST, "model_revision": None, "versions": {"torch": "1"} | versions}
    return told | {"files": {path: {"size": 1, "sha256": digest} for path, digest in files.items()}}


@pytest.fixture
def run(secateur, hand, tmp_path):
    """Reproduce a manifest while a worker answers with another."""

    def run(first, second, *options):
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(first))
        done, asked = threading.Event(), []

        def work():
            while not done.wait(0.1):
                # Other tests leave jobs waiting; they end as well.
                if (job := hand.next()) is not None:
                    asked.append(job.stored_request)
                    hand.succeed(job, {"manifest.json": json.dumps(second).encode()})

        worker = threading.Thread(target=work)
        worker.start()
        try:
            ran = secateur("reproduce", path, *options)
        finally:
            done.set()
            worker.join()
        assert REQUEST in asked
        return ran

    return run


def test_the_same_files_are_told(run):
    ran = run(manifest({"a": "1", "b": "2"}), manifest({"a": "1", "b": "2"}))
    assert ran.exit_code == 0, ran.output
    assert "all 2 files are the same" in ran.stdout


def test_differences_are_told(run):
    first, second = manifest({"a": "1", "b": "2"}), manifest({"a": "1", "b": "3"}, torch="2")
    ran = run(first, second)
    assert ran.exit_code == 1
    assert ran.stdout.splitlines()[1:] == ["  b", "  torch was 1 and is 2"]


def test_the_comparison_is_one_json_document(run):
    ran = run(manifest({"a": "1"}), manifest({"a": "2"}), "--json")
    assert ran.exit_code == 1
    found = json.loads(ran.stdout)
    assert (found["reproduced"], found["different"]) == (False, ["a"])


def test_files_that_tell_times_are_left_out_and_nothing_is_timed_again(run):
    first = manifest({"a": "1", "report.html": "2"})
    first["request"] = REQUEST | {"measure": True}
    ran = run(first, manifest({"a": "1", "report.html": "3"}))  # `run` sees what was asked
    assert ran.exit_code == 0, ran.output
    assert "all 1 files are the same" in ran.stdout


def test_what_is_no_manifest_is_refused(secateur, tmp_path):
    (tmp_path / "other.json").write_text("[]")
    for path in (tmp_path / "none.json", tmp_path / "other.json"):
        ran = secateur("reproduce", path)
        assert (ran.exit_code, "manifest_invalid" in ran.stderr) == (2, True)
