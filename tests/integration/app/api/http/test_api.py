"""The HTTP surface, errors first."""

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


BAD_JOBS = [
    ({"method": "wanda2"}, "unknown_method"),
    ({"parameters": {"scope": "x"}}, "method_parameter_invalid"),
    ({"sparsity": 1.0}, "sparsity_out_of_range"),
    ({"sparsity": -0.5}, "sparsity_out_of_range"),
    ({"sparsity": None}, "sparsity_missing"),
    ({"pattern": "2:4", "sparsity": 0.7}, "sparsity_contradicts_pattern"),
    ({"pattern": "9:4"}, "pattern_invalid"),
    ({"spasity": 0.5}, "unknown_field"),
    ({"calibration": {"sett": "x"}}, "unknown_field"),
    ({"model": "../tiny"}, "model_path_not_allowed"),
    ({"model": "/etc"}, "model_path_not_allowed"),
    ({"model": "absent"}, "model_not_found"),
    ({"model": "hf:a/b/c"}, "model_source_invalid"),
    ({"model": None}, "field_invalid"),
    ({"calibration": {"set": "../x"}}, "dataset_name_invalid"),
    ({"evaluation": {"set": "hf:a/b"}}, "dataset_name_invalid"),
    ({"evaluation": {"set": "shapes", "metrics": ["bleu"]}}, "field_invalid"),
    ({"quality_gate": {"metric": "kl", "max_drop": 1}}, "quality_gate_without_evaluation"),
    (
        {
            "evaluation": {"set": "shapes", "metrics": ["accuracy"]},
            "quality_gate": {"metric": "kl", "max_drop": 1},
        },
        "quality_gate_not_measured",
    ),
]


@pytest.mark.parametrize(("change", "code"), BAD_JOBS)
def test_bad_jobs_are_refused_each_with_its_code(client, change, code):
    assert_problem(client.post("/v1/jobs", json=JOB | change), 422, code)
    assert client.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    ("file", "code"),
    [("model.safetensors", "model_files_missing"), ("config.json", "model_files_missing")],
)
def test_incomplete_model_directories_are_refused(client, model_root, file, code):
    (model_root / "tiny" / file).unlink()
    assert_problem(client.post("/v1/jobs", json=JOB), 422, code)


def test_pickled_weights_are_refused(client, model_root):
    model = model_root / "tiny"
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert_problem(client.post("/v1/jobs", json=JOB), 422, "model_weights_unsafe")


def test_issues_point_into_the_body(client):
    wrong = {"sparsity": {"vision": 2}, "quality_gate": {"max_drop": 0.1}, "a/b": 1}
    answer = client.post("/v1/jobs", json={"method": "wanda", **wrong})
    body = assert_problem(answer, 422, "request_invalid")
    assert {(issue["pointer"], issue["code"]) for issue in body["errors"]} == {
        ("/model", "field_missing"),
        ("/quality_gate/metric", "field_missing"),
        ("/sparsity/vision", "sparsity_out_of_range"),
        ("/a~1b", "unknown_field"),
    }


@pytest.mark.parametrize(
    ("content", "status", "code", "detail"),
    [
        (b"{", 400, "json_invalid", "is not valid JSON"),
        (b"[1]", 422, "body_not_an_object", "must be an object"),
        (b"", 422, "field_missing", "is missing"),
    ],
)
def test_bodies_that_are_no_job(client, content, status, code, detail):
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/jobs", content=content, headers=headers)
    told = assert_problem(answer, status, code)["detail"]
    assert told == f"the request: {detail}"


def _chunks():
    for _ in range(10):
        yield b"x" * 1000


@pytest.mark.parametrize("content", [b"x" * 5000, _chunks()], ids=["announced", "streamed"])
def test_oversized_bodies_are_refused(client, content):
    assert_problem(client.post("/v1/jobs", content=content), 413, "body_too_large")


def test_a_key_is_needed(anonymous):
    answer = anonymous.get("/v1/methods")
    assert_problem(answer, 401, "api_key_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_wrong_key_is_refused(anonymous):
    headers = {"Authorization": "Bearer sct_wrong"}
    assert_problem(anonymous.get("/v1/jobs", headers=headers), 401, "api_key_invalid")


@pytest.mark.parametrize("path", ["", "/events", "/artifacts", "/artifacts/model.safetensors"])
def test_unknown_jobs_are_not_found(client, path):
    assert_problem(client.get(f"/v1/jobs/job_absent{path}"), 404, "job_not_found")


def test_cancelling_an_unknown_job(client):
    assert_problem(client.post("/v1/jobs/job_absent/cancel"), 404, "job_not_found")


@pytest.mark.parametrize("path", ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "a%5Cb", "a%00b"])
def test_artifact_paths_stay_inside(client, path):
    job = client.post("/v1/jobs", json=JOB).json()
    answer = client.get(f"/v1/jobs/{job['id']}/artifacts/{path}")
    assert_problem(answer, 400, "artifact_path_invalid")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("PUT", "/v1/jobs", 405, "method_not_allowed")],
)
def test_unknown_routes_are_problems_too(client, method, path, status, code):
    assert_problem(client.request(method, path), status, code)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "status=lost"])
def test_bad_queries_are_refused(client, query):
    body = client.get(f"/v1/jobs?{query}").json()
    assert body["status"] == 422
    assert body["errors"][0]["parameter"] == query.split("=", maxsplit=1)[0]


def test_submit_answers_with_the_job_and_its_place(client):
    answer = client.post("/v1/jobs", json=JOB)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["attempt"], job["method"]) == ("queued", 0, "magnitude")
    assert client.get(answer.headers["location"]).json() == job
    events = client.get(f"/v1/jobs/{job['id']}/events").json()["events"]
    assert [event["message"] for event in events] == ["queued"]


def test_jobs_are_listed_newest_first_in_pages(client):
    submitted = [client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == submitted[::-1]
    assert client.get("/v1/jobs?status=running").json()["jobs"] == []


def test_a_queued_job_is_cancelled_at_once_and_again_without_effect(client):
    job = client.post("/v1/jobs", json=JOB).json()
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    events = client.get(f"/v1/jobs/{job['id']}/events").json()["events"]
    assert [event["message"] for event in events] == ["queued", "cancelled"]


def test_methods_are_described_with_their_schema(client):
    methods = {method["name"]: method for method in client.get("/v1/methods").json()["methods"]}
    assert {"magnitude", "wanda"} <= set(methods)
    assert "scope" in methods["magnitude"]["parameters"]["properties"]


def test_health_needs_no_key(anonymous):
    assert anonymous.get("/livez").json()["status"] == "ok"
    answer = anonymous.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_readiness_names_what_is_missing(settings):
    gone = settings.model_copy(
        update={"queue": settings.queue.model_copy(update={"url": "redis://127.0.0.1:1/0"})}
    )
    with TestClient(create_app(gone)) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    missing = {"database": "ok", "queue": "not reachable", "store": "ok"}
    assert answer.json()["checks"] == missing
