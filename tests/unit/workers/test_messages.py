"""Only messages as the service sends them reach Celery."""

import base64
import json

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.memory import Channel

from app.domain.ids import new_id
from app.queue import HELP, TASK, queue_of
from workers.messages import LONGEST, fault_of

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
