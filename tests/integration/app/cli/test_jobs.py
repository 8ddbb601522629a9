"""submit, watch and keys: what they print and how they exit."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

import app.cli.commands.jobs.submit as commands
from app.domain.jobs import Phase
from app.local.valkey import free_port
from tests.integration.app.cli.conftest import RESULT
from tests.integration.app.headers import write_header


def test_submit_prints_the_id_alone(job_id):
    assert job_id.startswith("job_")
    assert len(job_id.split()) == 1


def test_submit_sends_what_was_given(secateur):
    ran = secateur(
        *("submit", "tiny", "--method", "sparsegpt", "--pattern", "2:4", "--json"),
        *("--param", "damping=0.02", "--param", "block_size=64", "--seed", 7),
        *("--target", "encoder.*", "--ignore", "*.pooler", "--ignore", "head"),
        *("--calibration", "sentences", "--samples", 16),
    )
    assert ran.exit_code == 0, ran.output
    job = json.loads(ran.stdout)
    recipe = job["recipe"]
    assert (recipe["importance"]["damping"], recipe["importance"]["block_size"]) == (0.02, 64)
    assert (recipe["pattern"]["n"], recipe["pattern"]["m"]) == (2, 4)
    assert (recipe["seed"], recipe["targets"]) == (7, ["encoder.*"])
    assert recipe["ignore"] == ["*.pooler", "head"]
    assert (job["calibration"]["set"], job["calibration"]["samples"]) == ("sentences", 16)


def test_any_field_of_a_request_can_be_given(secateur):
    ran = secateur(
        *("submit", "tiny", "--method", "wanda", "--samples", 16, "--json"),
        *("--set", "sparsity.text=0.5", "--set", "calibration.batch_size=4"),
        *("--set", 'labels={"team": "search"}', "--set", "labels.stage=trial"),
        *("--set", "evaluation.set=sentences", "--set", 'evaluation.metrics=["similarity"]'),
        *("--set", "quality_gate.metric=similarity", "--set", "quality_gate.max_drop=0.1"),
        *("--set", "include_bridge=true", "--set", "max_runtime_seconds=600"),
    )
    assert ran.exit_code == 0, ran.output
    job = json.loads(ran.stdout)
    assert job["recipe"]["sparsity"] == {"text": 0.5}
    assert job["recipe"]["include_bridge"] is True
    assert (job["calibration"]["samples"], job["calibration"]["batch_size"]) == (16, 4)
    assert job["labels"] == {"team": "search", "stage": "trial"}
    assert job["evaluation"]["metrics"] == ["similarity"]
    assert job["quality_gate"] == {
        "metric": "similarity",
        "max_drop": 0.1,
        "keep_artifacts": False,
    }
    assert job["max_runtime_seconds"] == 600


def test_a_pattern_of_nothing_is_accepted_where_that_is_said(secateur, house):
    model = house.settings.data_dir / "models" / "llama"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    write_header(model / "model.safetensors", {"model.layers.0.mlp.up_proj.weight": (8, 8)})
    asked = ("llama", "--method", "magnitude", "--sparsity", 0.5, "--ignore", "*.nothing")
    for command in ("plan", "submit"):
        refused = secateur(command, *asked)
        assert (refused.exit_code, "pattern_matches_nothing: " in refused.stderr) == (3, True)
        accepted = secateur(command, *asked, "--allow-unmatched")
        assert accepted.exit_code == 0, accepted.output


ACROSS = "{importance: {kind: magnitude}, allocation: {kind: ecoflap, budget: model}}"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (("tiny", "--method", "wanda", "--set", "sparsity"), 2, "is not name=value"),
        (("tiny", "--method", "wanda", "--set", "sparsities=[0.5]"), 3, "sparsities"),
        (("tiny", "--method", "wnada", "--sparsity", 0.5), 3, "unknown_method: "),
        (("tiny", "--method", "wanda", "--sparsity", 1.5), 3, "sparsity_out_of_range: "),
        (("../tiny", "--method", "wanda", "--sparsity", 0.5), 3, "model_path_not_allowed: "),
        (("tiny", "--method", "wanda", "--param", "damping"), 2, "is not name=value"),
        (("tiny",), 3, "method: is missing"),
        (("--method", "wanda"), 2, "MODEL"),
        (("tiny", "--set", "publish=[]", "--set", "publish.1.target=a"), 2, "no place in a list"),
        (("tiny", "--method", "wanda", "--sparsity", 0.5, "--key", "no"), 3, "api_key_invalid: "),
        (("tiny", "--sparsity", 0.5, "--set", "sparsity.text=0.6"), 2, "it is 0.5"),
        (("acme/model", "--method", "wanda", "--sparsity", 0.5), 3, "'hf:acme/model'"),
        (("/etc", "--method", "wanda", "--sparsity", 0.5), 3, "there are "),
        (("tiny", "--method", "wanda", "--set", "sparsty=0.5"), 3, "Did you mean sparsity?"),
        (("tiny", "--set", "calibration.sampels=5"), 3, "Did you mean samples?"),
        (("tiny", "--method", "wanda", "--pattern", "2-4"), 3, "unstructured, or N:M"),
        (("tiny", "--set", "recipe=" + ACROSS, "--set", "sparsity.text=0.5"), 3, '"modality"'),
    ],
)
def test_submit_says_what_is_wrong(secateur, arguments, exit_code, says):
    ran = secateur("submit", *arguments)
    assert (ran.exit_code, ran.stdout) == (exit_code, "")
    assert says in ran.stderr


def test_a_service_that_is_not_there_has_its_own_exit_code(secateur):
    place = f"127.0.0.1:{free_port()}"
    ran = secateur("jobs", "--url", f"http://somebody:secret@{place}")
    assert ran.exit_code == 4
    assert ran.stderr.startswith(f"service_unreachable: no answer from http://{place}")
    assert "secret" not in ran.output


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--url", "127.0.0.1:8321", "url_invalid: "),
        ("--key", "ключ", "api_key_invalid: "),
        ("--key", "sct_a\nb", "api_key_invalid: "),
    ],
)
def test_an_address_or_a_key_that_cannot_be_one_is_wrong_usage(secateur, option, value, says):
    ran = secateur("jobs", option, value)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(says)
    assert option == "--url" or value not in ran.stderr


def test_an_answer_that_is_no_problem_document_is_refused_too(secateur, house):
    ran = secateur("watch", "job_x", "--url", f"{house.url}/docs#")
    assert ran.exit_code == 3
    assert "not_found: " in ran.stderr


def test_watch_shows_the_phases_and_the_result(secateur, hand, job_id):
    def work():
        job = hand.claim(job_id)
        for phase, progress in ((Phase.LOADING, 0.05), (Phase.PRUNING, 0.5)):
            hand.heartbeat(job, phase, progress)
            time.sleep(0.5)
        hand.succeed(job)

    worker = threading.Thread(target=work)
    worker.start()
    ran = secateur("watch", job_id)
    worker.join()
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"{job_id} succeeded: sparsity 0.5000, 1.2 s\n"
    assert "pruning" in ran.stderr


def test_watch_tells_why_a_job_failed(secateur, hand, job_id):
    hand.fail(hand.claim(job_id))
    ran = secateur("watch", job_id)
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "model_load_failed: tensor is missing" in ran.stderr
    as_json = secateur("watch", job_id, "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"]["code"] == "model_load_failed"


def test_watch_of_an_unknown_job_is_refused(secateur):
    ran = secateur("watch", "job_unknown")
    assert ran.exit_code == 3
    assert ran.stderr.startswith("job_not_found: ")


def test_a_created_key_opens_the_service(secateur, job_id, hand):
    hand.succeed(hand.claim(job_id))
    created = secateur("keys", "create", "laptop")
    assert created.exit_code == 0, created.output
    assert secateur("watch", job_id, "--key", created.stdout.strip()).exit_code == 0


def test_keys_need_the_database(secateur, monkeypatch):
    monkeypatch.setenv("SECATEUR_DATABASE__URL", "postgresql+psycopg://127.0.0.1:9/none")
    ran = secateur("keys", "create", "laptop")
    assert ran.exit_code == 4
    assert ran.stderr.startswith("database_unavailable: ")


def test_a_watched_submit_prints_the_id_alone(secateur, monkeypatch):
    ended = {"status": "succeeded", "error": None, "result": RESULT | {"reached": None}}
    monkeypatch.setattr(commands, "watch_to_end", lambda _, job_id: {"id": job_id} | ended)
    ran = secateur("submit", "tiny", "--method", "magnitude", "--sparsity", 0.5, "--watch")
    assert ran.exit_code == 0, ran.output
    [job_id] = ran.stdout.splitlines()
    assert f"{job_id} succeeded: sparsity 0.5" in ran.stderr


def test_a_watched_submit_says_the_id_first_and_survives_ctrl_c(secateur, house):
    secateur("jobs")  # the surroundings are set
    asked = ("submit", "tiny", "--method", "magnitude", "--sparsity", "0.5", "--watch")
    program = [sys.executable, "-c", "from app.cli.main import app; app()", *asked]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        job_id = running.stdout.readline().strip()
        assert job_id.startswith("job_")
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert f"{job_id} runs on" in said
    assert f"secateur cancel {job_id}" in said
    assert "Traceback" not in said
    assert json.loads(secateur("show", job_id, "--json").stdout)["status"] == "queued"
