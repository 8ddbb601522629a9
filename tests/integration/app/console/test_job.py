"""The page of a job: while it runs, what came of it, what to do where it failed, its files."""

import html
import json

import pytest

from app.domain.jobs import EventLevel, EventType, FailureKind, JobError, NewEvent
from app.domain.projects import Scope
from app.recipes.pruning_report import REPORT_FILE
from app.recipes.quantization import QuantizationReport
from app.recipes.runtime_support import runtime_support
from app.recipes.search import SearchReport, Tried
from app.recipes.structure_report import StructureReport, TowerStructure
from app.storage.local import LocalStore
from tests.integration.app.console.test_jobs import EVIL, JOB, JOBS, RESULT
from tests.unit.app.domain.test_job_result import ROUTING
from tests.unit.app.recipes.test_performance import PERFORMANCE
from tests.unit.app.reports.made import reported, written

QUANTIZED = QuantizationReport(
    kind="int8", matrices=2, weights=100, bytes_before=200, bytes=110, rounded={"a": 1}
).model_dump(mode="json")


@pytest.fixture
def running(person, client, worker):
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    return worker.claim()


def block(number, **data):
    told = {"block": f"layer.{number}", "done": number + 1, "total": 4, "phase": "pruning"}
    return NewEvent(EventType.BLOCK, f"pruning layer.{number}", data=told | data)


def test_while_it_runs_the_page_fills(person, running, worker):
    page = person.get(f"{JOBS}/{running.id}").text
    assert page.count('hx-trigger="every 2s"') == 1
    log = [NewEvent(EventType.PHASE, "loading"), NewEvent(EventType.PHASE, "pruning")]
    log += [block(0, modality="vision"), block(1, modality="language")]
    log += [NewEvent(EventType.WARNING, EVIL, EventLevel.WARNING)]
    worker.heartbeat(running, "pruning", 0.5, log=log)
    page = person.get(f"{JOBS}/{running.id}").text
    assert '<li class="done">loading' in page
    assert '<li class="now">pruning' in page
    assert [page.count(f'class="fill-{row}"') for row in ("vision", "language", "none")] == [
        1,
        1,
        2,
    ]
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") == 1
    assert "/cancel" in page


@pytest.fixture
def finished(running, worker, settings):
    store = LocalStore(settings.storage.dir)
    staged = store.stage(running.id, running.attempt)
    written(staged)
    (staged / REPORT_FILE).write_text(reported().model_dump_json())
    (staged / "config.json").write_text('{"architectures": ["BertModel"]}')
    files = store.describe(running.id, running.attempt)
    store.publish(running.id, running.attempt)
    worker.succeed(running, files, RESULT)
    return running


def test_what_came_of_it(person, finished):
    page = person.get(f"{JOBS}/{finished.id}").text
    assert "hx-trigger" not in page
    assert "0.66 to 0.76" in page  # the interval of the pruned model
    assert "higher is better" in page
    said = page.partition("Answers, dense beside pruned")[2]
    assert "<td>red</td><td>red</td><td>&lt;b&gt;blue&lt;/b&gt;</td>" in said
    assert "the first 1 of 64 records" in said
    assert page.count("<circle") == 2  # two figures
    assert "vision.0: 50 % zero" in page
    assert "from transformers import BertModel" in page
    assert f"hf download jobs/{finished.id}" in page
    assert "HF_ENDPOINT=http://testserver" in page
    assert "<script>alert" not in page
    https = person.get(f"{JOBS}/{finished.id}", **{"x-forwarded-proto": "https"}).text
    assert "HF_ENDPOINT=https://testserver" in https


@pytest.mark.parametrize(
    ("architecture", "result", "told", "untold"),
    [
        ("BertModel", {}, ["import BertModel", "hf download"], ["vllm serve", "compressed"]),
        ("LlamaForCausalLM", {}, ["vllm serve", "was not checked"], []),
        ("LlavaForConditionalGeneration", {"quantization": QUANTIZED}, ["pip install c"], []),
        (
            None,
            ROUTING.to_json(),
            ["python router/example.py", "jobs.get(", "do not run a router"],
            ["from_pretrained", "vllm serve"],
        ),
        (None, {}, ["AutoModel.from_pretrained"], ["vllm serve"]),
    ],
)
def test_the_lines_that_use_it_fit_what_it_is(
    person, running, worker, settings, architecture, result, told, untold
):
    store = LocalStore(settings.storage.dir)
    staged = store.stage(running.id, running.attempt)
    config = {"architectures": [architecture]} if architecture else {}
    (staged / "config.json").write_text(json.dumps(config))
    files = store.describe(running.id, running.attempt)
    store.publish(running.id, running.attempt)
    worker.succeed(running, files, result)
    page = html.unescape(person.get(f"{JOBS}/{running.id}").text)
    assert [text for text in told if text not in page] == []
    assert [text for text in untold if text in page] == []


