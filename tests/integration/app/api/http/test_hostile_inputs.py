"""No input is an unexpected error: every parameter and every leaf of every body, one at a time."""

import copy
import io
import json
import random
from urllib.parse import quote

import pytest

from app.storage.local import LocalStore

LONG = "n" * 300
TEXTS = [
    *("", ".", "../..", "/", "\\", "%", "\x00", "\n", "\ud800", "é" * 200, "²", "\uff11", LONG),
    *(f"a/{LONG}/b", "a/" * 3000, "-1", "1e400", "nan", "9" * 30, "1" * 5000, "true"),
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *("9999-12-31T23:59:59.999999Z", "10000-01-01T00:00:00Z", "1e18", "253402300799"),
    *("job_" + "0" * 32, "hf:", "hf:a/b@", "hf:" + LONG, "hf:jobs/..", "sha256:" + "0" * 64),
]
VALUES = [
    *(None, True, 0, -1, 10**30, -(10**30), 1e308, float("nan"), float("inf"), 0.1, [], {}),
    *(["x"] * 3, {"a": {"b": []}}, [[[[[[]]]]]], {"": ""}, *TEXTS),
]


def drawn(values, place, number):
    """So many of the values, the same at every run, others at every place."""
    return random.Random(place).sample(values, number)


def operations(client):
    found = [
        (method, path, operation)
        for path, item in client.get("/openapi.json").json()["paths"].items()
        for method, operation in item.items()
    ]
    return sorted(found, key=lambda each: each[0] == "delete")


def example(operation):
    contents = operation.get("requestBody", {}).get("content", {})
    return next((content.get("example") for content in contents.values()), None)


def leaves(value, path=()):
    """Every place in a JSON document, containers included."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))


def replaced(value, path, new):
    if not path:
        return new
    out = copy.deepcopy(value)
    at = out
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = new
    return out


@pytest.fixture
def ids(client, worker, settings):
    """Things that exist, by the name of the parameter that names them."""
    job = client.post("/v1/jobs", json={"model": "tiny", "method": "magnitude", "sparsity": 0.5})
    claimed, store = worker.claim(), LocalStore(settings.storage.dir)
    (store.stage(claimed.id, claimed.attempt) / "report.html").write_text("x")
    files = store.describe(claimed.id, claimed.attempt)
    store.publish(claimed.id, claimed.attempt)
    worker.succeed(claimed, files)
    dataset = client.post("/v1/datasets", content=b'{"text": "a"}\n')
    project = client.post("/v1/projects", json={"name": "other"}).json()["project"]
    return {
        "job_id": job.json()["id"],
        "dataset_id": dataset.json()["id"],
        "project_id": project["id"],
        "path": "report.html",
        "namespace": "jobs",
        "name": job.json()["id"],
        "revision": "main",
    }


@pytest.fixture
def send(client, limits):
    limits(requests_per_minute=10**9, queued_jobs=10**6)
    failed = []

    def sent(method, path, **options):
        with client.stream(method, path, **options) as answer:
            if answer.status_code >= 500:
                failed.append((answer.status_code, method, path[:300], str(options)[:300]))

    yield sent
    assert not failed, failed


def filled(path, ids, name=None, value=None):
    """The path with what exists in each place, or a value in one of them."""
    parts = path.split("{")
    out = parts[0]
    for part in parts[1:]:
        key, _, rest = part.partition("}")
        text = value if key == name else ids.get(key, "none")
        out += quote(text, safe="", errors="surrogatepass") + rest
    return out


def test_no_parameter_is_an_unexpected_error(send, client, ids):
    for method, path, operation in operations(client):
        for parameter in operation.get("parameters", ()):
            place, name = parameter["in"], parameter["name"]
            for text in drawn(TEXTS, f"{method} {path} {name}", 10):
                if place == "path":
                    target, head = filled(path, ids, name, text), {}
                elif place == "query":
                    query = quote(text, safe="", errors="surrogatepass")
                    target, head = f"{filled(path, ids)}?{name}={query}", {}
                elif text.isprintable() and text.isascii():
                    target, head = filled(path, ids), {name: text}
                else:
                    continue
                if "events" in target and "event-stream" in str(head):
                    continue
                send(method, target, json=example(operation), headers=head)


def test_no_body_is_an_unexpected_error(send, client, ids):
    for method, path, operation in operations(client):
        body = example(operation)
        for place in leaves(body) if body is not None else ():
            for value in drawn(VALUES, f"{method} {path} {place}", 6):
                text = json.dumps(replaced(body, place, value))
                head = {"Content-Type": "application/json"}
                send(method, filled(path, ids), content=text, headers=head)


@pytest.mark.parametrize("model", [LONG, f"a/{LONG}", "a/" * 1000, "é" * 200])
def test_no_name_of_a_model_is_too_long(client, model):
    answer = client.post("/v1/plans", json={"model": model, "method": "magnitude", "sparsity": 0.5})
    assert answer.status_code == 422


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("name", ["created_after", "created_before"])
def test_any_time_may_bound_a_list(client, ids, moment, name):
    found = client.get("/v1/jobs", params={name: moment}).json()["jobs"]
    assert len(found) == ((name == "created_after") == moment.startswith("0001"))


def test_a_full_disk_is_no_unexpected_error(client, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda *_, **__: io.FileIO("/dev/full", "w"))
    answer = client.post("/v1/datasets", content=b'{"text": "a"}\n' * 10_000)
    monkeypatch.undo()
    assert answer.status_code == 503
    assert answer.json()["code"] == "storage_failed"
    assert client.post("/v1/datasets", content=b'{"text": "a"}\n').status_code == 201
