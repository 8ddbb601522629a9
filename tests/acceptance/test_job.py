"""One job over HTTP, from the submit to the checkpoint in plain transformers."""

import hashlib
import json

import pytest
import torch
import transformers
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from redis import Redis

from app.domain.bill_of_materials import BILL_FILE

MAGNITUDE = {"model": "minilm", "method": "magnitude", "sparsity": 0.5}
WANDA = MAGNITUDE | {"method": "wanda", "calibration": {"samples": 16}}


@pytest.fixture(scope="module", params=[MAGNITUDE, WANDA], ids=["magnitude", "wanda"])
def done(request, service):
    job = service.finish(service.submit(**request.param))
    assert job["status"] == "succeeded", job
    return job


def test_the_result_tells_what_was_achieved(done):
    assert done["result"]["sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert done["progress"] == 1
    assert done["phase"] is None


def test_events_tell_phases_and_blocks(service, done):
    messages = service.messages(done["id"])
    phases = ["loading", "pruning", "exporting", "verifying", "publishing", "succeeded"]
    assert [message for message in messages if message in phases] == phases
    assert sum("encoder.layer" in message for message in messages) >= 6


def test_downloads_match_manifest_and_listing(service, done, tmp_path):
    directory = service.download(done["id"], tmp_path)
    manifest = json.loads((directory / "manifest.json").read_text())
    listed = {file["path"]: file for file in service.artifacts(done["id"])}
    assert set(listed) == {*manifest["files"], "manifest.json"}
    assert {"README.md", "pruning_report.json", "report.html", BILL_FILE} <= set(listed)
    for path, file in listed.items():
        content = (directory / path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["size"]
        if path in manifest["files"]:
            assert manifest["files"][path] == {"size": file["size"], "sha256": file["sha256"]}


def test_the_bill_of_materials_follows_the_schema_and_names_the_weights(service, done):
    answer = service.http.get(f"/v1/jobs/{done['id']}/artifacts/{BILL_FILE}")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(answer.text) is None
    model = answer.json()["metadata"]["component"]
    listed = {file["path"]: file["sha256"] for file in service.artifacts(done["id"])}
    (weights,) = model["components"]
    assert weights["name"] == "model.safetensors"
    assert weights["hashes"][0]["content"] == listed["model.safetensors"]
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "BertModel"
    told = {each["name"]: each["value"] for each in model["properties"]}
    assert float(told["secateur:sparsity"]) == pytest.approx(0.5, abs=1e-4)


def test_plain_transformers_loads_the_checkpoint(service, done, tmp_path, models):
    directory = service.download(done["id"], tmp_path)
    pruned, info = transformers.AutoModel.from_pretrained(directory, output_loading_info=True)
    assert not info["missing_keys"]
    dense = dict(transformers.AutoModel.from_pretrained(models / "minilm").named_parameters())
    pruned_names = set()
    for name, weight in pruned.named_parameters():
        if torch.equal(weight, dense[name]):
            continue
        pruned_names.add(name)
        assert (weight == 0).float().mean().item() == pytest.approx(0.5, abs=1e-3)
        kept = weight != 0
        assert torch.equal(weight[kept], dense[name][kept])
    assert len(pruned_names) == 36
    assert "sparsity_config" not in json.loads((directory / "config.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    assert pruned(**tokenizer("hello", return_tensors="pt")).last_hidden_state.isfinite().all()


def test_sizes_are_told(service, done):
    sizes = done["result"]["sizes"]
    listed = {file["path"]: file["size"] for file in service.artifacts(done["id"])}
    assert sizes["dense"] == listed["model.safetensors"]
    path = f"/v1/jobs/{done['id']}/packed/model.safetensors"
    with service.http.stream("GET", path, headers={"Accept-Encoding": "zstd"}) as answer:
        assert sizes["packed"] == sum(map(len, answer.iter_raw())) < sizes["dense"]
    assert 0 <= sizes["elements"] - sizes["nonzeros"] - done["result"]["zeros"] < 1000


def test_ranges_resume_a_download(service, done):
    path = f"/v1/jobs/{done['id']}/artifacts/model.safetensors"
    head = service.http.head(path)
    size, etag = int(head.headers["content-length"]), head.headers["etag"]
    first = service.http.get(path, headers={"Range": "bytes=0-999"})
    rest = service.http.get(path, headers={"Range": "bytes=1000-", "If-Range": etag})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert rest.headers["content-range"] == f"bytes 1000-{size - 1}/{size}"
    digest = hashlib.sha256(first.content + rest.content).hexdigest()
    assert etag == f'"{digest}"'
    changed = service.http.get(path, headers={"Range": "bytes=1000-", "If-Range": '"other"'})
    assert (changed.status_code, len(changed.content)) == (200, size)
    assert service.http.get(path, headers={"If-None-Match": etag}).status_code == 304
    beyond = service.http.get(path, headers={"Range": f"bytes={size}-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"architectures": ["NoSuchModel"]}, "unsupported_architecture"),
        ({"num_hidden_layers": 7}, "model_load_failed"),
    ],
)
def test_a_model_that_does_not_load_ends_as_a_user_error(service, models, change, code):
    broken = models / f"broken-{code}"
    broken.mkdir(exist_ok=True)
    for file in (models / "bert").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | change))
    job = service.finish(service.submit(**MAGNITUDE | {"model": broken.name}))
    assert job["status"] == "failed"
    assert (job["error"]["kind"], job["error"]["code"]) == ("user_error", code)
    assert job["error"]["message"]
    assert job["attempt"] == 1, "trying again would not help"
    assert service.artifacts(job["id"]) == []


def test_workers_listen_to_nothing_but_queues(service, done):
    with Redis.from_url(service.running.settings.queue.url) as broker:
        assert broker.pubsub_channels() == []
        assert broker.pubsub_numpat() == 0
        assert not [key for key in broker.keys("*") if b"celeryev" in key or b"pidbox" in key]
