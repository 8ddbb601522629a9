"""Several workers measure one job's scores; the result is that of one, bit by bit."""

import threading
from datetime import timedelta

import pytest

from app.db import jobs, shards
from app.domain.job_result import JobResult
from app.domain.jobs import NewJob
from app.domain.submission import JobRequest, resolve
from app.maintenance import tick
from app.services.jobs import attempts
from tests.families import BY_NAME
from tests.integration.workers.runtime.unwatched import Unwatched
from workers.pipeline.context import CheckpointPlace, ModelAccess, RunContext
from workers.pipeline.run import run
from workers.pipeline.sharing import Quiet, ShardMeasurer, measure_shard, open_work
from workers.runtime.measurement import Helper, JobShards, MeasurementExchange

REQUEST = JobRequest(
    model="llama",
    method="ecoflap",
    sparsity=0.5,
    parameters={"estimator": "zeroth-order", "samples": 6, "draws": 2},
    calibration={"samples": 8, "batch_size": 2, "max_length": 24},
    device="cpu",
)
LEASE = timedelta(minutes=5)


@pytest.fixture
def root(tmp_path):
    BY_NAME["llama"].build(tmp_path / "models" / "llama")
    return tmp_path


@pytest.fixture
def claimed(engine):
    new = NewJob(request=REQUEST, spec=resolve(REQUEST), max_attempts=3)
    with engine.begin() as connection:
        jobs.queue(connection, new, key_id="", action=None)
        return attempts.claim(connection, worker="own", lease=LEASE)


@pytest.fixture
def context(root):
    def make(name, exchange=None):
        (root / name).mkdir()
        return RunContext(
            spec=resolve(REQUEST),
            staging=root / name,
            models=ModelAccess((root / "models",), "http://127.0.0.1:1", root),
            datasets=root,
            checkpoints=CheckpointPlace(root / f"{name}-kept", 1 << 20),
            activation_bytes=1 << 30,
            report=Quiet(),
            exchange=exchange,
        )

    return make


@pytest.fixture
def helper(engine, root):
    def make(name):
        models = ModelAccess((root / "models",), "http://127.0.0.1:1", root)
        told = {"datasets": root, "device": "cpu", "name": name, "watch": Unwatched()}
        return Helper(engine=engine, models=models, **told)

    return make


def report(root, name):
    return (root / name / "pruning_report.json").read_bytes()


def test_with_a_helper_without_and_alone_it_is_the_same(root, engine, queue, claimed, context):
    run.run(context("alone"))

    class Meanwhile(MeasurementExchange):
        """A helper does two parts whenever the job's worker takes one."""

        def take(self):
            for _ in range(2):
                shard = others.take()
                if shard is not None:
                    measure_shard(work, shard, others, lambda: None)
                    done.append(shard.number)
            return super().take()

    others, done = JobShards(engine, claimed.id, "helper"), []
    work = open_work(context("helping"))
    run.run(context("together", Meanwhile(engine, queue, claimed, "own")))
    assert done, "the helper had something to do"
    assert queue.depth("cpu") > 0, "help was called for"
    assert report(root, "together") == report(root, "alone")


def test_nobody_waits_for_a_helper_that_is_lost(root, engine, queue, claimed, context):
    run.run(context("alone"))

    class Lost(MeasurementExchange):
        """A helper takes the first half of the parts and is never seen again."""

        def post(self, spec, parts):
            super().post(spec, parts)
            for _ in range(len(parts) // 2):
                assert JobShards(engine, claimed.id, "lost").take()

    run.run(context("deserted", Lost(engine, queue, claimed, "own")))
    assert report(root, "deserted") == report(root, "alone")


def test_a_helper_at_work_in_another_thread(root, engine, queue, claimed, context, helper):
    run.run(context("alone"))
    posted = threading.Event()

    class Posted(MeasurementExchange):
        def post(self, spec, parts):
            super().post(spec, parts)
            posted.set()

    def help_out():
        assert posted.wait(60)
        assert helper("helper").run(claimed.id)

    thread = threading.Thread(target=help_out)
    thread.start()
    run.run(context("shared", Posted(engine, queue, claimed, "own")))
    thread.join()
    assert report(root, "shared") == report(root, "alone")


def test_what_a_lost_attempt_has_measured_is_used_again(
    root, engine, queue, claimed, context, monkeypatch
):
    measured = []
    measure = ShardMeasurer.measure

    def counted(self, part, check):
        if len(measured) == 3:
            raise ConnectionError
        measured.append(part)
        return measure(self, part, check)

    monkeypatch.setattr(ShardMeasurer, "measure", counted)
    with pytest.raises(ConnectionError):
        run.run(context("first", MeasurementExchange(engine, queue, claimed, "own")))
    with engine.begin() as connection:
        attempts.hand_back(connection, claimed, log=())
        again = attempts.claim(connection, worker="own", lease=LEASE)
    assert helper_finds(engine, claimed.id) is None, "the parts are the lost attempt's"
    monkeypatch.setattr(ShardMeasurer, "measure", measure)
    rest = []

    class Counted(MeasurementExchange):
        def hand_in(self, shard, scores):
            rest.append(shard.part)
            super().hand_in(shard, scores)

    run.run(context("second", Counted(engine, queue, again, "own")))
    assert not set(rest) & set(measured)
    run.run(context("alone"))
    assert report(root, "second") == report(root, "alone")


def helper_finds(engine, job_id):
    with engine.begin() as connection:
        return shards.take(connection, job_id, "helper", own=False)


def test_a_helper_has_nothing_to_do_once_the_job_has_ended(engine, queue, claimed, helper):
    exchange = MeasurementExchange(engine, queue, claimed, "own")
    from app.domain.shards import Part  # noqa: PLC0415 - one use

    exchange.post(resolve(REQUEST), [Part(0, 0, 2), Part(0, 2, 4)])
    shard = helper_finds(engine, claimed.id)
    assert exchange.wanted(shard)
    with engine.begin() as connection:
        attempts.succeed(connection, claimed, result=JobResult(), files=[], log=())
    assert not exchange.wanted(shard)
    assert helper("late").run(claimed.id)
    tick(engine, queue)
