"""Sweeps, plans, data sets, models, webhooks and limits from the command line."""

import json

import pytest

from tests.unit.app.recipes.test_performance import PERFORMANCE


@pytest.fixture
def sweep_id(secateur):
    ran = secateur(
        *("sweep", "submit", "tiny", "--method", "magnitude", "--method", "wanda"),
        *("--sparsity", 0.5, "--sparsity", 0.6),
    )
    assert ran.exit_code == 0, ran.output
    return ran.stdout.strip()


def members(secateur, sweep_id):
    return json.loads(secateur("sweep", "leaderboard", sweep_id, "--json").stdout)["standings"]


def test_a_sweep_is_submitted_compared_and_cancelled(secateur, sweep_id, hand):
    assert sweep_id.startswith("swp_")
    row = next(
        line for line in secateur("sweep", "list").stdout.splitlines() if line.startswith(sweep_id)
    )
    assert "tiny" in row
    first = members(secateur, sweep_id)[0]["job_id"]
    hand.succeed(hand.claim(first))
    board = secateur("sweep", "leaderboard", sweep_id).stdout.splitlines()
    assert len(board) == 5
    assert "weights" not in board[0]
    assert any(line.startswith(first) and "succeeded" in line for line in board)
    aimless = secateur("sweep", "best", sweep_id)
    assert (aimless.exit_code, "objective" in aimless.stderr) == (1, True)
    assert secateur("sweep", "cancel", sweep_id).stdout.startswith(f"{sweep_id} cancel")
    watched = secateur("sweep", "watch", sweep_id)
    assert watched.exit_code == 1, "cancelled"
    assert first in watched.stdout


def test_what_was_measured_is_on_the_leaderboard(secateur, hand):
    ran = secateur(
        *("sweep", "submit", "tiny", "--method", "magnitude", "--sparsity", 0.5, "--measure"),
    )
    sweep = ran.stdout.strip()
    job = hand.claim(members(secateur, sweep)[0]["job_id"])
    assert job.spec.measure
    hand.succeed(job, performance=PERFORMANCE)
    (standing,) = members(secateur, sweep)
    assert (standing["time_ratio"], standing["weights_ratio"]) == (0.75, 0.75)
    board = secateur("sweep", "leaderboard", sweep).stdout
    assert board.count("0.750") == 2
    shown = secateur("show", job.id).stdout
    assert "1,000 -> 750" in shown
    assert "ratio 0.750 [0.500, 1.000] of 3 rounds" in shown


def test_the_best_of_a_sweep_is_named(secateur, hand):
    ran = secateur(
        *("sweep", "submit", "tiny", "--method", "magnitude", "--sparsity", 0.5, "--json"),
        *("--evaluate", "sentences", "--metric", "perplexity"),
    )
    sweep = json.loads(ran.stdout)
    assert sweep["request"]["objective"]["metric"] == "perplexity"
    assert secateur("sweep", "best", sweep["id"]).exit_code == 1
    assert secateur("sweep", "cancel", sweep["id"]).exit_code == 0


def test_any_field_of_a_sweep_can_be_given(secateur):
    ran = secateur(
        *("sweep", "submit", "tiny", "--method", "magnitude", "--json"),
        *("--set", 'sparsities=[{"text": 0.5}]', "--set", 'recipes=[{"include_bridge": true}]'),
    )
    assert ran.exit_code == 0, ran.output
    asked = json.loads(ran.stdout)["request"]
    assert asked["sparsities"] == [{"text": 0.5}]
    assert asked["recipes"][0]["include_bridge"] is True


def test_a_list_is_whole_however_many_pages_it_has(secateur, sweep_id, monkeypatch):
    monkeypatch.setattr("app.cli.client._PAGE", 1)
    again = secateur("sweep", "submit", "tiny", "--method", "magnitude", "--sparsity", 0.7)
    listed = [each["id"] for each in json.loads(secateur("sweep", "list", "--json").stdout)]
    assert listed[:2] == [again.stdout.strip(), sweep_id]


def test_a_wrong_sweep_is_refused_in_words(secateur):
    ran = secateur("sweep", "submit", "tiny", "--method", "wnada", "--sparsity", 0.5)
    assert (ran.exit_code, "unknown_method: " in ran.stderr) == (3, True)
    ran = secateur("sweep", "submit", "tiny", "--method", "wanda", "--sparsity", "nan")
    assert (ran.exit_code, "not finite" in ran.stderr) == (2, True)
    assert secateur("sweep", "watch", "swp_none").exit_code == 3


