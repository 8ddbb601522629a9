"""Requests from files and standard input, overridden by options."""

import json

import pytest
from typer.testing import CliRunner

from app.cli.main import app

# Every kind of field there is: of the model, the recipe, the data, the judgement, the job itself.
WHOLE = """\
# what the captioner is pruned with
model: tiny
recipe:
  structure: [{kind: width, mlp_removed: 0.25}]
  allocation: {kind: uniform}
  importance: {kind: sparsegpt, damping: 2e-2}
  pattern: {kind: unstructured}
sparsity: {vision: 0.3, text: 0.6}
targets: ["encoder.*"]
ignore: ["*.pooler"]
allow_unmatched: true
calibration: {set: sentences, samples: 16, batch_size: 4}
evaluation:
  set: sentences
  metrics:
    - similarity
quality_gate: {metric: similarity, max_drop: 0.1}
measure: true
device: cpu
labels: {team: search}
metadata: {due: 2026-12-01}
priority: 3
max_runtime_seconds: 600
publish_as: captioner
"""


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "job.yaml"
    made.write_text(WHOLE)
    return made


def test_a_file_is_the_whole_request(secateur, file):
    ran = secateur("submit", "-f", file, "--json")
    assert ran.exit_code == 0, ran.output
    job = json.loads(ran.stdout)
    assert job["recipe"]["importance"]["damping"] == 0.02
    assert job["recipe"]["sparsity"] == {"vision": 0.3, "text": 0.6}
    assert (job["calibration"]["samples"], job["calibration"]["batch_size"]) == (16, 4)
    assert job["quality_gate"]["max_drop"] == 0.1
    assert (job["measure"], job["device"], job["priority"]) == (True, "cpu", 3)
    assert (job["labels"], job["metadata"]) == ({"team": "search"}, {"due": "2026-12-01"})
    planned = secateur("plan", "-f", file, "--json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["spec"]["recipe"] == job["recipe"]


def test_options_override_the_file_and_set_overrides_options(secateur, file):
    ran = secateur(
        *("submit", "tiny", "--file", file, "--samples", 8, "--seed", 7, "--json"),
        *("--sparsity", 0.7, "--set", "sparsity={text: 0.4}", "--set", "quality_gate=null"),
        *("--set", "recipe.importance.damping=0.5", "--set", "recipe.structure.0.mlp_removed=.5"),
        *("--set", "evaluation.metrics=[similarity, perplexity]", "--set", "labels.stage=trial"),
    )
    assert ran.exit_code == 0, ran.output
    job = json.loads(ran.stdout)
    assert (job["calibration"]["samples"], job["calibration"]["batch_size"]) == (8, 4)
    assert (job["recipe"]["seed"], job["recipe"]["sparsity"]) == (7, {"text": 0.4})
    assert job["recipe"]["importance"]["damping"] == 0.5
    assert job["recipe"]["structure"][0]["mlp_removed"] == 0.5
    assert job["evaluation"]["metrics"] == ["similarity", "perplexity"]
    assert job["quality_gate"] is None
    assert job["labels"] == {"team": "search", "stage": "trial"}


def test_tasks_of_harnesses_are_sent_from_files_and_options(secateur, file):
    """They arrive: the service says of each what it does not like."""
    tasks = "  tasks: [{harness: lm-eval, task: a, limit: 0}]\n"
    file.write_text(WHOLE.replace("  set: sentences\n", tasks))
    other = "evaluation.tasks.1={harness: lmms-eval, task: b, batch_size: 8}"
    ran = secateur("submit", "-f", file, "--set", other)
    assert "evaluation.tasks.0.limit: must be at least 1" in ran.stderr
    assert "evaluation.tasks.1: lmms-eval runs one request at a time" in ran.stderr


def test_standard_input_is_a_file_too(secateur):
    secateur("jobs")  # the surroundings are set
    text = json.dumps({"model": "tiny", "method": "magnitude", "sparsity": 0.5}, indent="\t")
    ran = CliRunner().invoke(app, ["submit", "-f", "-", "--json"], input=text)
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["method"] == "magnitude"
    wrong = CliRunner().invoke(app, ["submit", "-f", "-"], input="model: tiny\nmethod: [")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("file_invalid: standard input: line 2")


def test_what_is_wrong_is_told_with_its_path_in_the_file(secateur, file):
    file.write_text(WHOLE.replace("samples: 16", "samples: none").replace("set: sen", "sett: sen"))
    refused = secateur("submit", "-f", file)
    assert (refused.exit_code, refused.stdout) == (3, "")
    assert refused.stderr.startswith(f"request_invalid: {file}: ")
    assert "calibration.samples: " in refused.stderr
    assert "evaluation.sett: " in refused.stderr
    assert secateur("plan", "-f", file).stderr == refused.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: tiny\n  method: wanda", "file_invalid: {file}: line 2, column 9: "),
        ("- model: tiny", "file_invalid: {file}: a request has names with values"),
        ("", "file_invalid: {file}: a request has names with values"),
        ("model: tiny\nmodel: huge", "file_invalid: {file}: line 2, column 1: found duplicate key"),
        (None, "file_unreadable: {file}: No such file"),
    ],
)
def test_a_file_that_is_no_request_is_refused_before_anything_is_sent(
    secateur, tmp_path, text, says
):
    file = tmp_path / "job.yaml"
    if text is not None:
        file.write_text(text)
    for command in (("submit",), ("plan",), ("sweep", "submit")):
        ran = secateur(*command, "-f", file, "--url", "http://127.0.0.1:9")
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert ran.stderr.startswith(says.format(file=file))


def test_a_sweep_from_a_file(secateur, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("model: tiny\nmethods: [{method: magnitude}]\nlabels: {team: search}\n")
    ran = secateur(
        "sweep", "-f", file, "--param", "sparsity=0.5,0.6,0.7", "--param", "seed=1,2", "--json"
    )
    assert ran.exit_code == 0, ran.output
    sweep = json.loads(ran.stdout)
    assert sweep["jobs"] == {"queued": 6}
    assert sweep["labels"] == {"team": "search"}
    file.write_text(
        "model: tiny\nmethods: [{method: magnitude}, {methd: wanda}]\nsparsities: [.5]\n"
    )
    refused = secateur("sweep", "-f", file)
    assert refused.exit_code == 3
    assert f"{file}: " in refused.stderr
    assert "methods.1.methd: " in refused.stderr
