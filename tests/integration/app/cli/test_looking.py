"""What the service has, as people see it; and what the shell may complete."""

import json

from app.cli.lazy_group import complete_job, complete_method


def test_jobs_are_listed(secateur, job_id):
    listed = secateur("jobs", "--status", "queued")
    assert listed.exit_code == 0, listed.output
    row = next(line for line in listed.stdout.splitlines() if job_id in line)
    assert "queued" in row
    assert "tiny" in row
    told = json.loads(secateur("jobs", "--limit", 1, "--json").stdout)
    assert [job["id"] for job in told] == [job_id]


def test_a_job_is_shown_with_its_result(secateur, job_id, hand):
    hand.succeed(hand.claim(job_id))
    shown = secateur("show", job_id).stdout
    assert "succeeded" in shown
    assert "0.5" in shown
    told = [event["message"] for event in json.loads(secateur("events", job_id, "--json").stdout)]
    assert told == ["queued", "running", "succeeded"]
    assert "succeeded" in secateur("events", job_id).stdout


def test_each_figure_of_a_result_is_named_once(secateur, job_id, hand):
    figures = {"weights": 2000, "zeros": 1001, "target": 1000, "difference": 1}
    shares = {"reached": 0.8, "reached_blocks": 0.9, "model_sparsity": 0.4}
    hand.succeed(hand.claim(job_id), **figures, **shares)
    shown = secateur("show", job_id).stdout.splitlines()
    names = [line.split()[0] for line in shown]
    assert names[-4:] == ["target", "result", "zeros", "time"]
    assert "1,001 of 2,000 weights; 1,000 were asked for" in shown[-2]
    assert "in 80.0% of the model, 0.4000 of the whole" in shown[-3]


def test_a_job_is_cancelled_and_tried_again(secateur, job_id, hand):
    assert secateur("cancel", job_id).stdout == f"{job_id} cancelled\n"
    again = json.loads(secateur("retry", job_id, "--json").stdout)
    assert again["source_id"] == job_id
    hand.succeed(hand.claim(again["id"]))
    refused = secateur("cancel", again["id"])
    assert refused.exit_code == 3
    assert "job_already_finished" in refused.stderr


def test_a_report_is_saved_as_a_page(secateur, job_id, hand, tmp_path):
    hand.succeed(hand.claim(job_id))
    page = tmp_path / "report.html"
    saved = secateur("report", job_id, "--file", page)
    assert saved.exit_code == 0, saved.output
    assert saved.stdout == f"{page}\n"
    assert job_id in page.read_text()
    told = json.loads(secateur("report", job_id, "--file", page, "--json").stdout)
    assert told == {"job": job_id, "file": str(page)}
    refused = secateur("report", "job_x", "--file", tmp_path / "none.html")
    assert (refused.exit_code, (tmp_path / "none.html").exists()) == (3, False)
    assert "report_not_written" in secateur("report", job_id, "--file", tmp_path).stderr


def test_methods_are_listed(secateur):
    assert "sparsegpt" in secateur("methods").stdout
    told = json.loads(secateur("methods", "--json").stdout)
    assert {"wanda", "ecoflap"} <= {method["name"] for method in told}


def test_the_shell_completes_ids_and_names(secateur, job_id):
    assert secateur("jobs").exit_code == 0  # the surroundings are set
    assert complete_job(job_id[:-2]) == [job_id]
    assert complete_method("ecof") == ["ecoflap"]


def test_no_service_no_completion(monkeypatch):
    monkeypatch.setenv("SECATEUR_URL", "http://127.0.0.1:1")
    assert complete_job("") == []


def test_a_job_is_shown_with_its_quality_and_warnings(secateur, job_id, hand, monkeypatch):
    measured = {
        "samples": 64,
        "before": {"value": 0.9, "low": 0.8, "high": 1.0},
        "after": {"value": 0.7, "low": 0.6, "high": 0.8},
        "change": {"value": -0.2, "low": -0.3, "high": -0.1},
    }
    gate = {"metric": "accuracy", "drop": 0.2, "max_drop": 0.1, "passed": False}
    result = {
        "sparsity": 0.5,
        "seconds": 1.0,
        "warnings": ["layer 3 lost all of its weights"],
        "evaluation": {
            "set": "scenes",
            "sha256": "0",
            "samples": 64,
            "metrics": {"accuracy": measured},
            "gate": gate,
        },
    }
    monkeypatch.setattr("tests.integration.app.cli.conftest.RESULT", result)
    hand.succeed(hand.claim(job_id))
    shown = secateur("show", job_id).stdout
    assert "0.9 -> 0.7, difference -0.2 [-0.3, -0.1] of 64 records" in shown
    assert "failed: accuracy 0.2 worse, 0.1 allowed" in shown
    assert "layer 3 lost all of its weights" in shown