def test_a_plan_tells_and_queues_nothing(secateur):
    before = len(json.loads(secateur("jobs", "--limit", 200, "--json").stdout))
    shown = secateur("plan", "tiny", "--method", "magnitude", "--sparsity", 0.5)
    assert shown.exit_code == 0, shown.output
    assert "worker class" in shown.stdout
    assert "no speed-up" in shown.stdout
    refused = secateur("plan", "absent", "--method", "magnitude", "--sparsity", 0.5)
    assert (refused.exit_code, "model_not_found: " in refused.stderr) == (3, True)
    unfit = secateur(
        *("plan", "tiny", "--method", "wanda", "--sparsity", 0.5, "--calibration", "nothing")
    )
    assert (unfit.exit_code, "dataset_name_invalid: " in unfit.stderr) == (3, True)
    assert len(json.loads(secateur("jobs", "--limit", 200, "--json").stdout)) == before


def test_a_job_is_cloned_and_deleted(secateur, job_id):
    ran = secateur("clone", job_id, "--set", "sparsity=0.7", "--set", 'labels={"a": "b"}', "--json")
    made = json.loads(ran.stdout)
    assert (made["source_id"], made["labels"]) == (job_id, {"a": "b"})
    assert made["recipe"]["sparsity"] == 0.7
    assert secateur("delete", made["id"]).exit_code == 3, "it has not ended"
    secateur("cancel", made["id"])
    assert secateur("delete", made["id"]).stdout == f"{made['id']} deleted\n"
    assert secateur("show", made["id"]).exit_code == 3
    assert secateur("clone", job_id, "--set", "sparsity").exit_code == 2


def test_data_sets(secateur, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two"}\n')
    dataset = secateur("datasets", "upload", file).stdout.strip()
    assert dataset.startswith("sha256:")
    assert dataset in secateur("datasets", "list").stdout
    assert secateur("datasets", "remove", dataset).exit_code == 0
    assert dataset not in secateur("datasets", "list").stdout
    file.write_text("no json")
    refused = secateur("datasets", "upload", file)
    assert (refused.exit_code, refused.stdout) == (3, "")


def test_models(secateur, job_id, hand):
    hand.succeed(hand.claim(job_id), {"config.json": b"{}", "manifest.json": b"{}"}.items())
    published = secateur("models", "publish", "describer", job_id)
    assert published.stdout == "describer@v1\n"
    lines = secateur("models", "list").stdout.splitlines()
    assert any(line.split()[:3] == ["describer", "v1", job_id] for line in lines)
    assert ["tiny", "local"] in [line.split() for line in lines]
    listed = json.loads(secateur("models", "list", "--json").stdout)
    assert {"name": "tiny"} in listed["local"]
    assert "describer" in [each["name"] for each in listed["models"]]
    told = json.loads(secateur("models", "versions", "describer", "--json").stdout)
    assert [each["revision"] for each in told] == ["v1"]
    assert secateur("models", "withdraw", "describer", 1).exit_code == 0
    assert secateur("models", "versions", "describer").exit_code == 3


def test_webhooks(secateur, job_id):
    made = json.loads(
        secateur(
            *("webhooks", "create", "https://example.com/hook", "--json"),
            *("--event", "job.cancelled"),
        ).stdout
    )
    webhook = made["webhook"]["id"]
    assert made["secret"].startswith("whsec_")
    assert webhook in secateur("webhooks", "list").stdout
    secateur("cancel", job_id)
    sent = json.loads(secateur("webhooks", "deliveries", webhook, "--json").stdout)
    assert [each["event"] for each in sent] == ["job.cancelled"]
    assert "job.cancelled" in secateur("webhooks", "deliveries", webhook).stdout
    assert secateur("webhooks", "replay", webhook, sent[0]["id"]).exit_code == 0
    assert secateur("webhooks", "rotate", webhook).stdout.startswith("whsec_")
    assert secateur("webhooks", "remove", webhook).exit_code == 0
    assert secateur("webhooks", "deliveries", webhook).exit_code == 3


def test_limits_of_a_project(secateur):
    secateur("projects", "create", "limited")
    project = json.loads(secateur("projects", "list", "--json").stdout)[0]["id"]
    shown = secateur("projects", "limits", project, "--queued-jobs", 7)
    assert shown.exit_code == 0, shown.output
    told = json.loads(secateur("projects", "limits", project, "--json").stdout)
    assert (told["queued_jobs"], told["running_jobs"]) == (7, 100)