def test_a_page_that_was_open_is_loaded_anew_at_the_end(person, finished, client):
    live = {"hx-request": "true"}
    assert person.get(f"{JOBS}/{finished.id}", **live).headers["hx-refresh"] == "true"
    waiting = client.post("/v1/jobs", json=JOB).json()["id"]
    assert "hx-refresh" not in person.get(f"{JOBS}/{waiting}", **live).headers


SEARCH = SearchReport(
    metric="accuracy",
    max_drop=0.05,
    tried=(
        Tried(sparsity=0.5, value=0.8, drop=0.01, at_worst=0.03, qualifies=True),
        Tried(sparsity=0.6, value=0.7, drop=0.1, at_worst=0.2, qualifies=False),
    ),
    found=0.5,
)
STRUCTURE = StructureReport(
    towers=(
        TowerStructure(
            name="language",
            modality="language",
            blocks=8,
            blocks_kept=6,
            parameters=800,
            parameters_kept=600,
            bytes=1600,
            bytes_kept=1200,
            flops=1600,
            flops_kept=1200,
        ),
    ),
    parameters=1000,
    parameters_kept=800,
    bytes=2000,
    bytes_kept=1600,
)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (ROUTING.to_json(), ["6 of 8 layers", "beats every baseline"]),
        ({"search": SEARCH.model_dump(mode="json")}, ["sparsity 50 %;", "60 %", "yes, taken"]),
        (
            {"structure": STRUCTURE.model_dump(mode="json")},
            ["800 of 1", "of 8</small>", "75 %"],
        ),
        (
            {
                "runtime_support": [
                    each.model_dump() for each in runtime_support("encoder", "bert", ())
                ]
            },
            ["Where it runs", "5.23.0</td><td>yes</td><td>no</td><td>no</td>", "vLLM"],
        ),
        (
            {"performance": PERFORMANCE.model_dump(mode="json")},
            ["Beside the dense model", "250 ms", "0.75", "<small>0.5 to 1</small>", "75 %"],
        ),
        (
            {"performance": {"code": "measuring_timed_out", "reason": "late"}},
            ["<code>measuring_timed_out</code>"],
        ),
        (
            {"routing": {"old": 1}, "search": {"old": EVIL}, "structure": {}, "performance": {}},
            ["succeeded"],
        ),
    ],
    ids=["router", "search", "smaller", "runtimes", "measured", "unmeasured", "another version"],
)
def test_jobs_that_do_more_than_zero_weights(person, running, worker, result, told):
    worker.succeed(running, result=result)
    page = person.get(f"{JOBS}/{running.id}").text
    assert [text for text in told if text not in page] == []


def test_its_files_are_downloaded_and_no_others(person, finished):
    answer = person.get(f"{JOBS}/{finished.id}/files/{REPORT_FILE}")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["recipe"]
    person.get(f"{JOBS}/{finished.id}/files/none.json", 404)
    person.get(f"{JOBS}/{finished.id}/files/..%2Fx", 400)
    archive = person.get(f"{JOBS}/{finished.id}/archive")
    assert archive.headers["content-type"] == "application/x-tar"
    report = person.get(f"{JOBS}/{finished.id}/report")
    assert report.headers["content-security-policy"].startswith("default-src 'none'; style-src")


@pytest.mark.parametrize("content", ["{", '{"recipe": 1}'])
def test_a_report_of_another_version_costs_its_part_of_the_page_alone(
    person, finished, settings, content
):
    [path] = settings.storage.dir.rglob(REPORT_FILE)
    path.chmod(0o600)
    path.write_text(content)
    page = person.get(f"{JOBS}/{finished.id}").text
    assert "0.66 to 0.76" in page
    assert "Every block" not in page


def test_a_failed_job_says_what_to_do(person, running, worker):
    worker.fail(running, JobError(FailureKind.SYSTEM, "out_of_memory", f"no room {EVIL}"))
    page = person.get(f"{JOBS}/{running.id}").text
    assert "<code>secateur plan</code> tells what a job takes" in page
    assert f"<code>secateur retry {running.id}</code>" in page
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page


def test_another_project_finds_nothing(stranger, key_of, client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    other = stranger.sign_in(key_of(Scope.ADMIN, "other"))
    for path in ("", "/report", "/archive", "/files/x"):
        assert "job_not_found" in other.get(f"{JOBS}/{job_id}{path}", 404).text
