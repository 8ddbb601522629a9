"""Only messages as the service sends them reach Celery."""

import base64
import json
from queue import Empty

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.memory import Channel

import workers.messages
from app.domain.ids import new_id
from app.queue import HELP, TASK, queue_of
from workers.messages import LONGEST, Transport, fault_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def sent(monkeypatch, task=TASK, arguments=None, **options):
    """What Celery itself puts on the broker for a task."""
    found = []
    monkeypatch.setattr(Channel, "_put", lambda _, queue, message, **__: found.append(message))
    with Celery(broker="memory://", set_as_current=False) as celery:
        arguments = [new_id("job")] if arguments is None else arguments
        celery.send_task(task, arguments, queue=queue_of("cpu"), ignore_result=True, **options)
    [message] = found
    return json.loads(json.dumps(message))


@pytest.mark.parametrize("task", [TASK, HELP])
def test_what_the_service_sends_is_let_through(monkeypatch, task):
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    message = sent(monkeypatch, task, headers=headers)
    assert fault_of(message) == ""


def test_a_message_that_was_restored_is_let_through(monkeypatch):
    message = sent(monkeypatch)
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True
    assert fault_of(message) == ""


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("task", {"task": "os.system"}),
        ("time", {"countdown": 60}),
        ("time", {"expires": 60}),
        ("compression", {"compression": "zlib"}),
        ("arguments", {"kwargs": {"worker": "x"}}),
        ("arguments", {"arguments": ["job_1"]}),
        ("arguments", {"arguments": [{"job": None}]}),
        ("ValueError", {"arguments": []}),
        ("ValueError", {"arguments": ["job_1", "job_2"]}),
        ("size or encoding", {"arguments": ["x" * LONGEST]}),
    ],
)
def test_what_only_looks_like_it_is_not(monkeypatch, fault, told):
    assert fault_of(sent(monkeypatch, **told)) == fault


@given(JSON)
def test_no_message_is_an_exception(anything):
    assert fault_of(anything)


@given(part=st.sampled_from(["headers", "properties", "content-type", "body"]), anything=JSON)
def test_no_part_of_a_message_is_an_exception(part, anything):
    message = {
        "body": base64.b64encode(json.dumps([["job_0"], {}, {}]).encode()).decode(),
        "content-type": "application/json",
        "headers": {"task": TASK, "id": "1"},
        "properties": {"delivery_tag": "1", "delivery_info": {}, "body_encoding": "base64"},
    }
    assert fault_of(message | {part: anything})


@given(JSON)
def test_no_body_is_an_exception(content):
    body = base64.b64encode(json.dumps(content).encode()).decode()
    message = {
        "body": body,
        "content-type": "application/json",
        "headers": {"task": TASK, "id": "1"},
        "properties": {"delivery_tag": "1", "delivery_info": {}, "body_encoding": "base64"},
    }
    assert fault_of(message)


@pytest.fixture
def ours(monkeypatch):
    return sent(monkeypatch)


def changed(message, **parts):
    return message | {key: message[key] | part for key, part in parts.items()}


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ("task", {"headers": {"task": "workers.other"}}),
        ("task", {"headers": {"id": 1}}),
        ("compression", {"headers": {"compression": "zlib"}}),
        ("time", {"headers": {"eta": "2030-01-01"}}),
        ("time", {"headers": {"expires": "2030-01-01"}}),
        ("properties", {"properties": {"delivery_tag": 1}}),
        ("properties", {"properties": {"delivery_info": []}}),
        ("size or encoding", {"properties": {"body_encoding": "utf-8"}}),
    ],
)
def test_every_part_is_as_it_is_sent(ours, fault, parts):
    assert fault_of(changed(ours, **parts)) == fault


def test_the_kind_of_content_is_looked_at(ours):
    assert fault_of(ours | {"content-type": "application/x-python-serialize"}) == "content type"


def encoded(content):
    return base64.b64encode(content if isinstance(content, bytes) else json.dumps(content).encode())


def test_a_body_may_be_so_long(ours):
    job = new_id("job")
    start = json.dumps([[job], {}, {"chain": ""}])
    room = LONGEST // 4 * 3 - len(start)
    fits = encoded([[job], {}, {"chain": "x" * room}]).decode()
    assert len(fits) == LONGEST == 65536
    assert fault_of(ours | {"body": fits}) == ""
    longer = encoded([[job], {}, {"chain": "x" * (room + 1)}]).decode()
    assert fault_of(ours | {"body": longer}) == "size or encoding"


@pytest.mark.parametrize(
    "content",
    [
        [["job_" + "0" * 31], {}, {}],
        [["job_" + "0" * 33], {}, {}],
        [["job_" + "G" * 32], {}, {}],
        [[1], {}, {}],
        [["job_" + "0" * 32], {"a": 1}, {}],
        [["job_" + "0" * 32], [], {}],
        [["job_" + "0" * 32], {}, []],
    ],
)
def test_arguments_are_one_job(ours, content):
    assert fault_of(ours | {"body": encoded(content).decode()}) == "arguments"


def test_what_cannot_be_read_is_named_by_its_error(ours):
    assert fault_of(None) == "TypeError"
    assert fault_of({}) == "KeyError"
    assert fault_of(ours | {"headers": []}) == "AttributeError"
    assert fault_of(ours | {"body": encoded(b"{").decode()}) == "JSONDecodeError"
    assert fault_of(ours | {"body": encoded(b"[" * 40_000).decode()}) == "RecursionError"


def test_what_is_not_ours_is_dropped_and_noted_without_its_content(ours, monkeypatch, caplog):
    taken = []
    monkeypatch.setattr(
        "kombu.transport.redis.Transport._deliver",
        lambda _, message, queue: taken.append((message, queue)),
    )
    transport = object.__new__(Transport)
    transport._deliver(ours, "q")
    transport._deliver(changed(ours, headers={"task": "os.system"}), "q")
    assert taken == [(ours, "q")]
    assert [record.getMessage() for record in caplog.records] == [
        "dropped a message on the broker that is not of this service: task"
    ]
    assert Transport.Channel is workers.messages.Channel


@pytest.mark.parametrize("error", [ValueError("secret"), RecursionError()])
def test_what_is_no_json_is_dropped_as_if_nothing_had_come(monkeypatch, caplog, error):
    def read(_, **options):
        assert options == {"a": 1}
        raise error

    monkeypatch.setattr("kombu.transport.redis.Channel._brpop_read", read)
    channel = object.__new__(workers.messages.Channel)
    with pytest.raises(Empty):
        channel._brpop_read(a=1)
    assert type(error).__name__ in caplog.text
    assert "secret" not in caplog.text
    monkeypatch.setattr("kombu.transport.redis.Channel._brpop_read", lambda _: "read")
    assert channel._brpop_read() == "read"


def test_workers_read_redis_through_these_classes(monkeypatch):
    aliases = {"redis": "theirs", "rediss": "theirs", "amqp": "theirs"}
    monkeypatch.setattr("workers.messages.TRANSPORT_ALIASES", aliases)
    workers.messages.install()
    here = "workers.messages:Transport"
    assert aliases == {"redis": here, "rediss": here, "amqp": "theirs"}
