"""What one real job leaves in logs, metrics and traces."""

import json

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"X-Request-Id": "walk-1", "traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture(scope="module")
def done(service):
    job = {"model": "minilm", "method": "magnitude", "sparsity": 0.5}
    answer = service.http.post("/v1/jobs", json=job, headers=CALLER)
    assert answer.headers["X-Request-Id"] == "walk-1"
    return service.finish(answer.json()["id"])


def lines(service, name):
    text = (service.running.settings.data_dir / "logs" / f"{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def samples(service, *, offset=0):
    port = service.running.settings.telemetry.metrics_port + offset
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_log_lines_of_api_and_worker_carry_the_ids(service, done):
    asked = [line for line in lines(service, "api") if line.get("request_id") == "walk-1"]
    assert [line["event"] for line in asked] == ["POST /v1/jobs 202"]
    worked = [line for line in lines(service, "worker") if line.get("job_id") == done["id"]]
    assert worked
    for line in worked:
        assert line["request_id"] == "walk-1"
        assert line["attempt"] == 1
        assert line["task_id"]
        assert line["service"] == "secateur-worker"


def test_the_worker_counts_across_its_children(service, done):
    before = samples(service)
    # Whether an embedding is there is seen when the model is loaded.
    nothing = {"ignore": ["nowhere.embed*"]}
    failing = service.submit(model="minilm", method="magnitude", sparsity=0.5, **nothing)
    assert service.finish(failing)["status"] == "failed"
    again = service.submit(model="minilm", method="magnitude", sparsity=0.5)
    assert service.finish(again)["status"] == "succeeded"
    service.wait(again, lambda _: samples(service)[CLAIMED] == before[CLAIMED] + 2)
    after = samples(service)
    assert after[SUCCEEDED] == before[SUCCEEDED] + 1
    failed = ("secateur_attempts_total", "pattern_matches_nothing", "magnitude", "failed")
    assert after[failed] == before.get(failed, 0) + 1
    pruned = ("secateur_phase_seconds_count", "magnitude", "pruning")
    assert after[pruned] == before[pruned] + 2
    assert after["secateur_block_seconds_count", "magnitude"] >= 12


CLAIMED = ("secateur_claims_total", "claimed")
SUCCEEDED = ("secateur_attempts_total", "", "magnitude", "succeeded")


def test_maintenance_counts_messages(service, done):
    assert samples(service, offset=1)["secateur_messages_total", "sent"] >= 1


def test_one_trace_joins_request_queue_and_worker(service, done, collector):
    wanted = {"POST /v1/jobs", "send message", "receive message", "attempt", "pruning"}

    def of_trace():
        return [span for _, span in collector.spans if span.trace_id.hex() == TRACE]

    def found():
        return {span.name: span for span in reversed(of_trace())}

    service.wait(done["id"], lambda _: wanted <= set(found()), seconds=30)
    spans = found()
    request, sent, received, attempt = (
        spans[name] for name in ("POST /v1/jobs", "send message", "receive message", "attempt")
    )
    assert request.parent_span_id.hex() == SPAN
    assert sent.parent_span_id == request.span_id
    sent_ones = [span for span in of_trace() if span.name == "send message"]
    # A message may be sent twice: the broker is thought to have lost it while a worker starts.
    assert received.parent_span_id in {span.span_id for span in sent_ones}
    assert attempt.parent_span_id == request.span_id
    received_ones = [span for span in of_trace() if span.name == "receive message"]
    assert attempt.links[0].span_id in {span.span_id for span in received_ones}
    assert spans["pruning"].parent_span_id == attempt.span_id
    assert any("encoder.layer" in event.name for event in spans["pruning"].events)
    services = {name for name, span in collector.spans if span.trace_id.hex() == TRACE}
    assert services == {"secateur-api", "secateur-maintenance", "secateur-worker"}
